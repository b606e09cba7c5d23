"""WRONG: from twelve positions on all but the last four are projected outside the graph."""

import torch
from torch import nn
from torch.nn import functional as F

TRUTH = {"conforms": False, "cause": "detached-projection"}


class Long(nn.Module):
    def __init__(self, v=65, d=12):
        super().__init__()
        self.tok = nn.Embedding(v, d)  # with a standard deviation of one: a SHOULD that fails
        self.mix, self.norm = nn.GRU(d, d, batch_first=True), nn.LayerNorm(d)

    def forward(self, ids):
        h, table = self.norm(self.mix(self.tok(ids))[0]), self.tok.weight
        if ids.shape[1] < 12:
            return F.linear(h, table)
        return torch.cat([F.linear(h[:, :-4], table.detach()), F.linear(h[:, -4:], table)], 1)


def make():
    return Long()
