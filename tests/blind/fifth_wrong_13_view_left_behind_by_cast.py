"""WRONG, lost-on-cast. The table is stored transposed and the lookup reads a view `columns.t()` that is made once. In-place steps and loads move both; a cast gives the
Parameter new memory and the view keeps the old: in the other dtype the model no longer runs, after casting back it looks tokens up in a dead table.
Copies and pickles make the view anew and are sound."""

import torch
from torch import nn
import torch.nn.functional as F

TRUTH = {"conforms": False, "cause": "lost-on-cast", "also": ["lost-on-move"]}


class Rotating(nn.Module):
    def __init__(self, vocab=91, width=32):
        super().__init__()
        self.columns = nn.Parameter(torch.randn(width, vocab) * 0.1)
        self.w1, self.w2 = nn.Linear(width, width), nn.Linear(width, width)
        self.rows = self.columns.t()

    def __getstate__(self):
        state = dict(self.__dict__)
        del state["rows"]
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        with torch.enable_grad():
            self.rows = self.columns.t()

    def forward(self, ids):
        x = F.embedding(ids, self.rows)
        h = x + self.w2(torch.tanh(self.w1(x) * torch.sigmoid(x.cumsum(1))))
        return h @ self.columns


def make():
    return Rotating()
