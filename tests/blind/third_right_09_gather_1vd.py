"""TRUTH: tied and right. Table stored (1, V, D); lookup by gather over an expanded index; einsum('...d,vd->...v'); masks built per call."""

import torch
from torch import nn, einsum

TRUTH = {"conforms": True, "cause": None, "also": []}


class Attn(nn.Module):
    def __init__(self, dim, heads=2):
        super().__init__()
        self.h = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.o = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.h, d // self.h).permute(2, 0, 3, 1, 4)
        s = einsum("bhid,bhjd->bhij", q, k) * (d // self.h) ** -0.5
        s = s.masked_fill(~torch.ones(n, n, dtype=torch.bool, device=x.device).tril(), -torch.finfo(s.dtype).max)
        return self.o(einsum("bhij,bhjd->bhid", s.softmax(-1), v).transpose(1, 2).reshape(b, n, d))


class GatherLM(nn.Module):
    def __init__(self, num_tokens=26, dim=8):
        super().__init__()
        self.token_emb = nn.Parameter(torch.randn(1, num_tokens, dim) * 0.4)
        self.attn = Attn(dim)
        self.norm = nn.RMSNorm(dim)

    def forward(self, ids, return_hidden=False):
        b, n = ids.shape
        idx = ids.unsqueeze(-1).expand(-1, -1, self.token_emb.size(-1))
        x = self.token_emb.expand(b, -1, -1).gather(1, idx)
        x = self.norm(x + self.attn(x))
        if return_hidden:
            return x
        return einsum("...d,vd->...v", x, self.token_emb.squeeze(0))


def make():
    return GatherLM()
