"""TRUTH: tied and right. The embedding reaches the head through a plain skip; declared: per-token output scale (a parameter by
name), output bias (by name) and log-probabilities, three at once; head done in a forward hook."""

import torch, torch.nn as nn

TRUTH = {"conforms": True, "cause": None, "also": []}
DECLARE = {"output_scale": "gain", "output_bias": "offset", "log_probabilities": True}


class Trunk(nn.Module):
    def __init__(self, v, d):
        super().__init__()
        self.words = nn.Embedding(v, d)
        self.side = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d))

    def forward(self, ids):
        e = self.words(ids)
        prev = torch.cat([torch.zeros_like(e[:, :1]), e[:, :-1]], 1)
        return e + self.side(prev)


class Hooked(nn.Module):
    def __init__(self, v=18, d=9):
        super().__init__()
        self.trunk = Trunk(v, d)
        self.gain = nn.Parameter(torch.ones(v))
        self.offset = nn.Parameter(torch.zeros(v))
        self.trunk.register_forward_hook(self._read_out)

    def _read_out(self, module, args, h):
        return ((h @ module.words.weight.t()) * self.gain + self.offset).log_softmax(-1)

    def forward(self, ids):
        return self.trunk(ids)


def make():
    return Hooked()
