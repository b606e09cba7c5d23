"""Every requirement is needed: without it, a broken model of ours would be judged conforming."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alone import ALONE, Alone
from tiecheck.conformance import Declaration, check
from tiecheck.conformance.requirement import requirements
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks


def test_every_requirement_has_a_model_that_it_alone_catches() -> None:
    assert {a.requirement for a in ALONE} == {r.id for r in requirements()}


@pytest.fixture(autouse=True)
def no_hooks_left() -> Iterator[None]:
    """Some models hook into every optimizer; the next model's must be free of that."""
    yield
    _global_optimizer_pre_hooks.clear()
    _global_optimizer_post_hooks.clear()


@pytest.mark.parametrize("alone", ALONE, ids=lambda a: a.requirement)
def test_without_the_requirement_its_model_conforms(alone: Alone) -> None:
    declared = Declaration(**alone.declared)
    report = check(alone.broken, declared, strict=True)
    failing = {r.id: r.message for r in report.results if r.verdict == "fail"}
    assert set(failing) == {alone.requirement}, failing
    assert not report.conforms
    without = check(alone.broken, declared, strict=True, deselect=alone.requirement)
    assert without.conforms, {r.id: r.message for r in without.results if r.verdict == "fail"}


@pytest.mark.parametrize("alone", [a for a in ALONE if a.twin], ids=lambda a: a.requirement)
def test_the_twin_conforms(alone: Alone) -> None:
    assert alone.twin is not None
    report = check(alone.twin, Declaration(**alone.declared), strict=True)
    assert report.conforms, [(r.id, r.message) for r in report.results if r.verdict == "fail"]
