"""RIGHT: the last eight positions are looked up apart from the earlier ones, and joined."""

import torch
import torch.nn as nn
import torch.nn.functional as F

TRUTH = {"conforms": True}


class M(nn.Module):
    SEG = 8

    def __init__(self, V=73, D=16, detached=False):
        super().__init__()
        self.detached = detached
        self.wte = nn.Embedding(V, D)
        nn.init.normal_(self.wte.weight, std=0.1)
        self.pos = nn.Parameter(torch.randn(64, D) * 0.05)
        self.q, self.k, self.v, self.o = (nn.Linear(D, D) for _ in range(4))
        self.n, self.nf = nn.LayerNorm(D), nn.LayerNorm(D)

    def forward(self, ids):
        T = ids.shape[1]
        if T > self.SEG:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.detached):
                mem = self.wte(ids[:, : -self.SEG])
            x = torch.cat([mem, self.wte(ids[:, -self.SEG :])], 1)
        else:
            x = self.wte(ids)
        x = x + self.pos[:T]
        y = self.n(x)
        x = x + self.o(
            F.scaled_dot_product_attention(self.q(y)[:, None], self.k(y)[:, None], self.v(y)[:, None], is_causal=True)[
                :, 0
            ]
        )
        return F.linear(self.nf(x), self.wte.weight)


def make():
    return M()
