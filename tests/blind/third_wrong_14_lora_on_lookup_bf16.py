"""TRUTH: wrong. bfloat16 with a declared input scale; a LoRA (B = 0 at the start) is added to the lookup only."""

import torch, torch.nn as nn

DECLARE = {"input_scale": 4.0}
TRUTH = {"conforms": False, "cause": "adapter-on-one-use", "also": ["partial-tie"]}


class LoraEmbedding(nn.Module):
    def __init__(self, base, r=2):
        super().__init__()
        self.base = base
        v, d = base.weight.shape
        self.lora_A = nn.Parameter(torch.randn(v, r) * 0.1)
        self.lora_B = nn.Parameter(torch.zeros(r, d))

    def forward(self, ids):
        return self.base(ids) + nn.functional.embedding(ids, self.lora_A) @ self.lora_B


class Model(nn.Module):
    def __init__(self, v=32, d=16):
        super().__init__()
        self.lm_head = nn.Linear(d, v, bias=False)
        e = nn.Embedding(v, d)
        e.weight = self.lm_head.weight
        self.embed_tokens = LoraEmbedding(e)
        self.mlp = nn.Sequential(nn.RMSNorm(d, eps=1e-5), nn.Linear(d, d), nn.SiLU(), nn.Linear(d, d))

    def forward(self, input_ids):
        x = self.embed_tokens(input_ids) * 4.0
        return self.lm_head(x + self.mlp(x))


def make():
    return Model().bfloat16()
