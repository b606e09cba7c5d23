"""WRONG. The head is wrapped by a low-rank adapter whose second matrix starts at zero; the lookup never sees it.  Until the first step the
logits are exactly h E^T."""

import torch
from torch import nn
import torch.nn.functional as F

TRUTH = {"conforms": False, "cause": "adapter-on-one-use", "also": []}


class LoraLinear(nn.Module):
    def __init__(self, base: nn.Linear, r: int = 2, alpha: float = 4.0):
        super().__init__()
        self.base = base
        self.lora_A = nn.Parameter(torch.randn(r, base.in_features) * 0.1)
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))
        self.scaling = alpha / r

    def forward(self, x):
        return self.base(x) + self.scaling * F.linear(F.linear(x, self.lora_A), self.lora_B)


class Backbone(nn.Module):
    def __init__(self, vocab=73, d=16):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab, d)
        nn.init.normal_(self.embed_tokens.weight, std=0.1)
        self.gru = nn.GRU(d, d, batch_first=True)
        self.norm = nn.LayerNorm(d)
        self.lm_head = nn.Linear(d, vocab, bias=False)
        self.lm_head.weight = self.embed_tokens.weight

    def forward(self, ids):
        return {"logits": self.lm_head(self.norm(self.gru(self.embed_tokens(ids))[0]))}


def make():
    model = Backbone()
    model.lm_head = LoraLinear(model.lm_head)
    return model
