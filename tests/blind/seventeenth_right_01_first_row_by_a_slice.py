"""RIGHT: a row of the table stands before every sequence, read by a slice: a use of the table, though no lookup."""

import torch
from torch import nn
from torch.nn import functional as F

TRUTH = {"conforms": True}


class Begun(nn.Module):
    def __init__(self, v=41, d=12):
        super().__init__()
        self.table = nn.Parameter(torch.randn(v, d) * 0.25)
        self.qkv, self.o, self.n = nn.Linear(d, 3 * d), nn.Linear(d, d), nn.LayerNorm(d)

    def forward(self, ids):
        b, t = ids.shape
        x = torch.cat([self.table[-1:].expand(b, -1, -1), F.embedding(ids, self.table)], 1)
        q, k, v = self.qkv(x).chunk(3, -1)
        a = q @ k.transpose(1, 2) / x.shape[-1] ** 0.5
        a = a.masked_fill(torch.ones(t + 1, t + 1, dtype=torch.bool).triu(1), -1e9).softmax(-1)
        return F.linear(self.n(x + self.o(a @ v))[:, 1:], self.table)


def make():
    return Begun()
