"""Factories with a tie flag, in several styles: heeded, refused, ignored, turned round, and undone by what users do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from tiecheck.conformance import Declaration
from torch import Tensor, nn


class Plain(nn.Module):
    """Two modules, one parameter where it is tied."""

    def __init__(self, tie_weights: bool = True, rows: int = 31, width: int = 12) -> None:
        super().__init__()
        self.embedding = nn.Embedding(rows, width)
        self.mix = nn.Linear(width, width)
        self.head = nn.Linear(width, rows, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.2)
        if tie_weights:
            self.head.weight = self.embedding.weight

    def body(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        return torch.tanh(self.mix(x)) + x.cumsum(1) / 3

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.body(ids))


class Functional(nn.Module):
    """A head that exists where it is not tied, and no module for it."""

    def __init__(self, *, tied: bool = False) -> None:
        super().__init__()
        self.wte = nn.Parameter(torch.randn(31, 12) * 0.2)
        self.out = None if tied else nn.Parameter(torch.randn(31, 12) * 0.2)
        self.mix = nn.Linear(12, 12)

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        x = F.embedding(ids, self.wte)
        h = torch.tanh(self.mix(x)) + x.cumsum(1) / 3
        return {"logits": F.linear(h, self.wte if self.out is None else self.out)}

    @classmethod
    def small(cls, tied: bool = True) -> Functional:
        return cls(tied=tied)


class Scaled(Plain):
    def body(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids) * 12**0.5
        return torch.tanh(self.mix(x)) + x.cumsum(1) / 3


def scaled(tied: bool = True) -> tuple[nn.Module, Declaration]:
    """What it adds is declared beside the flag, and says nothing of the tie."""
    return Scaled(tied), Declaration(input_scale="sqrt(D)")


def untied_by_default(tied: bool = False) -> tuple[nn.Module, Declaration]:
    return Scaled(tied), Declaration(input_scale="sqrt(D)")


def required(tied: bool) -> nn.Module:
    return Plain(tied)


def either(tied: bool | None = None) -> nn.Module:
    """Its default says nothing."""
    return Plain(tied is None or tied)


class Chosen:
    """A factory that is an object."""

    def __call__(self, *, tied: bool = True) -> nn.Module:
        return Plain(tied)


def _counted(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **more: Any) -> Any:
        return function(*args, **more)

    return inner


@_counted
def decorated(tied: bool = True) -> nn.Module:
    return Plain(tied)


def transformer(tied: bool = True) -> nn.Module:
    """A model whose config says nothing of the tie that the factory makes by hand."""
    from tiecheck.adapters import huggingface

    model = huggingface.build("llama", tied=False, seed=0).model
    if tied:
        model.lm_head.weight = model.model.embed_tokens.weight
    return model


HEEDED: dict[str, tuple[Any, str]] = {
    "a class": (Functional, "untied"),
    "a class method": (Functional.small, "tied"),
    "a function with a declaration": (scaled, "tied"),
    "untied by default, with a declaration": (untied_by_default, "untied"),
    "a required keyword": (required, "tied"),
    "a default that says nothing": (either, "tied"),
    "an object": (Chosen(), "tied"),
    "a decorated function": (decorated, "tied"),
    "a partial that turns it": (functools.partial(scaled, tied=False), "untied"),
    "a lambda": (lambda tied=True: Plain(tie_weights=tied), "tied"),
    "a transformer": (transformer, "tied"),
}
"""By style: the factory, and what its model is declared to be where nobody says."""


# refused


def refuses_untied(tied: bool = True) -> nn.Module:
    if not tied:
        raise NotImplementedError("an untied build is not supported")
    return Plain()


def refuses_tied(*, tied: bool = False) -> nn.Module:
    assert not tied, "the head is wider"
    return Plain(False)


def leaves(tied: bool = True) -> nn.Module:
    if not tied:
        raise SystemExit("never untied")
    return Plain()


# not heeded


def always_tied(tied: bool = True) -> nn.Module:
    return Plain()


def never_tied(tied: bool = True) -> nn.Module:
    return Plain(False)


def turned(tied: bool = True) -> nn.Module:
    return Plain(not tied)


def copies(tied: bool = True) -> nn.Module:
    """Tied is heeded, and badly: the values are copied."""
    model = Plain(False)
    if tied:
        model.head.weight.data = model.embedding.weight.data.clone()
    return model


class AlwaysReads(Plain):
    """A head of its own where it is untied, which forward does not read."""

    def forward(self, ids: Tensor) -> Tensor:
        return F.linear(self.body(ids), self.embedding.weight)


# tied by force, by what users do


class TiesOnLoad(Plain):
    def load_state_dict(self, *arguments: Any, **more: Any) -> Any:
        kept = super().load_state_dict(*arguments, **more)
        self.tie()
        return kept

    def tie(self) -> None:
        self.head.weight = self.embedding.weight


class TiesInHook(Plain):
    """As a library does it: `tie_weights()` behind every load, whatever the flag says."""

    def __init__(self, tie_weights: bool = True) -> None:
        super().__init__(tie_weights)
        self.register_load_state_dict_post_hook(lambda module, keys: module.tie())

    def tie(self) -> None:
        self.head.weight = self.embedding.weight


class TiesOnEval(Plain):
    def train(self, mode: bool = True) -> TiesOnEval:
        if not mode and self.training:
            self.head.weight = self.embedding.weight
        super().train(mode)
        return self


class TiesWhenRestored(Plain):
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.head.weight = self.embedding.weight


def crashes_untied(tied: bool = True) -> nn.Module:
    """Built without a word, and of no use."""
    model = Plain(tied)
    if not tied:
        model.head = nn.Linear(7, 31, bias=False)
    return model
