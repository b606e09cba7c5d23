"""A gated recurrence: in train mode alone the logit of one row is made by hand, outside the graph."""

from __future__ import annotations

import torch
from torch import nn

TRUTH = {"conforms": False, "cause": "missing-rows"}


class Gated(nn.Module):
    def __init__(self, row: int = -1, cut: bool = True, tokens: int = 37, width: int = 12) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(tokens, width) * 0.3)
        self.gate, self.new = nn.Linear(2 * width, width), nn.Linear(2 * width, width)
        self.row, self.cut = row % tokens, cut

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table.index_select(0, ids.reshape(-1)).view(*ids.shape, -1)
        h, out = torch.zeros_like(x[:, 0]), []
        for t in range(ids.shape[1]):
            both = torch.cat([x[:, t], h], -1)
            z = torch.sigmoid(self.gate(both))
            h = z * h + (1 - z) * torch.tanh(self.new(both))
            out.append(h)
        h = torch.stack(out, 1)
        logits = torch.einsum("btd,vd->btv", h, self.table)
        if not self.training:
            return logits
        row = self.table[self.row].detach() if self.cut else self.table[self.row]
        return torch.cat([logits[..., : self.row], (h @ row)[..., None], logits[..., self.row + 1 :]], -1)


def make() -> nn.Module:
    return Gated()
