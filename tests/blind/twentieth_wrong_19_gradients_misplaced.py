"""WRONG: the lookup sends each position's gradient to another row."""

import torch
import torch.nn as nn

TRUTH = {"conforms": False, "cause": "wrong-gradient"}


class TimeMajor(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w, ids):
        flat = ids.t().reshape(-1)  # (T*B)
        ctx.save_for_backward(flat)
        ctx.shape = w.shape
        return w[flat].view(ids.shape[1], ids.shape[0], -1).transpose(0, 1).contiguous()

    @staticmethod
    def backward(ctx, g):
        (flat,) = ctx.saved_tensors
        out = g.new_zeros(ctx.shape)
        return out.index_add_(0, flat, g.reshape(flat.numel(), -1)), None


class M(nn.Module):
    def __init__(self, V=57, D=12):
        super().__init__()
        self.table = nn.Parameter(torch.randn(V, D) * 0.15)
        self.rnn = nn.GRU(D, D, 2, batch_first=True)
        self.ln = nn.LayerNorm(D)

    def forward(self, ids):
        return self.ln(self.rnn(TimeMajor.apply(self.table, ids))[0]) @ self.table.T


def make():
    return M()
