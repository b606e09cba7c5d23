"""WRONG, lost-on-train-mode. A low-rank delta on the shared table (both uses, fine) that eval() adds into W and train() takes out, without asking which mode
it was in: eval().eval() adds it twice, train() on a training model takes out what was never put in. With B = 0, as built, nothing shows; once trained,
the logits after a switch are not those before, and a state dict saved in eval holds the merged W."""

import torch
from torch import nn
import torch.nn.functional as F

TRUTH = {"conforms": False, "cause": "lost-on-train-mode", "also": ["lost-on-load", "nondeterministic", "unknown"]}


class DeltaTable(nn.Module):
    def __init__(self, rows, width, rank):
        super().__init__()
        self.W = nn.Parameter(torch.randn(rows, width) * 0.1)
        self.A = nn.Parameter(torch.randn(rows, rank) * 0.3)
        self.B = nn.Parameter(torch.zeros(rank, width))

    def train(self, mode=True):
        delta = (self.A @ self.B).detach()
        if mode:
            self.W.data -= delta
        else:
            self.W.data += delta
        return super().train(mode)

    def forward(self):
        return self.W + self.A @ self.B if self.training else self.W


class Adapted(nn.Module):
    def __init__(self, vocab=62, width=16):
        super().__init__()
        self.table = DeltaTable(vocab, width, 4)
        self.gru = nn.GRU(width, width, batch_first=True)

    def forward(self, ids):
        E = self.table()
        return F.linear(self.gru(F.embedding(ids, E))[0], E)


def make():
    return Adapted()
