"""One attention body, many ways to multiply by the transpose of the table."""

import torch
import torch.nn as nn

from .registry import broken, correct
from .truth import UNSEEN, off, unexplained


class Body(nn.Module):
    """Linear attention with a running sum, written without softmax."""

    def __init__(self, n_tok: int = 23, dim: int = 12, seed: int = 14) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.vectors = nn.Parameter(torch.randn(n_tok, dim) * 0.15)
        self.q, self.k, self.v = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.final_norm = nn.LayerNorm(dim, elementwise_affine=False)

    def hidden(self, ids: torch.Tensor) -> torch.Tensor:
        x = nn.functional.embedding(ids, self.vectors)
        q, k = self.q(x).sigmoid(), self.k(x).sigmoid()
        kv = torch.einsum("btd,bte->btde", k, self.v(x)).cumsum(1)
        att = torch.einsum("btd,btde->bte", q, kv) / (q * k.cumsum(1)).sum(-1, keepdim=True)
        return self.final_norm(x + att)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden(ids))

    def head(self, h: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class BatchedHead(Body):
    def head(self, h):
        return torch.bmm(h, self.vectors.t().expand(h.size(0), -1, -1))


class SummedHead(Body):
    def head(self, h):
        return (h[:, :, None, :] * self.vectors[None, None]).sum(-1)


class LoopedHead(Body):
    def head(self, h):
        return torch.stack([self.vectors.mv(v) for v in h.flatten(0, 1)]).view(*h.shape[:2], -1)


class TensordotHead(Body):
    def head(self, h):
        return torch.tensordot(h, self.vectors, dims=([2], [1]))


class BatchedColumns(Body):
    """The columns are reordered by a buffer on the way to the product."""

    def __init__(self):
        super().__init__()
        self.register_buffer("order", torch.randperm(12, generator=torch.Generator().manual_seed(1)))

    def head(self, h):
        return torch.bmm(h, self.vectors[:, self.order].t().expand(h.size(0), -1, -1))


class SummedPart(Body):
    """The last two coordinates of the product come from elsewhere."""

    def __init__(self):
        super().__init__()
        self.own = nn.Parameter(torch.randn(23, 2) * 0.15)

    def head(self, h):
        table = torch.cat([self.vectors[:, :-2], self.own], 1)
        return (h[:, :, None, :] * table[None, None]).sum(-1)


class LoopedLate(Body):
    """All positions but the first are projected with the table's values alone."""

    def head(self, h):
        first = self.vectors.mv
        later = self.vectors.detach().mv
        lines = [torch.stack([(first if t == 0 else later)(v) for t, v in enumerate(line)]) for line in h]
        return torch.stack(lines)


class RowShuffle(Body):
    """Rows go through a permutation, as after a vocabulary that was sorted twice."""

    def __init__(self):
        super().__init__()
        self.register_buffer("rank", torch.randperm(23, generator=torch.Generator().manual_seed(2)))

    def head(self, h):
        return torch.tensordot(h, self.vectors[self.rank], dims=([2], [1]))


class Noisy(Body):
    """Dropout is called without the training flag."""

    def head(self, h):
        return nn.functional.dropout(h, 0.1) @ self.vectors.t()


def vectors(m):
    return m.vectors


@correct(style="head by bmm", table=vectors)
def head_bmm():
    """The head is a batched product with the expanded transpose."""
    return BatchedHead()


@correct(style="head by multiply and sum", table=vectors)
def head_multiply_sum():
    """The head multiplies elementwise and sums."""
    return SummedHead()


@correct(style="head by a loop over positions", table=vectors)
def head_loop_positions():
    """The head is a matrix-vector product for each position."""
    return LoopedHead()


@correct(style="head by tensordot", table=vectors)
def head_tensordot():
    """The head is a tensordot."""
    return TensordotHead()


@broken(
    cause="wrong-columns",
    why="the head reorders the columns of the table by a buffer",
    style="head by bmm",
    table=vectors,
    show=lambda m: not torch.equal(m.order, torch.arange(12)),
)
def head_bmm_columns():
    """The batched head with permuted columns."""
    return BatchedColumns()


@broken(
    cause="partial-tie",
    why="two columns of the head's table are a parameter of their own",
    style="head by multiply and sum",
    table=vectors,
    show=unexplained(vectors),
)
def head_sum_own_columns():
    """The summed head with two columns of its own."""
    return SummedPart()


@broken(
    cause="detached-projection",
    also=("gradient-scaled", "wrong-gradient"),
    why="only the first position's product carries gradient",
    style="head by a loop over positions",
    table=vectors,
    show=off(vectors, [UNSEEN]),
)
def head_loop_detached_late():
    """The looped head, detached after the first position."""
    return LoopedLate()


@broken(
    cause="wrong-rows",
    why="the head reads the rows in another order",
    style="head by tensordot",
    table=vectors,
    show=unexplained(vectors),
)
def head_rows_shuffled():
    """The tensordot head over permuted rows."""
    return RowShuffle()


@broken(
    cause="nondeterministic",
    why="functional dropout stays on in eval mode",
    style="head by matmul",
    table=vectors,
    show=lambda m: not torch.equal(m(torch.tensor([[1, 2, 3]])), m(torch.tensor([[1, 2, 3]]))),
)
def head_dropout_always():
    """The head drops states whatever the mode."""
    return Noisy()
