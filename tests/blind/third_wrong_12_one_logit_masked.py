"""TRUTH: wrong. The logit of <unk> (token 3) is overwritten by -1e4: not h E^T there, and its row gets no head share."""

import torch, torch.nn as nn

TRUTH = {
    "conforms": False,
    "cause": "wrong-rows",
    "also": ["missing-rows", "undeclared-bias", "partial-tie", "undeclared-padding", "gradient-scaled", "unknown"],
}


class NoUnk(nn.Module):
    UNK = 3

    def __init__(self, v=22, d=8):
        super().__init__()
        self.embed = nn.Embedding(v, d)
        self.rnn = nn.GRU(d, d, batch_first=True)
        self.out = nn.Linear(d, v, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, ids):
        y = self.out(self.rnn(self.embed(ids))[0])
        ban = torch.arange(y.size(-1), device=y.device) == self.UNK
        return y.masked_fill(ban, -1e4)


def make():
    return NoUnk()
