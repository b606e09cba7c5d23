"""Models that keep their tie under every single operation and every training step, and lose it by two or more in a row.

Each by another mechanism; ``needs`` are the words without which nothing is lost, in an order that is enough.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from alone_later import D, Tied, V
from alone_operations import One, ThawedAfterLoad
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Row:
    """A model, the operations that it takes, and whether one of them is a SHOULD."""

    name: str
    build: Callable[[], nn.Module]
    needs: tuple[str, ...]
    should: bool = False


class Broken(Tied):
    """`Tied`, ready to do harm."""

    def __init__(self) -> None:
        super().__init__(True)


class GrandCopy(Broken):
    """A copy remembers that it is one, and the copy of a copy is made part by part."""

    copies = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> GrandCopy:
        made = type(self)()
        made.load_state_dict(self.state_dict())
        made.copies = self.copies + 1
        if made.copies > 1:
            made.untie()
        return made


class Three(Broken):
    """Frozen and thawed, then copied, then loaded into itself: no two of them are enough."""

    stage = 0

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        self.stage = max(self.stage, int(not requires_grad))
        return super().requires_grad_(requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Three:
        made = type(self).__new__(type(self))
        made.__dict__ = {name: copy.deepcopy(value, memo) for name, value in self.__dict__.items()}
        made.stage *= 2
        return made

    def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:
        if self.stage == 2:
            self.untie()
        return super().load_state_dict(state, strict=strict, assign=assign)


class ManyModes(Broken):
    """A merge that wears out: after many switches to eval mode the head's weight is a copy."""

    evals = 0

    def train(self, mode: bool = True) -> Any:
        self.evals += self.training and not mode
        if self.evals > 20:
            self.untie()
            self.evals = -10_000
        return super().train(mode)


class CastWhilePickled(Broken):
    """What comes out of pickle casts with a function of its own, which sees each name by itself."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.by_hand = True

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        super()._apply(fn, recurse)
        if getattr(self, "by_hand", False):
            self.untie()
        return self


class SavedWhileFrozenOnce(Broken):
    """Thawing marks the model; what is pickled of a marked model drops the shared name, and restores it as a copy."""

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        self.thawed = requires_grad
        return super().requires_grad_(requires_grad)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if getattr(self, "thawed", False):
            own = nn.Linear(D, V, bias=False)
            own.weight = nn.Parameter(self.head.weight.detach().clone())
            state["_modules"] = {**self._modules, "head": own}
        return state

    def __deepcopy__(self, memo: dict[int, Any]) -> SavedWhileFrozenOnce:
        made = type(self)()
        made.load_state_dict(self.state_dict())
        return made


class LoadedOnceFrozen(Broken):
    """Once it was frozen, loading replaces the head's parameter instead of writing into it."""

    was_frozen = False

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        self.was_frozen |= not requires_grad
        return super().requires_grad_(requires_grad)

    def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:
        kept = super().load_state_dict(state, strict=strict, assign=assign)
        if self.was_frozen:
            self.untie()
        return kept


class DirtyCache(One):
    """The projection keeps a copy in eval mode that a step in train mode throws away; a load does not."""

    def __init__(self) -> None:
        super().__init__(True)
        self.cache: torch.Tensor | None = None
        self.loaded = False

    def train(self, mode: bool = True) -> Any:
        if mode:
            self.cache = None
        return super().train(mode)

    def load_state_dict(self, *args: Any, **more: Any) -> Any:
        self.loaded = True
        return super().load_state_dict(*args, **more)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.keeps = self.loaded

    def table(self) -> torch.Tensor:
        if self.training or not getattr(self, "keeps", False):
            return self.embedding.weight
        if self.cache is None:
            self.cache = self.embedding.weight.detach().clone()
        return self.cache


class HookAfterTwo(Broken):
    """Two loads add two hooks to the table's gradient, and each halves it where there is another already."""

    def __init__(self) -> None:
        super().__init__()
        self.loads = 0

    def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:
        self.loads += 1
        return super().load_state_dict(state, strict=strict, assign=assign)

    def __deepcopy__(self, memo: dict[int, Any]) -> HookAfterTwo:
        made = type(self)()
        nn.Module.load_state_dict(made, self.state_dict())
        if self.loads:
            made.embedding.weight.register_hook(lambda gradient: gradient / 2)
        return made


class Transposed(One):
    """A model that was cast there and back computes its projection from a table that it keeps, once it was trained on."""

    def __init__(self) -> None:
        super().__init__(True)
        self.casts = 0
        self.register_buffer("kept", None, persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self.casts += 1
        return super()._apply(fn, recurse)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        if self.casts >= 2 and requires_grad:
            self.kept = self.embedding.weight.detach().clone()
        return super().requires_grad_(requires_grad)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return F.linear(self.hidden(ids), self.kept if self.kept is not None else self.embedding.weight)


class AveragedThenLoaded(Broken):
    """The copy that averages are made into is loaded by assignment of its own, name by name."""

    averaged = False

    def __deepcopy__(self, memo: dict[int, Any]) -> AveragedThenLoaded:
        made = type(self)()
        made.load_state_dict(self.state_dict())
        made.averaged = True
        return made

    def state_dict(self, *args: Any, **more: Any) -> Any:
        state = super().state_dict(*args, **more)
        if self.averaged and not args and not more.get("prefix"):
            state = copy.copy(state)
            state["head.weight"] = state["head.weight"] + 0.0
            state["embedding.weight"] = state["embedding.weight"] * 1.0
            state.averaged = True  # type: ignore[attr-defined]
        return state

    def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:
        kept = super().load_state_dict(state, strict=strict, assign=assign)
        if getattr(state, "averaged", False):
            self.untie()
        return kept


ROWS = (
    Row("thawed after load", lambda: ThawedAfterLoad(True), ("load", "freeze")),
    Row("loaded into itself after freeze", LoadedOnceFrozen, ("freeze", "load")),
    Row("copy of a copy", GrandCopy, ("deepcopy", "deepcopy")),
    Row("loaded after freeze and copy", Three, ("freeze", "deepcopy", "load")),
    Row("many modes", ManyModes, ("train-mode",) * 2),
    Row("cast after pickle", CastWhilePickled, ("pickle", "cast")),
    Row("pickled after freeze", SavedWhileFrozenOnce, ("freeze", "pickle")),
    Row("cached after load and pickle", DirtyCache, ("load", "pickle")),
    Row("gradient halved in a copy of a loaded model", HookAfterTwo, ("load", "deepcopy")),
    Row("kept after cast and thaw", Transposed, ("cast", "freeze")),
    Row("loaded from a copy", AveragedThenLoaded, ("deepcopy", "load")),
)
