"""Right, with declared extras: a per-token output scale and a per-token output bias, each declared by the name of its parameter; LSTM
body, head written as a row-scaled product."""

import torch
import torch.nn as nn

TRUTH = {"conforms": True, "cause": None, "also": []}
DECLARE = {"output_scale": "decoder.token_gain", "output_bias": "decoder.token_bias"}


class Decoder(nn.Module):
    """holds no table of its own: it is handed one"""

    def __init__(self, v):
        super().__init__()
        self.token_gain = nn.Parameter(torch.ones(v))
        self.token_bias = nn.Parameter(torch.zeros(v))

    def forward(self, h, table):
        return torch.baddbmm(
            self.token_bias.expand(h.shape[0], h.shape[1], -1),
            h,
            (table * self.token_gain[:, None]).t().expand(h.shape[0], -1, -1),
        )


class LSTMLM(nn.Module):
    def __init__(self, v=83, d=26):
        super().__init__()
        self.encoder = nn.Embedding(v, d, _weight=torch.randn(v, d) * 0.1)
        self.lstm = nn.LSTM(d, d, 2, batch_first=True)
        self.skip = nn.Linear(d, d)
        self.decoder = Decoder(v)

    def forward(self, ids):
        x = self.encoder(ids)
        y, state = self.lstm(x)
        return self.decoder(nn.functional.layer_norm(y + self.skip(x), (x.shape[-1],)), self.encoder.weight), state


def make():
    return LSTMLM()
