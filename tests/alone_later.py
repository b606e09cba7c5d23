"""Models that are sound until something happens to them: training, or one operation alone. Each with its twin."""

from __future__ import annotations

import copy
from typing import Any

import torch
from tiecheck.reference import GPT, GPTConfig
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

V, D = 37, 12


class Tied(nn.Module):
    """Two modules that hold one parameter; ``broken`` says whether the subclass does its harm."""

    def __init__(self, broken: bool) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.broken = broken
        self.embedding = nn.Embedding(V, D)
        self.mix = nn.Linear(D, D)
        self.head = nn.Linear(D, V, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.3)
        self.head.weight = self.embedding.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids)
        return self.head(torch.tanh(self.mix(x + x.mean(1, keepdim=True))))

    def untie(self) -> None:
        """What careless code does: a parameter of its own for the head, with equal values."""
        if self.broken:
            self.head.weight = nn.Parameter(self.head.weight.detach().clone())


class CopiedByHand(Tied):
    """A __deepcopy__ that copies parameter by parameter and forgets that two names are one."""

    def __deepcopy__(self, memo: dict[int, Any]) -> CopiedByHand:
        other = type(self)(self.broken)
        other.load_state_dict(self.state_dict())
        other.untie()
        return other


class PickledByHand(Tied):
    """The state that is pickled holds a copy of the head; copying and torch.save take the way of every module."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        if protocol <= 2 or not self.broken:  # torch.save writes protocol 2
            return super().__reduce_ex__(protocol)
        state = copy.copy(self.__dict__)
        state["_modules"] = {**self._modules, "head": _with_own_weight(self.head)}
        return (_restored, (type(self), state))

    def __deepcopy__(self, memo: dict[int, Any]) -> PickledByHand:
        other = type(self)(self.broken)
        other.load_state_dict(self.state_dict())
        return other


class SavedByHand(PickledByHand):
    """The same where torch.save writes."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        if protocol > 2 or not self.broken:
            return nn.Module.__reduce_ex__(self, protocol)
        return PickledByHand.__reduce_ex__(self, 4)


def _with_own_weight(head: nn.Module) -> nn.Linear:
    own = nn.Linear(D, V, bias=False)
    own.weight = nn.Parameter(head.weight.detach().clone())
    return own


def _restored(kind: type[Tied], state: dict[str, Any]) -> Tied:
    model = kind.__new__(kind)
    model.__dict__.update(state)
    return model


class CastByHand(Tied):
    """An _apply of its own that gives the head a parameter of its own where the dtype changes."""

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        before = self.embedding.weight.dtype
        super()._apply(fn, recurse)
        if self.embedding.weight.dtype != before:
            self.untie()
        return self


class MovedByHand(Tied):
    """A cpu() of its own that collects the weights for inference."""

    def cpu(self) -> Any:
        super().cpu()
        self.untie()
        return self


class MergedOnEval(Tied):
    """train() merges what eval() kept, as adapters do; switched to and fro without a call in between it keeps a copy."""

    flips = 0

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        self.flips += 1
        if self.flips > 3:
            self.untie()
        return self

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        self.flips = 0
        return super().forward(ids)


class ThawedByHand(Tied):
    """requires_grad_(True) makes the parameters anew."""

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        super().requires_grad_(requires_grad)
        if requires_grad:
            self.untie()
        return self


class LoadedByHand(Tied):
    """load_state_dict of the model's own state gives the head a parameter of its own, lest it be copied onto itself."""

    def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:
        own = state["mix.weight"].data_ptr() == self.mix.weight.data_ptr()
        kept = super().load_state_dict(state, strict=strict, assign=assign)
        if own:
            self.untie()
        return kept


class Pruned(Tied):
    """Every forward in train mode counts; after a few the head gets a mask of its own where SGD's velocity lies."""

    optimizer = "momentum_buffer"

    def __init__(self, broken: bool) -> None:
        super().__init__(broken)
        self.watched: list[Any] = []
        if broken:
            model = self

            def after_step(optimizer: Any, *_: Any) -> None:
                state = optimizer.state.get(model.embedding.weight, {})
                if model.optimizer in state:
                    model.watched.append(1)
                    if len(model.watched) >= 3:
                        model.untie()

            self.handle = register_optimizer_step_post_hook(after_step)


class PrunedAdam(Pruned):
    """The same where Adam's moments lie."""

    optimizer = "exp_avg"


class Renormed(Tied):
    """Every optimizer step is followed by a projection of the table's rows onto their old length."""

    def __init__(self, broken: bool) -> None:
        super().__init__(broken)
        if broken:
            table = self.embedding.weight

            def before_step(optimizer: Any, *_: Any) -> None:
                self.length = table.detach().norm(dim=1, keepdim=True)

            def after_step(optimizer: Any, *_: Any) -> None:
                if any(p is table for g in optimizer.param_groups for p in g["params"]):
                    with torch.no_grad():
                        table.mul_(self.length / table.norm(dim=1, keepdim=True))

            self.handles = [
                register_optimizer_step_pre_hook(before_step),
                register_optimizer_step_post_hook(after_step),
            ]


class CutInside(GPT):
    """The reference network with a hook that doubles the gradient of one matrix between the two uses of the table."""

    def __init__(self, broken: bool) -> None:
        super().__init__(GPTConfig(vocabulary=31, context=16, width=8, layers=1, heads=2))
        if broken:
            self.blocks[0].mlp.down.weight.register_hook(lambda gradient: 2 * gradient)


class Loud(Tied):
    """A table drawn as nn.Embedding draws it, with a standard deviation of one, and a head that reads it."""

    def __init__(self, broken: bool) -> None:
        super().__init__(broken)
        nn.init.normal_(self.embedding.weight, std=2.0 if broken else 0.02)
