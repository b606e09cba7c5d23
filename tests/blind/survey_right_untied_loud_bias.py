"""RIGHT. Untied, with an output bias that outweighs h W^T, as an LSTM of the teaching repositories has it at initialization."""

import torch
from torch import nn

TRUTH = {"conforms": True, "cause": None, "also": []}
DECLARE = {"tied": False, "output_bias": True}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(101, 32)
        self.mix = nn.Linear(32, 32)
        self.head = nn.Linear(32, 101)
        nn.init.uniform_(self.emb.weight, -0.1, 0.1)
        nn.init.uniform_(self.head.weight, -0.1, 0.1)

    def forward(self, ids):
        return self.head(torch.tanh(self.mix(self.emb(ids).cumsum(1))))


def make():
    return Model()
