"""Right: self-conditioning. A first pass makes logits, their softmax times the table is fed back as a soft embedding, a second pass makes
the logits that are returned. Lookup, inner head, soft lookup and outer head all read the one table; the gradient is the sum over all
uses (decision 1). (A row that no id asks for moves other logits too, through the soft lookup: a third use that reads every row.)"""

import torch
import torch.nn as nn

TRUTH = {"conforms": True, "cause": None, "also": []}


class SelfConditioned(nn.Module):
    def __init__(self, v=37, d=16):
        super().__init__()
        self.table = nn.Parameter(torch.randn(v, d) * 0.2)
        self.rnn = nn.GRU(d, d, batch_first=True)
        self.ln = nn.LayerNorm(d)
        self.feedback = nn.Linear(d, d)

    def hidden(self, x):
        return self.ln(self.rnn(x)[0])

    def forward(self, ids):
        x = self.table[ids]
        guess = (self.hidden(x) @ self.table.t()).softmax(-1)
        soft = guess @ self.table
        return self.hidden(x + self.feedback(soft)) @ self.table.t()


def make():
    return SelfConditioned()
