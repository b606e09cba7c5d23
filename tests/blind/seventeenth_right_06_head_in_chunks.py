"""RIGHT: the head goes over chunks of the table, each computed again in the backward pass."""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

TRUTH = {"conforms": True}


def part(h, w):
    return h @ w.t()


class Chunks(nn.Module):
    def __init__(self, v=53, d=11):
        super().__init__()
        self.emb = nn.Embedding(v, d)
        nn.init.normal_(self.emb.weight, std=0.2)
        self.mix = nn.Sequential(nn.Linear(d, 2 * d), nn.SiLU(), nn.Linear(2 * d, d), nn.LayerNorm(d))

    def forward(self, ids):
        h = self.mix(self.emb(ids).cumsum(1))
        return torch.cat([checkpoint(part, h, w, use_reentrant=False) for w in self.emb.weight.split(17)], -1)


def make():
    return Chunks()
