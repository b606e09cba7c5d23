"""RIGHT. Untied, weights as small as GPT-2's and a head bias: a pass of one position does not show the head again."""

import torch
from torch import nn

TRUTH = {"conforms": True, "cause": None, "also": []}
DECLARE = {"tied": False, "output_bias": True}


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(101, 32)
        self.mix = nn.Linear(32, 32)
        self.head = nn.Linear(32, 101)
        for w in (self.emb.weight, self.head.weight):
            nn.init.uniform_(w, -0.02, 0.02)

    def forward(self, ids):
        return self.head(torch.tanh(self.mix(self.emb(ids).cumsum(1))))


def make():
    return M()
