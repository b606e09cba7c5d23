"""Wrong: in eval mode under no_grad the head keeps a transposed contiguous copy of the table from the first call and uses it from the
second call on, until train() is called. Values are right until the table is written; the copy is from an earlier pass."""

import torch
import torch.nn as nn

TRUTH = {"conforms": False, "cause": "stale-copy", "also": ["equal-copy"]}


class FastHead(nn.Module):
    def __init__(self, emb):
        super().__init__()
        self.emb = emb
        self._packed = None

    def train(self, mode=True):
        self._packed = None
        return super().train(mode)

    def forward(self, h):
        if self.training or torch.is_grad_enabled():
            return h @ self.emb.weight.t()
        if self._packed is None:
            self._packed = self.emb.weight.detach().t().contiguous()
        return h @ self._packed


class MinGRU(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.zh = nn.Linear(d, 2 * d)

    def forward(self, x):
        z, c = self.zh(x).chunk(2, -1)
        z = z.sigmoid()
        h, ys = torch.zeros_like(c[:, 0]), []
        for a, b in zip(z.unbind(1), c.unbind(1)):
            h = (1 - a) * h + a * b
            ys.append(h)
        return torch.stack(ys, 1)


class MinGRULM(nn.Module):
    def __init__(self, v=88, d=28):
        super().__init__()
        self.embed = nn.Embedding(v, d)
        self.embed.weight.data *= 0.1
        self.layers = nn.ModuleList([MinGRU(d) for _ in range(3)])
        self.norm = nn.LayerNorm(d)
        self.head = FastHead(self.embed)

    def forward(self, ids):
        x = self.embed(ids)
        for l in self.layers:
            x = x + l(x)
        return self.head(self.norm(x))


def make():
    return MinGRULM()
