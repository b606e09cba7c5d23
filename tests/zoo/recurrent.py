"""Recurrent models: a GRU and an LSTM of the library, and a cell written by hand."""

import torch
import torch.nn as nn
import torch.nn.functional as F

from .registry import broken, correct
from .truth import SEEN, UNSEEN, deaf, off


class GRULM(nn.Module):
    def __init__(self, vocab=41, width=12):
        super().__init__()
        self.embedding = nn.Embedding(vocab, width)
        self.rnn = nn.GRU(width, width, batch_first=True)
        self.decoder = nn.Linear(width, vocab, bias=False)
        nn.init.uniform_(self.embedding.weight, -0.4, 0.4)
        self.decoder.weight = self.embedding.weight

    def forward(self, ids):
        out, _ = self.rnn(self.embedding(ids))
        return self.decoder(out)


class GRUFrozenSide(GRULM):
    def forward(self, ids):
        out, _ = self.rnn(self.embedding(ids))
        return F.linear(out, self.decoder.weight.detach())


@correct(style="recurrent", table=lambda m: m.embedding.weight, declared={"parameter_count": 41 * 12 + 6 * 144 + 72})
def gru_assigned():
    """A GRU whose decoder takes the embedding's parameter."""
    torch.manual_seed(1)
    return GRULM()


@broken(
    cause="detached-projection",
    why="the head multiplies by the table without its history",
    style="recurrent",
    table=lambda m: m.embedding.weight,
    show=off(lambda m: m.embedding.weight, [UNSEEN]),
)
def gru_head_detached():
    """The same GRU, projecting with a detached table."""
    torch.manual_seed(1)
    return GRUFrozenSide()


class LSTMLanguageModel(nn.Module):
    """AWD style: dropout between, two layers, an input narrower than the state and a projection back."""

    def __init__(self, ntoken, ninp, nhid, tie="param"):
        super().__init__()
        self.drop = nn.Dropout(0.1)
        self.encoder = nn.Embedding(ntoken, ninp)
        self.rnn = nn.LSTM(ninp, nhid, 2)
        self.back = nn.Linear(nhid, ninp)
        self.decoder = nn.Linear(ninp, ntoken, bias=False)
        self.encoder.weight.data.uniform_(-0.3, 0.3)
        if tie == "param":
            self.decoder.weight = self.encoder.weight
        elif tie == "values":
            self.decoder.weight.data.copy_(self.encoder.weight.data)
        elif tie == "data":
            self.decoder.weight.data = self.encoder.weight.data

    def forward(self, input):
        emb = self.drop(self.encoder(input.t()))
        output, _ = self.rnn(emb)
        decoded = self.decoder(torch.tanh(self.back(self.drop(output))))
        return decoded.transpose(0, 1)


@correct(style="recurrent, time-major", table=lambda m: m.encoder.weight)
def lstm_time_major():
    """A two-layer LSTM that runs time-major inside, with dropout, tied by assignment."""
    torch.manual_seed(2)
    return LSTMLanguageModel(37, 10, 14)


@broken(
    cause="equal-copy",
    also=("two-matrices",),
    why="values copied once, not bound (paddlenlp-tie-by-value)",
    style="recurrent, time-major",
    table=lambda m: m.encoder.weight,
    show=deaf(lambda m: m.encoder.weight),
)
def lstm_values_copied():
    """The LSTM whose decoder starts from a copy of the encoder's values."""
    torch.manual_seed(2)
    return LSTMLanguageModel(37, 10, 14, tie="values")


@broken(
    cause="two-parameters-one-memory",
    why="head.weight.data = emb.weight.data makes two parameters (hyperparallel-shard-meta-identity)",
    style="recurrent, time-major",
    table=lambda m: m.encoder.weight,
    show=lambda m: (
        m.encoder.weight is not m.decoder.weight and m.encoder.weight.data_ptr() == m.decoder.weight.data_ptr()
    ),
)
def lstm_data_assigned():
    """The LSTM tied through .data, which keeps two parameters over one memory."""
    torch.manual_seed(2)
    return LSTMLanguageModel(37, 10, 14, tie="data")


class Elman(nn.Module):
    def __init__(self):
        super().__init__()
        V, D = 29, 8
        self.E = nn.Parameter(torch.randn(V, D) * 0.3)
        self.W = nn.Parameter(torch.randn(D, D) / D)
        self.U = nn.Parameter(torch.randn(D, D) / D**0.5)
        self.c = nn.Parameter(torch.zeros(D))

    def out(self, hs):
        return hs @ self.E.T

    def forward(self, ids):
        h = torch.zeros(ids.size(0), 8, dtype=self.E.dtype, device=ids.device)
        hs = []
        for t in range(ids.size(1)):
            h = torch.tanh(self.E[ids[:, t]] @ self.U + h @ self.W + self.c)
            hs.append(h)
        return self.out(torch.stack(hs, dim=1))


class ElmanKept(Elman):
    kept = None

    def out(self, hs):
        if self.kept is None:
            self.kept = self.E.detach().clone().T
        return hs @ self.kept


class ElmanDetachedInput(Elman):
    def forward(self, ids):
        x = self.E.data[ids]
        h = torch.zeros_like(x[:, 0])
        hs = []
        for t in range(ids.size(1)):
            h = torch.tanh(x[:, t] @ self.U + h @ self.W + self.c)
            hs.append(h)
        return self.out(torch.stack(hs, dim=1))


@correct(style="recurrent, by hand", table=lambda m: m.E)
def elman_by_hand():
    """A simple recurrence written out, lookup by index, head by matmul."""
    torch.manual_seed(3)
    return Elman()


@broken(
    cause="stale-copy",
    also=("detached-projection",),
    why="the transposed table is kept from the first call on",
    style="recurrent, by hand",
    table=lambda m: m.E,
    show=deaf(lambda m: m.E),
)
def elman_keeps_first_table():
    """The recurrence with a head that caches the table at the first call."""
    torch.manual_seed(3)
    return ElmanKept()


@broken(
    cause="detached-lookup",
    why="rows are read through .data",
    style="recurrent, by hand",
    table=lambda m: m.E,
    show=off(lambda m: m.E, SEEN),
)
def elman_reads_data():
    """The recurrence whose lookup goes through .data."""
    torch.manual_seed(3)
    return ElmanDetachedInput()
