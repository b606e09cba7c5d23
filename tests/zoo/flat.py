"""One flat parameter holds everything; matrices are views of it."""

import torch
from torch import nn

from .registry import broken, correct
from .truth import UNSEEN, change, deaf, off

V, D = 28, 9


class Flat(nn.Module):
    SIZES = (V * D, D * D, D * D, D)

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.randn(sum(self.SIZES)) * 0.25)

    def carve(self):
        E, A, B, c = self.theta.split(self.SIZES)[:4]
        return E.view(V, D), A.view(D, D), B.view(D, D), c

    def out_table(self, E):
        return E

    def forward(self, ids):
        E, A, B, c = self.carve()
        x = E[ids]
        left = torch.nn.functional.pad(x, (0, 0, 1, 0))[:, :-1]
        h = x + torch.tanh(x @ A + left @ B + c)
        return h @ self.out_table(E).t()


class FlatTwoTables(Flat):
    """The head's window lies in another part of the same parameter."""

    SIZES = (V * D, D * D, D * D, D, V * D)

    def out_table(self, E):
        return self.theta[-V * D :].view(V, D)


class FlatShifted(Flat):
    """The head's window starts one row late."""

    def out_table(self, E):
        return self.theta[D : D + V * D].view(V, D)


class FlatDetached(Flat):
    """The head's window is cut from the parameter's data."""

    def out_table(self, E):
        return self.theta.data[: V * D].view(V, D)


def E(m):
    return m.theta.data[: V * D].view(V, D)


@correct(style="flat parameter", table=E, declared={"parameter_count": V * D + 2 * D * D + D})
def flat_views():
    """Everything is one parameter; the table is its first window."""
    torch.manual_seed(18)
    return Flat()


@broken(
    cause="two-matrices",
    why="the head reads another window of the one parameter",
    style="flat parameter",
    table=E,
    show=deaf(E),
)
def flat_two_windows():
    """The flat model with two windows of V x D."""
    torch.manual_seed(18)
    return FlatTwoTables()


@broken(
    cause="wrong-rows",
    also=("partial-tie", "two-matrices"),
    why="the head's window starts one row late",
    style="flat parameter",
    table=E,
    show=lambda m: change(m, E(m), UNSEEN)[0] == 0.0,
)
def flat_shifted_window():
    """The flat model whose head reads one row further."""
    torch.manual_seed(18)
    return FlatShifted()


@broken(
    cause="detached-projection",
    why="the head's window is cut from .data",
    style="flat parameter",
    table=E,
    show=off(E, [UNSEEN]),
)
def flat_head_of_data():
    """The flat model projecting without gradient."""
    torch.manual_seed(18)
    return FlatDetached()
