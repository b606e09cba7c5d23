"""RIGHT: keeps a transposed view, made without gradients in eval mode, and makes it anew whenever the table is another.

After a write to the table torch refuses to say where such a view comes from; the model never asks.
"""

import torch
from torch import nn

TRUTH = {"conforms": True}


class ViewCache(nn.Module):
    def __init__(self, v=24, d=8):
        super().__init__()
        self.emb = nn.Embedding(v, d)
        nn.init.normal_(self.emb.weight, std=0.05)
        self.mix = nn.Sequential(nn.Linear(d, 12), nn.Tanh(), nn.Linear(12, d), nn.LayerNorm(d))
        self._view = None

    def columns(self):
        w = self.emb.weight
        key = (id(w), w.data_ptr(), w.dtype, w.device, w.requires_grad, torch.is_grad_enabled())
        if self._view is None or self._view[0] != key:
            self._view = (key, w, w.t())
        return self._view[2]

    def __getstate__(self):
        return {**self.__dict__, "_view": None}

    def forward(self, ids):
        return self.mix(self.emb(ids).cumsum(1)) @ self.columns()


def make():
    return ViewCache()
