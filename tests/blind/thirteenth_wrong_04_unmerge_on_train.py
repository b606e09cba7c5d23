"""WRONG: coming back from eval mode, train() gives the head a parameter of its own, for good."""

from torch import nn

TRUTH = {"conforms": False, "cause": "lost-on-train-mode"}


class Merged(nn.Module):
    def __init__(self, v=24, d=8):
        super().__init__()
        self.emb, self.head = nn.Embedding(v, d), nn.Linear(d, v, bias=False)
        nn.init.normal_(self.emb.weight, std=0.05)
        self.head.weight = self.emb.weight
        self.mix = nn.Sequential(nn.Linear(d, 12), nn.Tanh(), nn.Linear(12, d), nn.LayerNorm(d))

    def train(self, mode=True):
        if mode and not self.training:
            self.head.weight = nn.Parameter(self.head.weight.detach().clone())
        return super().train(mode)

    def forward(self, ids):
        return self.head(self.mix(self.emb(ids).cumsum(1)))


def make():
    return Merged()
