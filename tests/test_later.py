"""What becomes of a model later: training, operations and mends, on models that are built and on models that are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from alone_later import CopiedByHand, Tied
from tiecheck.conformance import check, gather
from tiecheck.conformance.evidence import Step
from tiecheck.conformance.report import Report
from tiecheck.conformance.requirement import requirements
from torch import nn
from zoo import ENTRIES

LATER = {r.id for r in requirements() if r.chapter in ("training", "persistence")}


def verdicts(report: Report) -> dict[str, str]:
    return {r.id: r.verdict for r in report.results if r.id in LATER}


def message(report: Report, id: str) -> str:
    return next(r.message for r in report.results if r.id == id)


def state(model: nn.Module) -> list[Any]:
    return [
        (n, p, p.detach().clone(), p.requires_grad, p.grad) for n, p in model.named_parameters(remove_duplicate=False)
    ]


def test_a_model_that_is_given_is_operated_on_as_a_copy_and_comes_back_as_it_was() -> None:
    model = Tied(False)
    before = state(model)
    report = check(model)
    assert report.conforms
    assert "deepcopy, for there is no factory" in message(report, "persistence.save")
    for (name, tensor, values, flag, grad), (_, now, *_) in zip(before, state(model), strict=True):
        assert now is tensor and torch.equal(values, now) and now.requires_grad == flag and now.grad is grad, name
    # Two names of the fresh model would be needed for one spelling; the others are done.
    assert verdicts(report)["persistence.load"] == "pass"


def test_a_copy_that_loses_the_tie_is_the_finding_and_nothing_else_is_performed_on_it() -> None:
    report = check(CopiedByHand(True))
    assert [d.cause for d in report.diagnosis] == ["lost-on-deepcopy"]
    others = {id: verdict for id, verdict in verdicts(report).items() if id != "persistence.deepcopy"}
    assert set(others.values()) == {"skip"}


def test_a_copy_that_is_refused_makes_all_of_it_skip() -> None:
    class NoCopy(Tied):
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("this model owns a socket")

    report = check(NoCopy(False))
    assert report.conforms and set(verdicts(report).values()) == {"skip"}
    assert "owns a socket" in message(report, "persistence.pickle")


def test_a_factory_that_has_one_model_is_no_factory() -> None:
    lone = Tied(False)
    before = state(lone)
    report = check(lambda: lone)
    assert report.conforms and "deepcopy, for there is no factory" in message(report, "persistence.pickle")
    assert all(torch.equal(values, now) for (_, _, values, *_), (_, now, *_) in zip(before, state(lone), strict=True))


def test_what_cannot_be_pickled_is_a_skip_with_the_reason() -> None:
    class Local(Tied):  # pickle finds no class that is defined in a function
        pass

    report = check(lambda: Local(False))
    assert verdicts(report)["persistence.pickle"] == "skip"
    assert "pickle" in message(report, "persistence.pickle")


def test_a_model_that_does_not_conform_before_is_not_operated_on() -> None:
    report = check("demo:two-matrices")
    assert set(verdicts(report).values()) == {"skip"}
    assert "storage.one-memory" in message(report, "persistence.deepcopy")


def test_quick_does_nothing_to_a_model() -> None:
    report = check(lambda: Tied(False), profile="quick")
    assert set(verdicts(report).values()) == {"skip"}


@pytest.mark.operations
def test_an_untied_model_is_trained_and_operated_on_as_untied() -> None:
    def untied() -> nn.Module:
        model = Tied(False)
        model.head.weight = nn.Parameter(torch.randn_like(model.head.weight) * 0.3)
        return model

    report = check(untied, "untied")
    assert report.conforms and "fail" not in verdicts(report).values()
    assert verdicts(report)["training.adamw"] == verdicts(report)["persistence.save"] == "pass"


def test_an_untied_model_that_loading_ties_by_force_says_so() -> None:
    report = check(ForcedOnLoad, "untied")
    assert report.diagnosis[0].cause == "forced-tie"
    assert "load_state_dict" in report.diagnosis[0].explanation


class ForcedOnLoad(Tied):
    def __init__(self) -> None:
        super().__init__(False)
        self.head.weight = nn.Parameter(torch.randn_like(self.head.weight) * 0.3)

    def load_state_dict(self, *arguments: Any, **more: Any) -> Any:
        kept = super().load_state_dict(*arguments, **more)
        self.head.weight = self.embedding.weight
        return kept


@pytest.mark.compiles
def test_a_large_model_gets_fewer_operations_and_the_report_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "LARGE_TABLE", 64)
    report = check(lambda: Tied(False))
    assert report.conforms
    left = {id for id, verdict in verdicts(report).items() if verdict == "skip" and id.startswith("persistence.")}
    performed = {"persistence.deepcopy", "persistence.train-mode", "persistence.load"}
    assert left == {r.id for r in requirements() if r.chapter == "persistence"} - performed
    assert all(
        "the model is large" in message(report, id) for id in left - {"persistence.sequence", "persistence.move"}
    )
    assert any("deepcopy, train-mode, load" in note for note in report.notes)


@pytest.mark.parametrize("row", [-1, 0, 13])
def test_one_row_cut_off_in_train_mode_alone_is_seen_in_a_large_model_too(
    monkeypatch: pytest.MonkeyPatch, row: int
) -> None:
    """No further examples are drawn there: train mode reads other tokens than eval mode does."""
    from blind.reading_wrong_row_detached_in_train import Gated

    monkeypatch.setattr(gather, "LARGE_TABLE", 64)
    assert check(lambda: Gated(row, cut=False)).conforms
    report = check(lambda: Gated(row))
    assert [cause.cause for cause in report.diagnosis] == ["missing-rows"]


def test_a_sparse_gradient_is_trained_by_what_takes_it() -> None:
    class Sparse(Tied):
        def __init__(self) -> None:
            super().__init__(False)
            self.embedding.sparse = True

    report = check(Sparse, select=["training", "persistence"])
    assert report.conforms, [(r.id, r.message) for r in report.results if r.verdict == "fail"]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_formula_of_a_step_is_the_optimizers_own(optimizer: str) -> None:
    from tiecheck.conformance.chapters.training import updated

    rng = np.random.default_rng(0)
    table, gradient = rng.standard_normal((5, 3)), rng.standard_normal((5, 3))
    parameter = nn.Parameter(torch.tensor(table))
    made: torch.optim.Optimizer = (
        torch.optim.SGD([parameter], lr=0.1, momentum=0.9, weight_decay=0.2)
        if optimizer == "sgd"
        else torch.optim.AdamW([parameter], lr=0.1, weight_decay=0.2, eps=1e-8)
    )
    parameter.grad = torch.tensor(gradient)
    made.step()
    step = Step(optimizer, rate=0.1, decay=0.2, before=table, gradient=gradient, clipped=1.0, epsilon=1e-8)
    assert np.allclose(updated(step), parameter.detach().numpy(), rtol=1e-12, atol=1e-14)


# --- mends ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["two-matrices", "equal-copy", "assigned-data"])
def test_a_mend_that_is_an_assignment_is_tried(name: str) -> None:
    cause = check(f"demo:{name}").diagnosis[0]
    assert "model.head.weight = model.embedding.weight" in cause.fix
    assert cause.fix_verified is True


def test_a_mend_that_is_not_enough_is_said_to_be() -> None:
    class Both(Tied):
        """Two matrices, and a scale that nobody declared."""

        def __init__(self) -> None:
            super().__init__(False)
            self.head.weight = nn.Parameter(torch.randn_like(self.head.weight) * 0.3)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return 2.5 * super().forward(ids)

    cause = check(Both).diagnosis[0]
    assert cause.cause == "two-matrices" and cause.fix_verified is False


def test_a_mend_is_not_tried_on_the_model_that_was_given() -> None:
    model = Tied(False)
    model.head.weight = nn.Parameter(model.head.weight.detach().clone())
    cause = check(model).diagnosis[0]
    assert cause.cause == "equal-copy" and cause.fix_verified is True
    assert model.head.weight is not model.embedding.weight


def test_quick_tries_no_mend() -> None:
    assert check("demo:two-matrices", profile="quick").diagnosis[0].fix_verified is None


def test_every_broken_model_of_the_zoo_that_is_two_parameters_is_mended_by_the_line_it_is_told() -> None:
    told = 0
    for entry in ENTRIES:
        if entry.verdict == "broken" and entry.cause in ("two-matrices", "equal-copy") and not entry.declared:
            cause = check(entry.build).diagnosis[0]
            told += cause.fix_verified is True
    assert told >= 3
