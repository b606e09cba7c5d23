"""RIGHT: the mean of the whole table is fed into the body: a third use, which reads every row."""

import torch
from torch import nn

TRUTH = {"conforms": True}


class Mean(nn.Module):
    def __init__(self, v=44, d=8):
        super().__init__()
        self.E = nn.Parameter(torch.randn(v, d) * 0.35)
        self.ctx = nn.Linear(d, d)
        self.f = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def read(self):
        return self.E

    def forward(self, ids):
        x = nn.functional.embedding(ids, self.E) + self.ctx(self.E.mean(0) * 3.0)
        past = x.cumsum(1) / torch.arange(1, ids.shape[1] + 1, dtype=x.dtype)[:, None]
        return (x + self.f(past)) @ self.read().t(), None


def make():
    return Mean()
