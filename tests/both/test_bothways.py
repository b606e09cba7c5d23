"""``--declare both`` of a factory with a keyword: each build judged as what it is, and a flag that is not heeded named."""

from __future__ import annotations

from typing import Any

import flagged
import pytest
from flagged import HEEDED
from tiecheck.conformance import Declaration, NotJudged, check
from tiecheck.conformance.report import Report

NAMED = __file__.replace("test_bothways.py", "flagged.py")


def both(model: Any, profile: str = "quick", **more: Any) -> dict[str, Report]:
    return {report.declared: report for report in check(model, "both", profile=profile, **more).reports}


def causes(report: Report) -> list[str]:
    return [told.cause for told in report.diagnosis]


@pytest.mark.parametrize("style", HEEDED)
def test_a_flag_that_is_heeded_conforms_each_way(style: str) -> None:
    factory, own = HEEDED[style]
    judged = check(factory, "both", profile="quick")
    assert [report.declared for report in judged.reports] == ["tied", "untied"]
    assert judged.conforms and not judged.unjudged
    alone = check(factory, profile="quick")
    assert alone.conforms and alone.declared == own
    for word in ("tied", "untied"):
        report = check(factory, word, profile="quick")
        assert report.conforms and report.declared == word


@pytest.mark.parametrize("target", ["{}:Functional", "{}:Plain@tie_weights", "{}:Functional.small", "{}:scaled@tied"])
def test_whole_runs_of_a_target_in_words(target: str) -> None:
    judged = both(target.format(NAMED), profile="standard")
    assert [report.conforms for report in judged.values()] == [True, True]
    assert {report.target for report in judged.values()} == {target.format(NAMED)}
    verdicts = {result.id: result.verdict for result in judged["untied"].results}
    assert verdicts["persistence.load"] == verdicts["training.adamw"] == verdicts["gradient.unread-rows"] == "pass"


def test_without_a_name_another_keyword_is_left_alone() -> None:
    assert check(flagged.Plain, profile="quick").declared == "tied"
    with pytest.raises(NotJudged, match=r"has no tie flag to turn.*a factory's own `tied`, or FACTORY@KEYWORD"):
        check(flagged.Plain, "both")
    report = check(flagged.Plain, "untied", profile="quick")  # built as it is, and judged so
    assert causes(report) == ["forced-tie"]
    assert check(f"{NAMED}:Plain@tie_weights", "untied", profile="quick").conforms


def test_a_model_that_is_given_has_no_flag() -> None:
    with pytest.raises(NotJudged, match=r"has no tie flag to turn, so it cannot be declared both; say tied or untied$"):
        check(flagged.Plain(), "both")


def test_what_is_assumed_or_declared_in_full_builds_so_too() -> None:
    assert check(flagged.scaled, Declaration(tied=False, input_scale="sqrt(D)"), profile="quick").conforms
    assert check(flagged.scaled, assume={"tied": False}, profile="quick").declared == "untied"
    assert check(flagged.scaled, "tied", assume={"tied": False}, profile="quick").conforms


def test_a_factory_s_own_declaration_may_untie_it() -> None:
    def build(tied: bool = True) -> Any:
        return flagged.Plain(False), Declaration(tied=False)

    assert check(build, profile="quick").declared == "untied"


# refused


@pytest.mark.parametrize(
    ("factory", "refused", "why"),
    [
        (
            flagged.refuses_untied,
            "untied",
            "failed to build with tied=False: NotImplementedError: an untied build is not",
        ),
        (flagged.refuses_tied, "tied", "failed to build with tied=True: AssertionError: the head is wider"),
        (flagged.leaves, "untied", "failed to build with tied=False: SystemExit: never untied"),
    ],
)
def test_a_loud_refusal_stands_beside_and_does_not_count(factory: Any, refused: str, why: str) -> None:
    judged = check(factory, "both", profile="quick")
    assert judged.conforms and judged.exit_status == 0
    assert [report.declared for report in judged.reports] == [{"tied": "untied", "untied": "tied"}[refused]]
    ((name, reason),) = judged.unjudged
    assert name == f"{factory.__name__} ({refused})" and why in reason
    assert judged.to_dict()["unjudged"] == [{"target": name, "reason": reason}]
    with pytest.raises(NotJudged, match="failed to build with tied="):
        check(factory, refused, profile="quick")


