"""TRUTH: tied and right. Gradient checkpointing, spectral norm and weight standardization in the trunk, dropout, handed over in train mode."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint
from torch.nn.utils.parametrizations import spectral_norm

TRUTH = {"conforms": True, "cause": None, "also": []}


class WSLinear(nn.Linear):
    def forward(self, x):
        w = self.weight
        w = (w - w.mean(1, keepdim=True)) / (w.std(1, keepdim=True) + 1e-5)
        return F.linear(x, w * w.size(1) ** -0.5, self.bias)


class Mix(nn.Module):
    def __init__(self, d, p):
        super().__init__()
        self.a = spectral_norm(nn.Linear(d, d))
        self.b = WSLinear(d, d)
        self.drop = nn.Dropout(p)

    def forward(self, x):
        past = torch.cummax(self.a(x), dim=1).values
        return x + self.drop(self.b(F.gelu(past)))


class CkptLM(nn.Module):
    def __init__(self, v=22, d=12, depth=3, p=0.2):
        super().__init__()
        self.emb = nn.Embedding(v, d)
        self.layers = nn.ModuleList([Mix(d, p) for _ in range(depth)])

    def _head(self, x):
        return x @ self.emb.weight.mT

    def forward(self, tok):
        x = self.emb(tok)
        for l in self.layers:
            x = checkpoint(l, x, use_reentrant=False) if torch.is_grad_enabled() else l(x)
        return checkpoint(self._head, x, use_reentrant=False)


def make():
    return CkptLM().train()
