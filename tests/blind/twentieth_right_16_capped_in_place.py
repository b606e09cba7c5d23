"""RIGHT: the logits are capped by operations in place, and rows are scaled; both are declared."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

TRUTH = {"conforms": True}
DECLARE = {"input_scale": 4.0, "logit_softcap": 12.0}


class Capped(nn.Module):
    def __init__(self, V=110, D=16, cap=12.0):
        super().__init__()
        self.cap = cap
        self.embed_tokens = nn.Embedding(V, D)
        nn.init.normal_(self.embed_tokens.weight, std=D**-0.5)
        self.a, self.b = nn.Linear(D, 40), nn.Linear(20, D)
        self.mix = nn.Parameter(torch.tensor(0.3))
        self.norm = nn.RMSNorm(D)

    def forward(self, input_ids):
        x = F.embedding(input_ids, self.embed_tokens.weight)
        x.mul_(math.sqrt(x.shape[-1]))
        mean = x.cumsum(1) / torch.arange(1, x.shape[1] + 1, device=x.device, dtype=x.dtype)[:, None]
        x = x + self.mix * mean
        x = x + self.b(F.glu(self.a(self.norm(x))))
        logits = F.linear(self.norm(x), self.embed_tokens.weight)
        logits = logits.div_(self.cap).tanh_() * self.cap
        return logits


def make():
    return Capped()
