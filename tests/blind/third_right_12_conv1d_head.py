"""TRUTH: tied and right. The head is an nn.Conv1d (V, D, 1) that owns the one Parameter; the lookup reads it through squeeze and torch.take."""

import torch
from torch import nn

TRUTH = {"conforms": True, "cause": None, "also": []}


class WaveNetLM(nn.Module):
    def __init__(self, classes=24, channels=10):
        super().__init__()
        self.causal = nn.ModuleList(nn.Conv1d(channels, 2 * channels, 2, dilation=2**k) for k in range(2))
        self.to_logits = nn.Conv1d(channels, classes, kernel_size=1, bias=False)

    def lookup(self, ids):
        w = self.to_logits.weight
        D = w.size(1)
        return torch.take(w, ids[..., None] * D + torch.arange(D, device=ids.device))

    def forward(self, ids):
        x = self.lookup(ids).transpose(1, 2)
        for k, c in enumerate(self.causal):
            a, b = c(nn.functional.pad(x, (2**k, 0))).chunk(2, 1)
            x = x + torch.tanh(a) * torch.sigmoid(b)
        return self.to_logits(x).transpose(1, 2)


def make():
    return WaveNetLM()
