"""RIGHT: a vector is added to every h after the product, as E c: the logits are (h + c) E^T, and there is no bias."""

import torch
from torch import nn

TRUTH = {"conforms": True}


class Shifted(nn.Module):
    def __init__(self, v=52, d=9, detached=False):
        super().__init__()
        self.detached = detached
        self.E = nn.Parameter(torch.randn(v, d) * 0.3)
        self.c = nn.Parameter(torch.randn(d) * 0.5)
        self.mix = nn.Sequential(nn.Linear(d, 2 * d), nn.Tanh(), nn.Linear(2 * d, d), nn.LayerNorm(d))

    def forward(self, ids):
        h = self.mix(nn.functional.embedding(ids, self.E).cumsum(1))
        added = self.E.detach() if self.detached else self.E
        return h @ self.E.t() + added @ self.c


def make():
    return Shifted()
