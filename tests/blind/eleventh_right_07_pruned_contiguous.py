"""RIGHT: a functional tie whose table was pruned; the projection reads a contiguous copy of what is left, made in the pass."""

import torch
from torch import nn
from torch.nn.utils import prune

TRUTH = {"conforms": True}


class Pruned(nn.Module):
    def __init__(self, v=32, d=8):
        super().__init__()
        self.emb = nn.Embedding(v, d)
        nn.init.normal_(self.emb.weight, std=0.1)
        prune.l1_unstructured(self.emb, "weight", amount=0.2)
        self.ff = nn.Linear(d, d)

    def forward(self, ids):
        x = self.emb(ids)
        return (x + torch.tanh(self.ff(x.cumsum(1)))) @ self.emb.weight.t().contiguous()


def make():
    return Pruned()
