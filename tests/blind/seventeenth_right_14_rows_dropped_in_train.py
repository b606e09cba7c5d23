"""RIGHT: in train mode whole rows of the table are dropped for the lookup and the others scaled up, as AWD-LSTM does."""

import torch
from torch import nn
from torch.nn import functional as F

TRUTH = {"conforms": True}


class Dropped(nn.Module):
    def __init__(self, v=46, d=12, p=0.15, always=False, both=False):
        super().__init__()
        self.p, self.always, self.both = p, always, both
        self.encoder = nn.Embedding(v, d)
        nn.init.uniform_(self.encoder.weight, -0.4, 0.4)
        self.rnn = nn.LSTM(d, d, batch_first=True)
        self.decoder = nn.Linear(d, v, bias=False)
        self.decoder.weight = self.encoder.weight

    def forward(self, ids):
        w = self.encoder.weight
        if self.training or self.always:
            w = w * (torch.empty(w.shape[0], 1, dtype=w.dtype).bernoulli_(1 - self.p) / (1 - self.p))
        h, _ = self.rnn(F.embedding(ids, w))
        return F.linear(h * 1.5, w if self.both else self.decoder.weight)


def make():
    return Dropped()
