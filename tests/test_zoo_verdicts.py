"""The zoo, judged: every correct model conforms, every broken one fails with the cause that is true of it."""

from __future__ import annotations

import pytest
from tiecheck.conformance import Declaration, check
from zoo import ENTRIES, Entry


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_verdict(entry: Entry) -> None:
    report = check(entry.build, Declaration(**entry.declared))
    failing = {r.id: r.message for r in report.results if r.verdict in ("fail", "error")}
    if entry.verdict == "correct":
        assert report.conforms, failing
        return
    assert not report.conforms
    assert report.diagnosis[0].cause in (entry.cause, *entry.also), (entry.why, failing)
