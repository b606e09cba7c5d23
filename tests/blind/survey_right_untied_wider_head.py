"""RIGHT. Untied, with a head that is wider than the table: the network changes the width on its way."""

import torch
from torch import nn

TRUTH = {"conforms": True, "cause": None, "also": []}
DECLARE = {"tied": False}


class Model(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.emb = nn.Embedding(101, 16)
        self.change = nn.Linear(16, width)
        self.head = nn.Linear(width, 101, bias=False)

    def forward(self, ids):
        return self.head(torch.tanh(self.change(self.emb(ids).cumsum(1))))


def make():
    return Model()
