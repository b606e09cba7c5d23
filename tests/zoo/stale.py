"""Copies of the table that are kept: since birth, since the first call, in one mode, by version."""

import torch
from torch import nn
from torch.autograd import Function

from .registry import broken, correct
from .truth import deaf, logits, write


class Windowed(nn.Module):
    """A gated window of four tokens by unfold; `head_table` says what the head multiplies by."""

    def __init__(self, v=33, d=14):
        super().__init__()
        self.embed = nn.Embedding(v, d, _weight=torch.randn(v, d) * 0.2)
        self.win = nn.Linear(4 * d, 2 * d)
        self.prepare()

    def prepare(self):
        pass

    def head_table(self):
        return self.embed.weight

    def forward(self, ids):
        x = self.embed(ids)
        w = torch.cat([x.new_zeros(x.size(0), 3, x.size(2)), x], 1).unfold(1, 4, 1).flatten(2)
        return nn.functional.glu(self.win(w), -1).add(x) @ self.head_table().T


class SinceBirth(Windowed):
    def prepare(self):
        self.register_buffer("kept", self.embed.weight.detach().clone())

    def head_table(self):
        return self.kept


class SecondCall(Windowed):
    """The first call is honest and leaves a copy for the ones after it."""

    def prepare(self):
        self.kept = None

    def head_table(self):
        now = self.embed.weight
        if self.kept is None:
            self.kept = now.detach().clone()
            return now
        return self.kept


class OnlyInEval(Windowed):
    """A cache for serving, filled in the first pass in eval mode."""

    def prepare(self):
        self.kept = None

    def head_table(self):
        if self.training:
            return self.embed.weight
        if self.kept is None:
            self.kept = self.embed.weight.detach().clone()
        return self.kept


class ByVersion(Windowed):
    """The copy is made anew when the version counter moved, which writes through .data do not do."""

    def prepare(self):
        self.kept, self.version = None, -1

    def head_table(self):
        if self.version != self.embed.weight._version:
            self.kept, self.version = self.embed.weight.detach().clone(), self.embed.weight._version
        return self.kept


class Substitute(Function):
    """The value of a copy, the gradient to the table."""

    @staticmethod
    def forward(ctx, table, copy):
        return copy.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class GradientToTable(Windowed):
    def prepare(self):
        self.register_buffer("kept", self.embed.weight.detach().clone())

    def head_table(self):
        return Substitute.apply(self.embed.weight, self.kept)


class CopiedEachPass(Windowed):
    """A head with a parameter of its own that every forward overwrites."""

    def prepare(self):
        self.lm = nn.Linear(14, 33, bias=False)
        with torch.no_grad():
            self.lm.weight.copy_(self.embed.weight)

    def head_table(self):
        with torch.no_grad():
            self.lm.weight.copy_(self.embed.weight)
        return self.lm.weight


class FreshClone(Windowed):
    """A contiguous clone of the table in every pass, with its history."""

    def head_table(self):
        return self.embed.weight.clone().contiguous()


class HiddenAlias(Windowed):
    """The head holds the very parameter in a plain list, out of the sight of nn.Module."""

    def prepare(self):
        self.borrowed = [self.embed.weight]

    def head_table(self):
        return self.borrowed[0]


def weight(m):
    return m.embed.weight


@correct(style="window, fresh clone", table=weight)
def window_fresh_clone():
    """The head multiplies by a clone that was made in that pass."""
    torch.manual_seed(28)
    return FreshClone()


@correct(style="window, alias in a list", table=weight)
def window_hidden_alias():
    """The head borrows the embedding's parameter through a plain list."""
    torch.manual_seed(28)
    return HiddenAlias()


@broken(
    cause="stale-copy",
    also=("equal-copy", "detached-projection", "two-matrices"),
    why="the head reads a buffer that was copied once (prime-rl-sparse-tied-desync)",
    style="window, kept copy",
    table=weight,
    show=deaf(weight),
)
def window_copy_since_birth():
    """The head reads a buffer made at construction."""
    torch.manual_seed(28)
    return SinceBirth()


@broken(
    cause="stale-copy",
    also=("detached-projection",),
    why="from the second call on the head reads a copy",
    style="window, kept copy",
    table=weight,
    show=deaf(weight),
)
def window_copy_from_second_call():
    """The first call is right, the later ones are not."""
    torch.manual_seed(28)
    return SecondCall()


@broken(
    cause="stale-copy",
    also=("detached-projection",),
    why="in eval mode the head reads a cached copy",
    style="window, kept copy",
    table=weight,
    show=deaf(weight),
)
def window_copy_in_eval():
    """Training is right, evaluation reads a copy."""
    torch.manual_seed(28)
    return OnlyInEval()


def _past_version(m):
    before = logits(m)
    m.embed.weight.data[20] += 1.0
    return torch.equal(before, logits(m))


@broken(
    cause="stale-copy",
    also=("detached-projection",),
    why="the copy is refreshed by version counter, which .data writes do not move (autocast-cache-stale-after-step)",
    style="window, kept copy",
    table=weight,
    show=_past_version,
)
def window_copy_by_version():
    """The head reads a copy that follows the version counter."""
    torch.manual_seed(28)
    return ByVersion()


@broken(
    cause="stale-copy",
    also=("equal-copy", "two-matrices"),
    why="the head has a copy's values and the table's gradient",
    style="window, kept copy",
    table=weight,
    show=deaf(weight),
)
def window_copy_with_gradient():
    """A copy whose gradient goes to the table."""
    torch.manual_seed(28)
    return GradientToTable()


def _overwritten(m):
    write(m.lm.weight, 20)
    logits(m)
    return torch.equal(m.lm.weight, m.embed.weight) and m.lm.weight is not m.embed.weight


@broken(
    cause="stale-copy",
    also=("equal-copy", "two-matrices"),
    why="every forward copies the table into another parameter, which trains for nothing",
    style="window, kept copy",
    table=weight,
    show=_overwritten,
)
def window_copied_each_pass():
    """The head's own parameter is overwritten in every forward."""
    torch.manual_seed(28)
    return CopiedEachPass()
