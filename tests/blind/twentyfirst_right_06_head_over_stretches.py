"""RIGHT: the head runs over stretches of positions, and equal tokens give equal h."""

import torch
from torch import nn

TRUTH = {"conforms": True}


class Stretches(nn.Module):
    def __init__(self, v=100, d=16):
        super().__init__()
        self.word = nn.Embedding(v, d)
        nn.init.normal_(self.word.weight, std=0.05)
        self.norm = nn.LayerNorm(d)
        self.place = nn.Parameter(torch.randn(64, d) * 0.02)

    def forward(self, ids):
        h = self.norm(self.word(ids) + self.place[: ids.shape[1]])
        return torch.cat([nn.functional.linear(part, self.word.weight) for part in h.split(3, 1)], 1)


def make():
    return Stretches()
