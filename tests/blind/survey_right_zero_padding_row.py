"""RIGHT. Untied; h is zero where the padding token stands, so that those positions tell nothing of the head."""

import torch
from torch import nn

TRUTH = {"conforms": True, "cause": None, "also": []}
DECLARE = {"tied": False, "padding_row": 0}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(61, 16, padding_idx=0)
        self.up = nn.Linear(16, 16, bias=False)
        self.head = nn.Linear(16, 61, bias=False)

    def forward(self, ids):
        x = self.emb(ids)
        return self.head(torch.tanh(self.up(x)) * x.abs().sum(-1, keepdim=True).sign())


def make():
    return Model()
