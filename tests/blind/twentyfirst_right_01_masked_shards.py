"""RIGHT: the table is read in shards, each for all ids, and masked."""

import torch
from torch import nn

TRUTH = {"conforms": True}


class Sharded(nn.Module):
    def __init__(self, v=92, d=16, shard=23, less=0):
        super().__init__()
        self.shard, self.less = shard, less
        self.weight = nn.Parameter(torch.randn(v, d) * 0.05)
        self.mix = nn.GRU(d, d, batch_first=True)

    def forward(self, ids):
        x = 0.0
        for low in range(0, self.weight.shape[0], self.shard):
            part = self.weight[low : low + self.shard]
            mine = (ids >= low) & (ids < low + part.shape[0] - self.less)
            x = x + nn.functional.embedding((ids - low).clamp(0, part.shape[0] - 1), part) * mine.unsqueeze(-1)
        return self.mix(x)[0] @ self.weight.T


def make():
    return Sharded()
