"""Models over a framework by hand, written by people who had not seen the code, that were once misjudged."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from handlm import Model, adapter, models
from tiecheck.conformance import Declaration, check, targets

MODULES = [importlib.import_module(f"handlm.models.{m.name}") for m in pkgutil.iter_modules(models.__path__)]


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "adapters", lambda: {"handlm": SimpleNamespace(load=lambda: adapter)})


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__.rpartition(".")[2])
def test_the_truth_is_found(module: ModuleType) -> None:
    truth = module.TRUTH
    report = check(module.build, Declaration(**truth["declare"]))
    failing = {r.id: r.message for r in report.results if r.verdict in ("fail", "error")}
    assert report.conforms == truth["conforms"], failing
    if not truth["conforms"]:
        assert report.diagnosis[0].cause in truth["causes"], failing


def test_padded_columns_are_no_targets_of_the_first_loss() -> None:
    module = importlib.import_module("handlm.models.right_masked_padding")
    report = check(module.build, Declaration(**module.TRUTH["declare"]))
    loss = next(r for r in report.results if r.id == "initialization.loss")
    assert loss.verdict == "pass" and "50 tokens" in loss.message


def test_an_engine_with_an_unknown_bias_gives_h_back_at_one_position() -> None:
    """With one position any bias explains the logits; rows of zeros and unit vectors say which h and which bias it is."""
    module = importlib.import_module("handlm.models.right_bidirectional_bias")

    class Engine(Model):
        def __init__(self) -> None:
            self.inner = module.build()
            self.p = self.inner.p

        def logits(self, ids: Any) -> Any:
            return self.inner.logits(ids)[:, -1]

    report = check(Engine, Declaration(output_bias=True))
    assert report.conforms, [(r.id, r.message) for r in report.results if r.verdict == "fail"]
    linear = next(r for r in report.results if r.id == "projection.linear")
    assert linear.verdict == "pass" and "read back" in linear.message


def test_a_table_that_the_optimizer_is_given_twice_is_said_to_be() -> None:
    module = importlib.import_module("handlm.models.wrong_stepped_twice")
    report = check(module.build, Declaration(**module.TRUTH["declare"]))
    listed = next(r for r in report.results if r.id == "count.enumerated-once")
    assert listed.verdict == "fail" and report.diagnosis[0].cause == "listed-twice"


@pytest.mark.parametrize("name", ["wrong_scale_per_token", "wrong_wide_scale_per_token"])
@pytest.mark.parametrize("seed", range(3))
def test_a_scale_per_token_is_seen_in_equal_rows_and_in_the_map(name: str, seed: int) -> None:
    module = importlib.import_module(f"handlm.models.{name}")
    report = check(module.build, Declaration(**module.TRUTH["declare"]), seed=seed)
    by_id = {r.id: r for r in report.results}
    assert by_id["projection.equal-rows"].verdict == by_id["projection.scale"].verdict == "fail"
    assert by_id["projection.linear"].verdict == "pass", by_id["projection.linear"].message
    assert report.diagnosis[0].cause == "undeclared-scale"


def test_a_row_that_the_projection_does_not_read_has_no_bias() -> None:
    """A row of zeros that is not read keeps its logit; so does a row that is made equal to another."""
    module = importlib.import_module("handlm.models.wrong_last_rows_copied")
    for seed in range(6):
        report = check(module.build, Declaration(**module.TRUTH["declare"]), seed=seed)
        causes = [d.cause for d in report.diagnosis]
        assert not {"undeclared-bias", "undeclared-scale"} & set(causes), (seed, causes)


def test_a_step_is_compared_on_both_sides_and_operations_are_not_blamed_for_it() -> None:
    module = importlib.import_module("handlm.models.wrong_new_array_on_step")
    report = check(module.build, Declaration(**module.TRUTH["declare"]))
    failing = {r.id: r.message for r in report.results if r.verdict == "fail" and r.level == "MUST"}
    assert set(failing) == {"training.step", "training.sgd", "training.adamw"}, failing
    assert "the projection's row" in failing["training.step"]


def test_a_projection_that_gives_no_share_is_not_said_to_give_one() -> None:
    """A copy that is read after the second call: the gradient of the rows that were read is the lookup's alone, and right."""
    module = importlib.import_module("handlm.models.wrong_kept_at_second_call")
    report = check(module.build, Declaration(**module.TRUTH["declare"]))
    share = next(r for r in report.results if r.id == "gradient.head-share")
    assert share.verdict == "fail" and "both shares" not in share.message
    assert [d.cause for d in report.diagnosis][:2] == ["stale-copy", "detached-projection"]


def test_the_mends_of_a_forced_tie_and_of_what_it_leaves_unused_agree() -> None:
    module = importlib.import_module("handlm.models.wrong_untied_in_name")
    report = check(module.build, Declaration(**module.TRUTH["declare"]))
    by_cause = {d.cause: d.fix for d in report.diagnosis}
    assert {"forced-tie", "miscounted"} <= set(by_cause)
    assert "delete" not in by_cause["miscounted"] and "projection" in by_cause["miscounted"]


def test_a_token_that_reads_another_row_is_told_what_was_written() -> None:
    module = importlib.import_module("handlm.models.wrong_clipped_ids")
    report = check(module.build, Declaration(**module.TRUTH["declare"]))
    reaches = next(r for r in report.results if r.id == "lookup.reaches")
    assert reaches.verdict == "fail" and "writing row" in reaches.message
