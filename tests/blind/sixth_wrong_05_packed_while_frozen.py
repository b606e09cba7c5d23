"""WRONG. While the table is frozen the head packs a transposed copy at its first pass and keeps it; nobody throws it away when the table is
thawed.  So freeze, run, thaw, train: the lookup trains and the projection stays behind."""

import torch
import torch.nn as nn
import torch.nn.functional as F

TRUTH = {"conforms": False, "cause": "lost-on-freeze", "also": ["stale-copy"]}


class PackedAttentionLM(nn.Module):
    def __init__(self, vocab=88, dim=16):
        super().__init__()
        self.table = nn.Parameter(torch.randn(vocab, dim) * 0.1)
        self.qk = nn.Linear(dim, 2 * dim, bias=False)
        self.o = nn.Linear(dim, dim)
        self._packed = None

    def _weights(self):
        if not self.table.requires_grad and self._packed is None:
            self._packed = self.table.detach().t().contiguous()
        return self.table.t() if self._packed is None else self._packed

    def forward(self, ids):
        x = F.embedding(ids, self.table)
        q, k = self.qk(x).chunk(2, -1)
        x = x + self.o(F.scaled_dot_product_attention(q, k, x, is_causal=True))
        return torch.matmul(x, self._weights())


def make():
    return PackedAttentionLM()
