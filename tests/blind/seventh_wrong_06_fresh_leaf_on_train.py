"""WRONG: lost on train mode. Coming back from eval, train() hands every name a fresh leaf (to be free of inference mode), so after
eval() and train() table and head are two parameters with equal values (storage, after persistence train/eval)."""

import torch
import torch.nn as nn

TRUTH = {"conforms": False, "cause": "lost-on-train-mode", "also": ["equal-copy"]}
V, D = 26, 14


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(V, D)
        nn.init.normal_(self.emb.weight, std=0.2)
        self.lstm = nn.LSTM(D, D, num_layers=2, batch_first=True, dropout=0.1)
        self.norm = nn.LayerNorm(D)
        self.head = nn.Linear(D, V, bias=False)
        self.head.weight = self.emb.weight

    def train(self, mode=True):
        if mode and not self.training:
            for module in self.modules():
                for name, p in list(module._parameters.items()):
                    if p is not None:
                        setattr(module, name, nn.Parameter(p.detach().clone(), p.requires_grad))
        return super().train(mode)

    def forward(self, ids):
        h, _ = self.lstm(self.emb(ids))
        return self.head(self.norm(h))


def make():
    return Model()
