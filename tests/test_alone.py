"""Every requirement is needed: without it, a broken model of ours would be judged conforming."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

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


def _cases(wanted: Iterable[Alone]) -> list[Any]:
    """Compilers take their time: only where they are asked."""
    compiled = ("persistence.compile", "persistence.export")

    def marks(alone: Alone) -> list[Any]:
        if alone.requirement in compiled:
            return [pytest.mark.compiles]
        return [pytest.mark.operations] if alone.requirement.startswith("persistence.") else []

    return [pytest.param(a, id=a.requirement, marks=marks(a)) for a in wanted]


@pytest.mark.parametrize("alone", _cases(ALONE))
def test_without_the_requirement_its_model_conforms(alone: Alone) -> None:
    declared = Declaration(**alone.declared)
    report = check(alone.broken, declared, strict=True, profile=alone.profile, deselect=alone.deselected)
    failing = {r.id: r.message for r in report.results if r.verdict == "fail"}
    assert set(failing) == {alone.requirement}, failing
    assert not report.conforms
    without = check(alone.broken, declared, strict=True, deselect=(*alone.deselected, alone.requirement))
    assert without.conforms, {r.id: r.message for r in without.results if r.verdict == "fail"}


@pytest.mark.parametrize("alone", _cases(a for a in ALONE if a.twin))
def test_the_twin_conforms(alone: Alone) -> None:
    assert alone.twin is not None
    declared = Declaration(**alone.declared)
    report = check(alone.twin, declared, strict=True, profile=alone.profile, deselect=alone.deselected)
    assert report.conforms, [(r.id, r.message) for r in report.results if r.verdict == "fail"]
    assert next(r.verdict for r in report.results if r.id == alone.requirement) in ("pass", "skip")
