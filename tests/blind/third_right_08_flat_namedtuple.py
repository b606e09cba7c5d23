"""TRUTH: tied and right. Logits come back as (B*T, V) in a NamedTuple (logits, state); F.bilinear does the projection."""

from typing import NamedTuple
import torch, torch.nn as nn, torch.nn.functional as F

TRUTH = {"conforms": True, "cause": None, "also": []}


class Out(NamedTuple):
    logits: torch.Tensor
    state: torch.Tensor


class PyTorchExampleStyle(nn.Module):
    """like the word_language_model example: decoded.view(-1, ntoken)"""

    def __init__(self, ntoken=19, ninp=7):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(ntoken, 1, ninp).uniform_(-0.5, 0.5))  # (V, 1, D)
        self.cell = nn.GRUCell(ninp, ninp)

    def forward(self, ids):
        B, T = ids.shape
        x = self.weight[ids, 0]
        h = x.new_zeros(B, x.size(-1))
        hs = []
        for t in range(T):
            h = self.cell(x[:, t], h)
            hs.append(h)
        h = torch.stack(hs, 1).reshape(B * T, -1)
        return Out(F.bilinear(h.new_ones(B * T, 1), h, self.weight), h)


def make():
    return PyTorchExampleStyle()
