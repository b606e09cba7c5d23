"""WRONG: a hook on the table masks the whole gradient of the declared padding row, the projection's share too."""

import torch
from torch import nn

TRUTH = {"conforms": False, "cause": "missing-rows"}
DECLARE = {"padding_row": 0}


class MaskedOnBoth(nn.Module):
    def __init__(self, v=20, d=9):
        super().__init__()
        self.emb = nn.Embedding(v, d, padding_idx=0)
        with torch.no_grad():
            self.emb.weight.normal_(std=0.25)
        self.body = nn.Sequential(nn.Linear(d, 12), nn.Tanh(), nn.Linear(12, d), nn.LayerNorm(d))

    def _mask(self, g):
        keep = torch.ones(g.shape[0], 1, dtype=g.dtype, device=g.device)
        keep[0] = 0
        return g * keep

    def forward(self, ids):
        h = self.body(self.emb(ids).cumsum(1))
        w = self.emb.weight
        if w.requires_grad and torch.is_grad_enabled():
            w = w.view_as(w)
            w.register_hook(self._mask)
        return h @ w.t()


def make():
    return MaskedOnBoth()