def test_what_refuses_both_is_not_judged() -> None:
    def build(tied: bool = True) -> Any:
        raise ValueError("neither")

    with pytest.raises(NotJudged, match="failed to build with tied=True: ValueError: neither"):
        check(build, "both")


def test_a_build_that_was_not_refused_and_does_not_run_is_no_refusal() -> None:
    with pytest.raises(NotJudged, match=r"^declared untied: the model does not run on token ids"):
        check(flagged.crashes_untied, "both", profile="quick")


def test_a_selection_that_says_nothing_of_one_build_judges_the_other() -> None:
    judged = check(f"{NAMED}:Plain@tie_weights", "both", select="gradient.unread-rows")
    assert [report.declared for report in judged.reports] == ["untied"] and judged.conforms
    assert "nothing that was selected applies" in judged.unjudged[0][1]


# not heeded


def test_a_flag_that_always_ties_is_ignored_and_the_report_says_so() -> None:
    judged = both(flagged.always_tied)
    assert judged["tied"].conforms and causes(judged["untied"]) == ["forced-tie"]
    said = "The flag tied is ignored: built with tied=False the model is tied all the same."
    assert judged["untied"].diagnosis[0].explanation.startswith(said)


def test_a_flag_that_never_ties_is_ignored_and_the_report_says_so() -> None:
    judged = both(f"{NAMED}:never_tied@tied")
    assert judged["untied"].conforms and causes(judged["tied"]) == ["two-matrices"]
    said = "The flag tied is ignored: built with tied=True the model has two matrices all the same."
    assert judged["tied"].diagnosis[0].explanation.startswith(said)


def test_a_head_that_is_there_and_not_read_is_the_flag_s_too() -> None:
    judged = both(f"{NAMED}:AlwaysReads@tie_weights")
    assert not judged["untied"].conforms
    assert "built with tie_weights=False the model is tied all the same" in judged["untied"].diagnosis[0].explanation


def test_a_flag_that_is_turned_round() -> None:
    judged = both(flagged.turned)
    for word, cause in (("tied", "two-matrices"), ("untied", "forced-tie")):
        assert causes(judged[word]) == [cause]
        said = "The flag tied is the wrong way round: True unties the model and False ties it."
        assert judged[word].diagnosis[0].explanation.startswith(said)


def test_a_copy_is_a_fault_and_the_flag_is_heeded() -> None:
    judged = both(flagged.copies)
    assert causes(judged["tied"])[0] == "equal-copy" and judged["untied"].conforms
    assert not any("ignored" in told.explanation for told in judged["tied"].diagnosis)


def test_one_build_alone_says_nothing_of_the_flag() -> None:
    report = check(flagged.always_tied, "untied", profile="quick")
    assert causes(report) == ["forced-tie"] and "ignored" not in report.diagnosis[0].explanation


# tied by force later


def test_a_model_that_eval_ties_is_tied_by_force() -> None:
    judged = both(f"{NAMED}:TiesOnEval@tie_weights")
    assert judged["tied"].conforms and causes(judged["untied"]) == ["forced-tie"]


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("TiesOnLoad", "persistence.load"),
        ("TiesInHook", "persistence.load"),
        ("TiesWhenRestored", "persistence.pickle"),
    ],
)
def test_an_operation_that_ties_the_untied_twin_by_force(name: str, operation: str) -> None:
    judged = both(f"{NAMED}:{name}@tie_weights", profile="standard")
    assert judged["tied"].conforms
    told = judged["untied"].diagnosis[0]
    assert told.cause == "forced-tie" and operation in told.evidence
    assert "ignored" not in told.explanation  # the flag is heeded until somebody does that
