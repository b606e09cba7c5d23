"""A training that is watched goes exactly the way that it goes unwatched, and right models raise no alarm."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_restore import same, state
from tiecheck.adapters.pytorch.calls import call, find_logits
from tiecheck.conformance import watch
from torch import Tensor, nn
from zoo import ENTRIES

from .training import Functional, Model, adamw, gpt2, hooks, sgd, step

RIGHT = [e for e in ENTRIES if e.verdict == "correct" and e.declared.get("tied", True) and e.name != "lookup_take"]
MADE: list[Callable[[], nn.Module]] = [Model, Functional, gpt2]


class Property(nn.Module):
    """The head's weight is a property that reads the table."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.body = nn.Embedding(40, 12), nn.GRU(12, 12, batch_first=True)

    @property
    def head(self) -> Tensor:
        return self.rows.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.body(self.rows(ids))[0] @ self.head.T


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    return make()


def states_of(optimizer: Any) -> dict[Any, Any]:
    result: dict[Any, Any] = optimizer.state_dict()["state"]
    return result


@pytest.mark.parametrize("make", [*MADE, Property], ids=lambda m: m.__name__)
@pytest.mark.parametrize("build", [adamw, sgd], ids=lambda f: f.__name__)
def test_the_same_way_bit_for_bit(make: Callable[[], nn.Module], build: Any, tmp_path: Path) -> None:
    plain = seeded(make)
    optimizer = build(plain)
    losses = [step(plain, optimizer) for _ in range(5)]
    after = [random.random(), float(np.random.rand()), float(torch.rand(()))]

    model = seeded(make)
    watched, before = build(model), hooks()
    with watch(model, watched, every=2, shares=tmp_path / "shares.csv", shares_every=1) as seen:
        assert [step(model, watched) for _ in range(5)] == losses
    assert [random.random(), float(np.random.rand()), float(torch.rand(()))] == after
    assert seen.steps == 5 and seen.lost is None and hooks() == before
    left, expected = state(model), state(plain)
    for key in ("bits", "modes", "hooks", "attributes"):
        assert same(left[key], expected[key]), key
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(model.parameters(), plain.parameters(), strict=True))
    assert same(states_of(watched), states_of(optimizer))
    assert set(vars(watched)) == set(vars(optimizer))


def test_an_optimizer_inside_the_backward_pass() -> None:
    """Each parameter steps as soon as its gradient is there; asking how the model behaves moves none."""

    def trained(model: Model, around: Any) -> Model:
        optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in model.parameters()}

        def after(parameter: Tensor) -> None:
            optimizers[parameter].step()  # type: ignore[index]
            parameter.grad = None

        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(after)
        with around(model, list(optimizers.values())) as seen:
            for _ in range(4):
                model(torch.tensor([[3, 1, 2]])).square().mean().backward()
        assert seen is None or seen.steps == 4
        return model

    plain = trained(seeded(Model), lambda model, all_: contextlib.nullcontext())  # type: ignore[arg-type]
    model = trained(seeded(Model), lambda model, all_: watch(model, all_, every=1))  # type: ignore[arg-type]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


@pytest.mark.parametrize("entry", RIGHT[::4], ids=lambda e: e.name)
def test_no_false_alarm(entry: Any) -> None:
    torch.manual_seed(0)
    model = entry.build()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    with watch(model, optimizer, every=2) as seen:
        for _ in range(4):
            optimizer.zero_grad()
            logits = find_logits(call(model, torch.randint(0, 6, (2, 6)))).float()
            logits.log_softmax(-1)[..., 0].mean().neg().backward()
            optimizer.step()
    assert seen.steps == 4 and seen.lost is None
