"""TRUTH: wrong. Ids 0..2 are looked up in a table of special tokens of their own; the head reads all rows of the main table."""

import torch, torch.nn as nn

TRUTH = {
    "conforms": False,
    "cause": "partial-tie",
    "also": ["wrong-rows", "wrong-table", "two-matrices", "missing-rows"],
}


class Specials(nn.Module):
    def __init__(self, v=26, d=8, n_special=3):
        super().__init__()
        self.n = n_special
        self.main = nn.Embedding(v, d)
        self.special = nn.Embedding(n_special, d)
        self.rnn = nn.GRU(d, d, batch_first=True)

    def forward(self, ids):
        s = (ids < self.n).unsqueeze(-1)
        x = torch.where(s, self.special(ids.clamp(max=self.n - 1)), self.main(ids))
        return self.rnn(x)[0] @ self.main.weight.t()


def make():
    return Specials()
