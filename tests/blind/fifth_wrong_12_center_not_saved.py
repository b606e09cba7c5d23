"""WRONG, lost-on-load (a copy whose logits differ). The table itself stays tied for ever; but what the forward subtracts is a running mean, moved by training
forwards and registered persistent=False. A state dict of a trained model, loaded strictly into a fresh one, gives other logits."""

import torch
from torch import nn
import torch.nn.functional as F

TRUTH = {"conforms": False, "cause": "lost-on-load", "also": ["unknown", "gradient-scaled"]}


class Centered(nn.Module):
    def __init__(self, vocab=84, width=20, rate=0.2):
        super().__init__()
        self.rate = rate
        self.E = nn.Parameter(torch.randn(vocab, width) * 0.2 + 0.1)
        self.register_buffer("center", torch.zeros(width), persistent=False)
        self.a, self.b = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

    def forward(self, ids):
        x = F.embedding(ids, self.E)
        if self.training:
            with torch.no_grad():
                self.center.lerp_(x.mean((0, 1)), self.rate)
        x = x - self.center
        x = x + self.b(F.silu(self.a(x)))
        return F.linear(x, self.E)


def make():
    return Centered()
