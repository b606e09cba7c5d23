"""Universal transformer with 'input embedding warm-up': after six grad-enabled forward calls the looked-up rows are detached.
Wrong: from the seventh call on dL/dE lacks the lookup's share."""

import torch, torch.nn as nn, torch.nn.functional as F

TRUTH = {"conforms": False, "cause": "detached-lookup", "also": ["missing-rows"]}


class UT(nn.Module):
    def __init__(self, V=60, D=16, warmup=6, loops=3):
        super().__init__()
        self.shared = nn.Embedding(V, D)
        nn.init.normal_(self.shared.weight, std=0.2)
        self.cell = nn.TransformerEncoderLayer(D, 2, 24, dropout=0.0, batch_first=True, norm_first=True)
        self.norm, self.loops, self.warmup = nn.LayerNorm(D), loops, warmup
        self.calls = 0

    def forward(self, x):
        h = self.shared(x)
        if torch.is_grad_enabled():
            self.calls += 1
            if self.calls > self.warmup:
                h = h.detach()
        T = x.shape[1]
        mask = torch.triu(torch.ones(T, T, dtype=torch.bool), 1)
        for _ in range(self.loops):
            h = self.cell(h, src_mask=mask)
        return F.linear(self.norm(h), self.shared.weight)


def make():
    return UT()
