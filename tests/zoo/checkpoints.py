"""Gradient checkpointing, re-entrant and not, around the head, the body, the lookup."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from .registry import broken, correct
from .truth import SEEN, UNSEEN, off


class Segments(nn.Module):
    def __init__(self, where="head", reentrant=False):
        super().__init__()
        self.embedder = nn.Embedding(44, 17)
        nn.init.uniform_(self.embedder.weight, -0.25, 0.25)
        self.cell = nn.Linear(17, 17)
        self.skip = nn.Parameter(torch.full((17,), 0.5))
        self.where, self.reentrant = where, reentrant

    def look(self, ids):
        return F.embedding(ids, self.embedder.weight)

    def run(self, x):
        y = torch.cummax(x, dim=1).values
        return x * self.skip + torch.tanh(self.cell(y))

    def read(self, h):
        return F.linear(h, self.embedder.weight)

    def maybe(self, name, x):
        function = {"look": self.look, "run": self.run, "read": self.read}[name]
        if name in self.where:
            return checkpoint(function, x, use_reentrant=self.reentrant)
        return function(x)

    def forward(self, ids):
        return self.maybe("read", self.maybe("run", self.maybe("look", ids)))


def table(m):
    return m.embedder.weight


@correct(style="checkpointing, not re-entrant", table=table)
def checkpoint_everything():
    """Lookup, body and head are three checkpointed segments, not re-entrant."""
    torch.manual_seed(25)
    return Segments("look run read")


@correct(style="checkpointing, re-entrant", table=table)
def checkpoint_reentrant_head():
    """Body and head are re-entrant segments; the lookup is outside."""
    torch.manual_seed(25)
    return Segments("run read", reentrant=True)


@broken(
    cause="detached-lookup",
    why="a re-entrant segment whose input is integer ids gives no gradient to what it reads",
    style="checkpointing, re-entrant",
    table=table,
    show=off(table, SEEN),
)
def checkpoint_reentrant_lookup():
    """The lookup lies in a re-entrant segment, which loses its gradient."""
    torch.manual_seed(25)
    return Segments("look read", reentrant=True)


class CutSegments(Segments):
    def read(self, h):
        return F.linear(h, self.embedder.weight.detach())


@broken(
    cause="detached-projection",
    why="the checkpointed head reads a detached table",
    style="checkpointing, not re-entrant",
    table=table,
    show=off(table, [UNSEEN]),
)
def checkpoint_head_cut():
    """The checkpointed head without gradient for the table."""
    torch.manual_seed(25)
    return CutSegments("run read")


class UnitBall(nn.Module):
    """Rows longer than one are drawn in, smoothly."""

    def forward(self, rows):
        return rows / (1 + rows.square().sum(-1, keepdim=True)).sqrt()


@correct(
    style="parametrization on the shared table",
    table=lambda m: m.embedder.parametrizations.weight.original,
    effective=table,
    why="each use evaluates the one parametrization anew; one set of parameters (decision 7)",
)
def parametrized_without_cache():
    """A parametrized table that lookup and head evaluate once each."""
    torch.manual_seed(25)
    model = Segments("")
    parametrize.register_parametrization(model.embedder, "weight", UnitBall())
    return model
