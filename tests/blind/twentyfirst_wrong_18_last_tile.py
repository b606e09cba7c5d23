"""WRONG: the head's last tile is kept full by reading from the rows before it, and their logits are taken for its own."""

import torch
from torch import nn

TRUTH = {"conforms": False, "cause": "wrong-rows"}


class Tiled(nn.Module):
    def __init__(self, v=70, d=16):
        super().__init__()
        self.word = nn.Embedding(v, d)
        nn.init.normal_(self.word.weight, std=0.1)
        self.norm = nn.LayerNorm(d)
        self.mix = nn.GRU(d, d, batch_first=True)

    def forward(self, ids):
        h, table = self.norm(self.mix(self.word(ids))[0]), self.word.weight
        rows, tile = table.shape[0], 16
        starts = range(0, rows, tile)
        parts = [(h @ table[min(a, rows - tile) :][:tile].T)[..., : rows - a] for a in starts]
        return torch.cat(parts, -1)


def make():
    return Tiled()
