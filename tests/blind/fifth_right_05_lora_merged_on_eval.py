"""RIGHT. Low-rank delta on the SHARED table, for both uses: E = W + A B while training; `eval()` adds it into W in place, `train()` takes it out
again exactly (what was learnt on W meanwhile is kept). The state dict always holds the unmerged W; loading merges again where needed."""

import torch
from torch import nn
import torch.nn.functional as F

TRUTH = {"conforms": True, "cause": None, "also": []}


def _unmerged(module, state_dict, prefix, local_metadata):
    if module.is_merged:
        state_dict[prefix + "W"] = module.plain().detach()


def _before_load(module, state_dict, prefix, *rest):
    module.was_merged = module.is_merged
    module.is_merged = False


def _after_load(module, incompatible):
    if module.was_merged:
        module.merge()


class SharedLora(nn.Module):
    def __init__(self, vocab=59, width=22, rank=3):
        super().__init__()
        self.W = nn.Parameter(torch.randn(vocab, width) * 0.1)
        self.A = nn.Parameter(torch.randn(vocab, rank) * 0.1)
        self.B = nn.Parameter(torch.zeros(rank, width))
        self.register_buffer("base", torch.zeros(0), persistent=False)
        self.register_buffer("sum", torch.zeros(0), persistent=False)
        self.is_merged = self.was_merged = False
        self.mix = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.register_state_dict_post_hook(_unmerged)
        self.register_load_state_dict_pre_hook(_before_load)
        self.register_load_state_dict_post_hook(_after_load)

    def plain(self):
        return self.base + (self.W - self.sum)  # exactly `base` while nobody has touched W

    @torch.no_grad()
    def merge(self):
        self.base = self.W.detach().clone()
        self.W.add_(self.A @ self.B)
        self.sum = self.W.detach().clone()
        self.is_merged = True

    @torch.no_grad()
    def unmerge(self):
        self.W.copy_(self.plain())
        self.base, self.sum = self.base[:0].clone(), self.sum[:0].clone()
        self.is_merged = False

    def train(self, mode=True):
        if mode and self.is_merged:
            self.unmerge()
        elif not mode and not self.is_merged:
            self.merge()
        return super().train(mode)

    def forward(self, ids):
        E = self.W if self.is_merged else self.W + self.A @ self.B
        x = F.embedding(ids, E)
        steps = torch.arange(1, ids.shape[1] + 1, device=ids.device, dtype=x.dtype)
        x = x + torch.tanh(self.mix(x.cumsum(1) / steps[:, None]))
        return F.linear(self.norm(x), E)


def make():
    return SharedLora()
