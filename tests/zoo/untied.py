"""Models that are declared untied, and models that tie by force."""

import torch
from torch import nn
from torch.nn import functional as F

from .registry import broken, correct
from .truth import change

UNTIED = {"tied": False}


class Two(nn.Module):
    """Separate ends around a pooling body."""

    def __init__(self, vocab=46, dim=12, flag=False):
        super().__init__()
        self.inp = nn.Embedding(vocab, dim)
        self.mid = nn.Linear(2 * dim, dim)
        self.out = nn.Linear(dim, vocab, bias=False)
        nn.init.normal_(self.inp.weight, std=0.5)
        self.finish(flag)

    def finish(self, flag):
        pass

    def body(self, x):
        best = x.cummax(dim=1).values
        return torch.tanh(self.mid(torch.cat((x, best), 2)))

    def forward(self, ids):
        return self.out(self.body(self.inp(ids)))


class SameStart(Two):
    """Both ends start from the same values and go their own ways."""

    def finish(self, flag):
        with torch.no_grad():
            self.inp.weight.mul_(0.4)
            self.out.weight.copy_(self.inp.weight)


class AlwaysTies(Two):
    """The flag is not looked at."""

    def finish(self, flag):
        self.out.weight = self.inp.weight


class IgnoresHead(Two):
    """The head's own weight is there and is not used."""

    def forward(self, ids):
        return F.linear(self.body(self.inp(ids)), self.inp.weight)


class CopiesOver(Two):
    """Every forward overwrites the head with the embedding."""

    def forward(self, ids):
        with torch.no_grad():
            self.out.weight.copy_(self.inp.weight)
        return super().forward(ids)


class SharedMemory(Two):
    """Two parameters over one memory."""

    def finish(self, flag):
        self.out.weight.data = self.inp.weight.data


class Columns(Two):
    """The head stores its own matrix as D x V."""

    def finish(self, flag):
        del self.out
        self.unembed = nn.Parameter(torch.randn(12, 46) * 0.1)

    def forward(self, ids):
        return self.body(self.inp(ids)) @ self.unembed


def inp(m):
    return m.inp.weight


@correct(
    style="untied",
    declared={"tied": False, "parameter_count": 2 * 46 * 12 + 24 * 12 + 12},
    table=inp,
)
def untied_two_ends():
    """Two matrices, declared untied, with a declared count."""
    torch.manual_seed(29)
    return Two()


@correct(style="untied, equal values", declared=UNTIED, table=inp, why="equal values are no tie")
def untied_same_start():
    """Two matrices that start equal, declared untied."""
    torch.manual_seed(29)
    return SameStart()


@correct(style="untied, transposed storage", declared=UNTIED, table=inp)
def untied_columns():
    """Two matrices, the second stored as D x V, declared untied."""
    torch.manual_seed(29)
    return Columns()


def _hears(m):
    return change(m, m.inp.weight)[0] > 0


@broken(
    cause="forced-tie",
    why="the tie helper does not look at the flag (nemo-automodel-force-tie)",
    style="untied",
    declared=UNTIED,
    table=inp,
    show=_hears,
)
def untied_always_ties():
    """Declared untied, tied by an assignment."""
    torch.manual_seed(29)
    return AlwaysTies()


@broken(
    cause="forced-tie",
    also=("miscounted",),
    why="the head's own weight is ignored (pegainfer-untied-reuses-embed)",
    style="untied",
    declared=UNTIED,
    table=inp,
    show=_hears,
)
def untied_head_ignored():
    """Declared untied, projecting with the embedding."""
    torch.manual_seed(29)
    return IgnoresHead()


@broken(
    cause="forced-tie",
    also=("stale-copy", "equal-copy"),
    why="the embedding is copied into the head in every forward (sglang-vlm-force-copy)",
    style="untied",
    declared=UNTIED,
    table=inp,
    show=_hears,
)
def untied_copied_over():
    """Declared untied, tied by copying."""
    torch.manual_seed(29)
    return CopiesOver()


@broken(
    cause="forced-tie",
    also=("two-parameters-one-memory",),
    why="two parameters lie over one memory (hf-untied-load-stays-aliased)",
    style="untied",
    declared=UNTIED,
    table=inp,
    show=_hears,
)
def untied_one_memory():
    """Declared untied, with both ends over one memory."""
    torch.manual_seed(29)
    return SharedMemory()
