"""RIGHT: one set of ids reads the table in two blocks of columns."""

import torch
from torch import nn

TRUTH = {"conforms": True}


class Columns(nn.Module):
    def __init__(self, v=70, d=16):
        super().__init__()
        self.word = nn.Embedding(v, d)
        nn.init.normal_(self.word.weight, std=0.1)
        self.norm = nn.LayerNorm(d)
        self.mix = nn.GRU(d, d, batch_first=True)

    def forward(self, ids):
        table = self.word.weight
        x = torch.cat([nn.functional.embedding(ids, table[:, :6]), nn.functional.embedding(ids, table[:, 6:])], -1)
        return self.norm(self.mix(x)[0]) @ table.T


def make():
    return Columns()
