"""WRONG: long inputs are looked up in tiles of four, and the tail of what is left reads the first tokens instead."""

import torch
from torch import nn
from torch.nn import functional as F

TRUTH = {"conforms": False, "cause": "wrong-rows"}


class TiledEmbedding(nn.Embedding):
    def forward(self, ids):
        length, full = ids.size(1), ids.size(1) // 4 * 4
        parts = [F.embedding(ids[:, a : a + 4], self.weight) for a in range(0, full, 4)]
        if length > full:
            parts.append(F.embedding(ids[:, : length - full], self.weight))
        return torch.cat(parts, 1)


class Tiled(nn.Module):
    def __init__(self, v=69, d=14):
        super().__init__()
        self.tok = TiledEmbedding(v, d)  # with a standard deviation of one: a SHOULD that fails
        self.mix, self.norm = nn.GRU(d, d, batch_first=True), nn.LayerNorm(d)

    def forward(self, ids):
        x = self.tok(ids)
        return F.linear(self.norm(x + self.mix(x)[0]), self.tok.weight)


def make():
    return Tiled()
