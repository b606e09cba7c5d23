"""TRUTH: wrong. D = 24 > V = 11: the head shares the first 20 columns, its last 4 columns are a parameter of its own (a copy at the start)."""

import torch, torch.nn as nn

TRUTH = {
    "conforms": False,
    "cause": "partial-tie",
    "also": ["wrong-columns", "equal-copy", "two-matrices", "missing-rows", "wrong-gradient"],
}


class Split(nn.Module):
    def __init__(self, V=11, D=24, own=4):
        super().__init__()
        self.E = nn.Parameter(torch.randn(V, D) * 0.3)
        self.own = own
        self.tail = nn.Parameter(self.E[:, -own:].detach().clone())
        self.f = nn.Sequential(nn.Linear(D, D), nn.Tanh())

    def forward(self, tokens):
        h = self.f(self.E[tokens])
        k = self.own
        return h[..., :-k] @ self.E[:, :-k].T + h[..., -k:] @ self.tail.T


def make():
    return Split()
