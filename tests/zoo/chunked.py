"""Projection in pieces: over rows of the vocabulary, over positions."""

import torch
from torch import nn

from .registry import broken, correct
from .truth import deaf, off, unexplained


class Chunked(nn.Module):
    def __init__(self, table_rows=45, hidden=18, piece=10):
        super().__init__()
        self.wte = nn.Embedding(table_rows, hidden)
        self.wpe = nn.Embedding(64, hidden)
        for e in (self.wte, self.wpe):
            nn.init.normal_(e.weight, mean=0.0, std=0.12)
        self.gru = nn.GRU(hidden, hidden, batch_first=True)
        self.norm = nn.RMSNorm(hidden)
        self.piece = piece

    def body(self, ids):
        x = self.wte(ids) + self.wpe.weight[: ids.shape[1]]
        return self.norm(x + self.gru(x)[0])


class ByRows(Chunked):
    def forward(self, ids):
        h = self.body(ids)
        return torch.cat([h @ part.mT for part in self.wte.weight.split(self.piece)], dim=-1)


class ByPositions(Chunked):
    def forward(self, ids):
        h = self.body(ids)
        out = h.new_empty(*ids.shape, self.wte.num_embeddings)
        for start in range(0, ids.shape[1], 4):
            out[:, start : start + 4] = h[:, start : start + 4] @ self.wte.weight.mT
        return out


class ByRowsLastDetached(Chunked):
    def forward(self, ids):
        h = self.body(ids)
        *parts, last = self.wte.weight.split(self.piece)
        return torch.cat([*(h @ part.mT for part in parts), h @ last.detach().mT], dim=-1)


class ByRowsReversed(Chunked):
    def forward(self, ids):
        h = self.body(ids)
        return torch.cat([h @ part.mT for part in reversed(self.wte.weight.split(9))], dim=-1)


class ByRowsOwnLast(Chunked):
    def __init__(self):
        super().__init__()
        self.tail = nn.Linear(18, 5, bias=False)

    def forward(self, ids):
        h = self.body(ids)
        parts = self.wte.weight.split(self.piece)[:-1]
        return torch.cat([*(h @ part.mT for part in parts), self.tail(h)], dim=-1)


class ByPositionsTail(Chunked):
    """From position 12 on another matrix projects."""

    def __init__(self):
        super().__init__()
        self.late = nn.Parameter(self.wte.weight.detach().clone())

    def forward(self, ids):
        h = self.body(ids)
        head, tail = h[:, :12], h[:, 12:]
        return torch.cat([head @ self.wte.weight.mT, tail @ self.late.mT], 1)


def wte(m):
    return m.wte.weight


@correct(style="chunked over rows", table=wte)
def chunks_of_rows():
    """The head runs over pieces of the vocabulary."""
    torch.manual_seed(15)
    return ByRows()


@correct(style="chunked over positions", table=wte)
def chunks_of_positions():
    """The head fills the logits four positions at a time."""
    torch.manual_seed(15)
    return ByPositions()


@broken(
    cause="missing-rows",
    also=("detached-projection",),
    why="the last piece of the vocabulary is detached",
    style="chunked over rows",
    table=wte,
    show=off(wte, [43]),
)
def chunks_last_detached():
    """The piecewise head without gradient for the last piece."""
    torch.manual_seed(15)
    return ByRowsLastDetached()


@broken(
    cause="wrong-rows",
    why="the pieces are put together in reverse order",
    style="chunked over rows",
    table=wte,
    show=unexplained(wte),
)
def chunks_reversed():
    """The piecewise head with its pieces in the wrong order."""
    torch.manual_seed(15)
    return ByRowsReversed()


@broken(
    cause="partial-tie",
    why="the last five rows are a linear layer of their own",
    style="chunked over rows",
    table=wte,
    show=deaf(wte, 42),
)
def chunks_own_tail():
    """The piecewise head whose last piece is not the table's."""
    torch.manual_seed(15)
    return ByRowsOwnLast()


def _late(m):
    ids = torch.arange(16).view(1, -1) % 11
    before = m(ids)[0, :, 20]
    with torch.no_grad():
        m.wte.weight[20] += 1.0
    moved = (m(ids)[0, :, 20] - before).abs()
    return bool(moved[:12].min() > 0) and bool(moved[12:].max() == 0)


@broken(
    cause="partial-tie",
    also=("equal-copy", "two-matrices", "stale-copy"),
    why="positions from 12 on are projected with a copy (a tie lost only at T >= 12)",
    style="chunked over positions",
    table=wte,
    show=_late,
)
def chunks_late_positions_copy():
    """The head uses another matrix for late positions."""
    torch.manual_seed(15)
    return ByPositionsTail()
