"""The reports made by hand and the command line of ``tests/cli``, and a report whose every string is hostile."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

from cli.conftest import fake_run  # noqa: F401  (a fixture)
from hand_made import ENVIRONMENT, SPECIFICATION, failing
from hostile import HOSTILE
from tiecheck.conformance import requirement
from tiecheck.conformance.report import Report


@pytest.fixture
def specified(monkeypatch: pytest.MonkeyPatch) -> None:
    """The short specification that the reports made by hand speak of."""
    monkeypatch.setattr(requirement, "requirements", lambda: SPECIFICATION)


@pytest.fixture
def hostile() -> Report:
    """Every string that a target has a say in is hostile."""
    report = failing()
    return failing(
        target=f"m.py:{HOSTILE}",
        notes=(HOSTILE,),
        replay=f"tiecheck run '{HOSTILE}'",
        environment={**ENVIRONMENT, "device": HOSTILE, "packages": {HOSTILE: HOSTILE}},
        diagnosis=tuple(
            replace(cause, explanation=cause.explanation + HOSTILE, fix=cause.fix + HOSTILE, where=HOSTILE)
            for cause in report.diagnosis
        ),
        results=tuple(
            replace(
                result,
                message=result.message + HOSTILE,
                counterexample={HOSTILE: HOSTILE, "rows": [HOSTILE]} if result.verdict == "fail" else None,
            )
            for result in report.results
        ),
    )
