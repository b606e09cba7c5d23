"""WRONG: stale copy. The head reads a slow running average of the table (a buffer), with a straight-through gradient to the table. At
the start average and table are bit-equal and the gradient is exact; after the first update the two sides hold two tables."""

import torch
import torch.nn as nn
import torch.nn.functional as F

TRUTH = {"conforms": False, "cause": "stale-copy"}
V, D = 37, 12


class Model(nn.Module):
    def __init__(self, momentum=0.1):
        super().__init__()
        self.momentum = momentum
        self.table = nn.Parameter(torch.randn(V, D) * 0.2)
        self.register_buffer("slow", self.table.detach().clone())
        self.up, self.down = nn.Linear(D, 2 * D), nn.Linear(2 * D, D)
        self.norm = nn.LayerNorm(D)

    def head_weight(self):
        if self.training:
            with torch.no_grad():
                self.slow.lerp_(self.table, self.momentum)
        return self.table + (self.slow - self.table).detach()

    def forward(self, ids):
        x = self.table[ids]
        n = torch.arange(1, ids.shape[1] + 1, dtype=x.dtype)[:, None]
        h = self.norm(x + self.down(F.relu(self.up(x.cumsum(1) / n))))
        return h @ self.head_weight().T


def make():
    return Model()
