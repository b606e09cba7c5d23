"""Sequences of operations: what only two in a row lose is found, cut down, told with its lines, and found again."""

from __future__ import annotations

import contextlib
import io
import itertools
from pathlib import Path
from typing import Any

import pytest
from alone_later import Tied
from alone_operations import LOSES, One
from in_a_row import ROWS, CastWhilePickled, ManyModes, Row
from tiecheck.conformance import check, sequences
from tiecheck.conformance.report import Report, Result
from tiecheck.conformance.requirement import requirements

pytestmark = pytest.mark.operations
SEQUENCE = "persistence.sequence"
SHOULDS = tuple(r.id for r in requirements() if r.chapter == "persistence" and r.level == "SHOULD")


def sequence(report: Report) -> Result:
    return next(r for r in report.results if r.id == SEQUENCE)


def full(build: Any, deselect: tuple[str, ...] = SHOULDS, **more: Any) -> Report:
    report: Report = check(build, profile="full", select="persistence", deselect=deselect, **more)
    return report


def _marked(row: Row) -> Any:
    return pytest.param(row, id=row.name, marks=[pytest.mark.triples] if len(row.needs) > 2 else [])


@pytest.mark.parametrize("row", map(_marked, ROWS))
def test_what_only_a_sequence_loses_is_found_and_cut_down(row: Row, tmp_path: Path, monkeypatch: Any) -> None:
    standard = check(row.build, select="persistence", deselect=SHOULDS)
    assert standard.conforms, [(r.id, r.message) for r in standard.results if r.verdict == "fail"]
    result = sequence(full(row.build))
    assert result.verdict == "fail", result.message
    assert result.level == ("SHOULD" if row.should else "MUST")
    seen = result.counterexample or {}
    words = len(seen["sequence"])
    assert words == len(row.needs) or (row.build is ManyModes and words <= 24), seen["sequence"]
    assert "each of them alone keeps it" in result.message
    # The lines show it without tiecheck.
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    code = seen["code"]
    assert "tiecheck" not in code
    head = next(line for line in code.splitlines() if line.startswith("build = "))
    with contextlib.redirect_stdout(printed):
        exec(code.replace(head, ""), {"build": row.build})
    shown = printed.getvalue().strip()
    assert shown == code.splitlines()[-1].partition("# ")[2].partition(":")[0], code


@pytest.mark.triples
def test_every_triple_stands_in_the_row_once() -> None:
    for count in (1, 2, 5, 12):
        row = sequences.every_triple(count)
        assert len(set(zip(row, row[1:], row[2:], strict=False))) == count**3 == len(row) - 2


@pytest.mark.triples
def test_every_triple_of_a_sound_model_is_tried() -> None:
    few = ("persistence.load", "persistence.freeze", "persistence.deepcopy", SEQUENCE)
    aside = tuple(r.id for r in requirements() if r.chapter == "persistence" and r.id not in few)
    result = sequence(full(lambda: Tied(False), aside))
    assert result.verdict == "pass"
    assert " 27 triples" in result.message, result.message


@pytest.mark.parametrize(
    ("build", "aside"), [(lambda: Tied(False), LOSES), (One, SHOULDS)], ids=["plain", "functional"]
)
def test_a_sound_model_comes_through_and_the_report_says_what_was_tried(build: Any, aside: tuple[str, ...]) -> None:
    report = full(build, aside)
    result = sequence(report)
    assert report.conforms
    assert result.verdict == "pass"
    assert "ordered pairs" in result.message
    tried, of = result.message.split(": ")[1].split(" ordered")[0].split(" of ")
    assert tried == of and int(of) >= 100


def test_a_seed_repeats_it() -> None:
    one, other = (sequence(full(CastWhilePickled, seed=3)) for _ in range(2))
    assert one.message == other.message
    assert one.counterexample == other.counterexample


def test_where_the_time_is_up_the_report_says_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    performed, calls = sequences.Walker.performed, itertools.count(1)

    def slowly(self: sequences.Walker, *given: Any, **more: Any) -> Any:
        if next(calls) == 20:
            self.bench.over = lambda: True
        return performed(self, *given, **more)

    monkeypatch.setattr(sequences.Walker, "performed", slowly)
    result = sequence(full(lambda: Tied(False)))
    assert result.verdict == "pass"
    assert result.message.split(": ")[1].startswith("20 of ")


def test_standard_tries_none() -> None:
    result = sequence(check(lambda: Tied(False), select="persistence"))
    assert result.verdict == "skip"
    assert "full" in result.message


def test_an_untied_model_is_not_tied_by_a_sequence() -> None:
    def build() -> Tied:
        model = Tied(True)
        model.untie()
        return model

    report = full(build, declare="untied")
    assert sequence(report).verdict == "pass", sequence(report).message
