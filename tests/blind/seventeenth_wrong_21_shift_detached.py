"""WRONG: a bias is worked out from the table outside the graph: the logits look like (h + c) E^T, the gradient is h's alone."""

import torch
from torch import nn

TRUTH = {"conforms": False, "cause": "undeclared-bias"}


class Shifted(nn.Module):
    def __init__(self, v=52, d=9):
        super().__init__()
        self.E = nn.Parameter(torch.randn(v, d) * 0.3)
        self.c = nn.Parameter(torch.randn(d) * 0.5)
        self.mix = nn.Sequential(nn.Linear(d, 2 * d), nn.Tanh(), nn.Linear(2 * d, d), nn.LayerNorm(d))

    def forward(self, ids):
        h = self.mix(nn.functional.embedding(ids, self.E).cumsum(1))
        return h @ self.E.t() + self.E.detach() @ self.c


def make():
    return Shifted()
