"""For each requirement a broken model on which it is the only one that fails, and where it is not in the zoo, its twin.

A twin differs in the one line that is broken, and conforms.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import alone_later as later
import alone_operations as operations
import torch
import torch.nn.functional as F
from tiecheck.conformance.protocol import Built
from torch import nn
from zoo import BROKEN


@dataclass(frozen=True)
class Alone:
    """One requirement, the model on which it alone fails, its twin, and what both are declared.

    ``aside`` are operations that are not performed on either: what torch itself loses on two names, and what is made of the
    very thing that is broken. ``profile`` and ``compiles`` say what it takes to see it.
    """

    requirement: str
    broken: Callable[[], Any]
    twin: Callable[[], Any] | None = None
    declared: dict[str, Any] = field(default_factory=dict)
    aside: tuple[str, ...] = ()
    profile: str = "standard"

    @property
    def deselected(self) -> tuple[str, ...]:
        """What is not performed on either."""
        return tuple(id for id in (*operations.LOSES, *self.aside) if id != self.requirement)


class Plain(nn.Module):
    """A table, one hidden layer that mixes positions, and the table again."""

    def __init__(self, broken: bool, tokens: int = 37, width: int = 12) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.broken = broken
        self.table = nn.Parameter(torch.randn(tokens, width) * 0.3)
        self.mix = nn.Linear(width, width)

    def hidden(self, ids: torch.Tensor) -> torch.Tensor:
        x = F.embedding(ids, self.table)
        return torch.tanh(self.mix(x + x.mean(1, keepdim=True)))

    def head(self, h: torch.Tensor) -> torch.Tensor:
        return h @ self.table.T

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden(ids))


class Remembered(Plain):
    """Inference keeps the hidden states of ids that it has seen, and never looks at the table for them again."""

    def __init__(self, broken: bool) -> None:
        super().__init__(broken)
        self.table.requires_grad_(False)
        self.seen: dict[tuple[int, ...], torch.Tensor] = {}

    def hidden(self, ids: torch.Tensor) -> torch.Tensor:
        if not self.broken or torch.is_grad_enabled():
            return super().hidden(ids)
        key = (*ids.shape, *ids.flatten().tolist())
        if key not in self.seen:
            self.seen[key] = super().hidden(ids)
        return self.seen[key]


class Refilled(Plain):
    """The head reads a buffer that every forward fills from the table."""

    def __init__(self, broken: bool) -> None:
        super().__init__(broken)
        self.table.requires_grad_(False)
        self.register_buffer("mirror", self.table.detach().clone())

    def head(self, h: torch.Tensor) -> torch.Tensor:
        if not self.broken:
            return super().head(h)
        self.mirror.copy_(self.table)
        return h @ self.mirror.T


class Prefix(Plain):
    """A parameter, kept for tuning the first rows alone, lies over a part of the table's memory."""

    def __init__(self, broken: bool) -> None:
        super().__init__(broken)
        first = self.table.data[:4]
        self.prefix = nn.Parameter(first if broken else first.clone())


class Opaque(Plain):
    """h E^T by squares, which is no product of the table that could be watched, and D > V, which leaves h unsolved."""

    def __init__(self, broken: bool) -> None:
        super().__init__(broken, tokens=17, width=24)

    def read(self) -> torch.Tensor:
        return self.table

    def head(self, h: torch.Tensor) -> torch.Tensor:
        E = self.read()
        plus, minus = h.unsqueeze(-2) + E, h.unsqueeze(-2) - E
        return (plus.square().sum(-1) - minus.square().sum(-1)) / 4


class OpaqueKept(Opaque):
    """The opaque head reads a copy of the table that was made at the start."""

    def __init__(self, broken: bool) -> None:
        super().__init__(broken)
        self.kept = self.table.detach().clone()

    def read(self) -> torch.Tensor:
        return self.kept if self.broken else self.table


class OpaqueShifted(Opaque):
    """The opaque head adds one constant to all logits."""

    def head(self, h: torch.Tensor) -> torch.Tensor:
        return super().head(h) + (0.3 if self.broken else 0.0)


class OpaqueTuned(Opaque):
    """The opaque head gives each token a factor of its own."""

    def head(self, h: torch.Tensor) -> torch.Tensor:
        return super().head(h) * (torch.linspace(0.7, 1.3, 17) if self.broken else 1.0)


class OpaqueCoupled(Opaque):
    """The opaque head divides all logits by how long the rows are on the whole."""

    def head(self, h: torch.Tensor) -> torch.Tensor:
        return super().head(h) * (1 + self.table.square().mean() if self.broken else 1.0)


class Dead(Plain):
    """A weight of the table's shape that nothing reads."""

    def __init__(self, broken: bool) -> None:
        super().__init__(broken)
        if broken:
            self.unused = nn.Parameter(torch.randn(37, 12))


class OwnSpecials(Plain):
    """The first three tokens are looked up in a table of their own."""

    def __init__(self, broken: bool) -> None:
        super().__init__(broken)
        self.special = nn.Embedding(3, 12)

    def hidden(self, ids: torch.Tensor) -> torch.Tensor:
        x = F.embedding(ids, self.table)
        own = self.special(ids.clamp(max=2)) if self.broken else x
        x = torch.where((ids < 3).unsqueeze(-1), own, x)
        return torch.tanh(self.mix(x + x.mean(1, keepdim=True)))


