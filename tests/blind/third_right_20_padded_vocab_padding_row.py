"""TRUTH: tied and right. Table padded from 50 to 64 rows, logits cropped to 50, padding row 0 masked in the lookup's gradient,
input gradient scale 0.5 (GLM style): all three declared. ModuleDict with the head first; keyword argument input_ids."""

import torch, torch.nn as nn, torch.nn.functional as F

TRUTH = {"conforms": True, "cause": None, "also": []}
DECLARE = {"vocabulary": 50, "padding_row": 0, "input_gradient_scale": 0.5}


class Padded(nn.Module):
    def __init__(self, n=50, multiple=64, d=8):
        super().__init__()
        rows = -(-n // multiple) * multiple
        self.n = n
        self.m = nn.ModuleDict({"a_out": nn.Linear(d, rows, bias=False), "z_in": nn.Embedding(rows, d, padding_idx=0)})
        self.m["a_out"].weight = self.m["z_in"].weight
        self.body = nn.GRU(d, d, batch_first=True)

    def forward(self, *, input_ids):
        e = self.m["z_in"](input_ids)
        e = e * 0.5 + e.detach() * 0.5
        return self.m["a_out"](self.body(e)[0])[..., : self.n]


def make():
    return Padded()
