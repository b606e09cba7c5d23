"""Tables that are stored as D x V."""

import torch
from torch import nn

from .registry import broken, correct
from .truth import unexplained


class ColumnStore(nn.Module):
    """Every token is a column; a leaky average over time is the whole body."""

    def __init__(self, v, d):
        super().__init__()
        self.columns = nn.Parameter(torch.randn(d, v).mul_(0.2))
        self.decay = nn.Parameter(torch.zeros(d))
        self.lift = nn.Linear(d, d)

    def read(self, ids):
        return self.columns[:, ids].permute(1, 2, 0)

    def project(self, h):
        return h @ self.columns

    def forward(self, ids):
        x = self.read(ids)
        a = torch.sigmoid(self.decay)
        state = torch.zeros_like(x[:, 0])
        seq = []
        for step in range(x.shape[1]):
            state = a * state + x[:, step]
            seq.append(state)
        h = torch.stack(seq, dim=1)
        return self.project(h + torch.tanh(self.lift(h)))


class ColumnStoreByView(ColumnStore):
    def read(self, ids):
        return nn.functional.embedding(ids, self.columns.t())


class ColumnStoreTwoParameters(ColumnStore):
    def __init__(self, v, d):
        super().__init__(v, d)
        self.rows = nn.Parameter(self.columns.data.t())

    def read(self, ids):
        return self.rows[ids]


class ColumnStoreCopied(ColumnStore):
    def __init__(self, v, d):
        super().__init__(v, d)
        self.rows = nn.Parameter(self.columns.data.t().contiguous())

    def read(self, ids):
        return self.rows[ids]


@correct(style="transposed storage", table=lambda m: m.columns.data.t())
def columns_indexed():
    """The table is D x V and is read by columns."""
    torch.manual_seed(9)
    return ColumnStore(34, 11)


@correct(style="transposed storage", table=lambda m: m.columns.data.t())
def columns_transposed_view():
    """The table is D x V and is read through its transposed view."""
    torch.manual_seed(9)
    return ColumnStoreByView(34, 11)


@broken(
    cause="two-parameters-one-memory",
    why="the transposed view became a parameter of its own",
    style="transposed storage",
    table=lambda m: m.rows,
    show=lambda m: m.rows.data_ptr() == m.columns.data_ptr() and len(list(m.parameters())) == 5,
)
def columns_and_rows_parameters():
    """The D x V table with a second parameter over its transpose."""
    torch.manual_seed(9)
    return ColumnStoreTwoParameters(34, 11)


@broken(
    cause="equal-copy",
    also=("two-matrices",),
    why="`params['head'] = params['emb'].T` made contiguous (flax-assign-state-not-tied)",
    style="transposed storage",
    table=lambda m: m.rows,
    show=lambda m: torch.equal(m.rows, m.columns.t()) and m.rows.data_ptr() != m.columns.data_ptr(),
)
def columns_and_rows_copied():
    """The D x V table with a contiguous transposed copy beside it."""
    torch.manual_seed(9)
    return ColumnStoreCopied(34, 11)


class Square(ColumnStore):
    """V = D, where shapes cannot tell a matrix from its transpose."""

    def __init__(self, n):
        super().__init__(n, n)

    def read(self, ids):
        return self.columns.t()[ids]


class SquareConfused(Square):
    def project(self, h):
        return h @ self.columns.t()


class SquareEinsum(Square):
    def project(self, h):
        return torch.einsum("btd,vd->btv", h, self.columns)


def _transposed(m):
    h = torch.randn(1, 2, 24)
    return not torch.allclose(m.project(h), h @ m.columns) and torch.allclose(m.project(h), h @ m.columns.t())


@correct(style="transposed storage, square", table=lambda m: m.columns.data.t())
def square_right_way():
    """V = D and the right transpose."""
    torch.manual_seed(10)
    return Square(24)


@broken(
    cause="not-transposed",
    why="V = D hides that the head multiplies by the wrong transpose",
    style="transposed storage, square",
    table=lambda m: m.columns.data.t(),
    show=_transposed,
)
def square_wrong_way():
    """V = D and the wrong transpose by matmul."""
    torch.manual_seed(10)
    return SquareConfused(24)


@broken(
    cause="not-transposed",
    why="V = D hides that the subscripts of the head are swapped",
    style="transposed storage, square",
    table=lambda m: m.columns.data.t(),
    show=_transposed,
)
def square_wrong_subscripts():
    """V = D and the wrong transpose by einsum."""
    torch.manual_seed(10)
    return SquareEinsum(24)


class PartlyOwn(ColumnStore):
    """The last rows of the head come from a parameter of its own."""

    def __init__(self, v, d):
        super().__init__(v, d)
        self.extra = nn.Parameter(torch.randn(d, 5) * 0.2)

    def project(self, h):
        return h @ torch.cat([self.columns[:, :-5], self.extra], dim=1)


@broken(
    cause="partial-tie",
    why="the last five tokens are projected with a parameter of their own",
    style="transposed storage",
    table=lambda m: m.columns.data.t(),
    show=unexplained(lambda m: m.columns.t()),
)
def columns_last_five_own():
    """The D x V table, of which the head replaces the last five columns."""
    torch.manual_seed(9)
    return PartlyOwn(34, 11)