class Wiping(Plain):
    """Every forward zeroes the rows beyond the legal vocabulary, which no id reads."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        if self.broken:
            self.table.data[33:] = 0
        return super().forward(ids)


class Leaking(nn.Module):
    """Untied; a term that is zero gives the rows that the ids do not read a gradient."""

    def __init__(self, broken: bool) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.broken = broken
        self.table, self.out = nn.Embedding(29, 10), nn.Linear(10, 29, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        logits = self.out(torch.tanh(self.table(ids).cumsum(1)))
        if self.broken:
            absent = torch.ones(29, 1).index_fill(0, ids.flatten(), 0.0)
            total = (self.table.weight * absent).sum()
            logits = logits + (total - total.detach())
        return logits


class Flickering(Plain):
    """One call in the life of the model, the eighth that autograd follows, projects with a detached table."""

    calls = 0

    def head(self, h: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            self.calls += 1
        cut = self.broken and torch.is_grad_enabled() and self.calls == 8
        return h @ (self.table.detach() if cut else self.table).T


class Fused(Plain):
    """Its own loss goes through a head that is out of the graph."""

    def forward(self, ids: torch.Tensor, targets: torch.Tensor | None = None) -> Any:
        h = self.hidden(ids)
        logits = h @ self.table.T
        if targets is None:
            return logits
        scores = h @ self.table.detach().T if self.broken else logits
        return logits, F.cross_entropy(scores.flatten(0, 1), targets.flatten())


def _counted(extra: int) -> Callable[[], Built]:
    def build() -> Built:
        model = Plain(False)
        own = sum(p.numel() for p in model.parameters())
        return Built(model, twin=lambda: own + model.table.numel() + extra)

    return build


def _pair(kind: Callable[[bool], nn.Module], requirement: str, *aside: str, **declared: Any) -> Alone:
    return Alone(requirement, lambda: kind(True), lambda: kind(False), declared, aside)


def _lost_by_torch(requirement: str) -> Alone:
    return Alone(requirement, lambda: later.Tied(False), operations.One)


_ZOO = {
    "subject.deterministic": "head_dropout_always",
    "storage.one-parameter": "lstm_data_assigned",
    "storage.precision": "gpt_autocast_head",
    "count.closed-form": "spare_count_wrong",
    "count.enumerated-once": "nanogpt_groups_by_module",
    "count.own-count": "nanogpt_count_twice",
    "lookup.one-hot": "lookup_next_row",
    "lookup.scale": "moe_scale_silent",
    "projection.linear": "conv_columns_flipped",
    "projection.scale": "wrapped_temperature_silent",
    "projection.bias": "conv_bias_silent",
    "projection.softcap": "gemma_cap_silent",
    "projection.normalization": "lean_normalized_silent",
    "projection.vocabulary": "wrapped_cropped_silent",
    "gradient.trainable": "lean_frozen_silent",
    "gradient.head-share": "checkpoint_head_cut",
    "gradient.lookup-share": "checkpoint_reentrant_lookup",
    "gradient.same-route": "shards_last_detached",
    "gradient.accumulates": "function_head_assigns_grad",
}

_PAIRS = [
    _pair(Remembered, "subject.responds", frozen=True),
    _pair(Refilled, "storage.one-memory", frozen=True),
    _pair(Prefix, "storage.whole-table"),
    _pair(OpaqueKept, "storage.write-through"),
    Alone("count.saves-one-table", _counted(12), _counted(0)),
    _pair(Dead, "count.no-dead-table"),
    _pair(OwnSpecials, "lookup.reaches"),
    _pair(Wiping, "lookup.reads-only", vocabulary=33),
    _pair(OpaqueCoupled, "projection.own-column"),
    _pair(OpaqueShifted, "projection.zero-row"),
    _pair(OpaqueTuned, "projection.equal-rows"),
    _pair(Leaking, "gradient.unread-rows", tied=False),
    _pair(Flickering, "gradient.every-call"),
    _pair(Fused, "gradient.own-loss"),
    _pair(later.Renormed, "training.step"),
    _pair(later.Pruned, "training.sgd"),
    _pair(later.PrunedAdam, "training.adamw"),
    _pair(later.CutInside, "training.trajectory"),
    _pair(later.CopiedByHand, "persistence.deepcopy", "persistence.averaged"),
    _pair(later.PickledByHand, "persistence.pickle"),
    _pair(later.CastByHand, "persistence.cast"),
    _pair(later.MovedByHand, "persistence.move"),
    _pair(later.MergedOnEval, "persistence.train-mode"),
    _pair(later.ThawedByHand, "persistence.freeze"),
    _pair(later.LoadedByHand, "persistence.load"),
    _pair(later.SavedByHand, "persistence.save"),
    _pair(later.Loud, "initialization.loss"),
    *map(_lost_by_torch, operations.LOSES),
    _pair(operations.PartlyLoaded, "persistence.load-partial"),
    _pair(operations.Obliging, "persistence.load-two-tables"),
    _pair(operations.Resumed, "persistence.optimizer-state"),
    _pair(operations.LoadedFromSafetensors, "persistence.safetensors"),
    _pair(operations.Stored, "persistence.pretrained"),
    _pair(operations.Resized, "persistence.resize"),
    _pair(operations.Averaged, "persistence.averaged"),
    _pair(operations.Forgetful, "persistence.checkpointing"),
    _pair(operations.Remembering, "persistence.functional-call"),
    _pair(operations.Traced, "persistence.compile"),
    _pair(operations.Exported, "persistence.export"),
    dataclasses.replace(_pair(operations.ThawedAfterLoad, "persistence.sequence"), profile="full"),
]

ALONE: tuple[Alone, ...] = (
    *(Alone(r, e.build, None, e.declared) for r, name in _ZOO.items() for e in BROKEN if e.name == name),
    *_PAIRS,
)
