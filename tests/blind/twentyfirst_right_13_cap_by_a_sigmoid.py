"""RIGHT: a declared soft cap is written with a sigmoid: c (2 s(2 x / c) - 1) is c tanh(x / c)."""

import torch
from torch import nn

TRUTH = {"conforms": True}
DECLARE = {"logit_softcap": 12.0}


class Capped(nn.Module):
    def __init__(self, v=72, d=16):
        super().__init__()
        self.word = nn.Embedding(v, d)
        nn.init.normal_(self.word.weight, std=0.2)
        self.norm = nn.LayerNorm(d)
        self.mix = nn.GRU(d, d, batch_first=True)

    def forward(self, ids):
        z = self.norm(self.mix(self.word(ids))[0]) @ self.word.weight.mT
        return 12 * (2 * torch.sigmoid(z * (2 / 12)) - 1)


def make():
    return Capped()
