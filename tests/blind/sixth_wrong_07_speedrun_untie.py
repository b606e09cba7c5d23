"""WRONG. A speedrun trick: after the second update of the table the head is split off and goes its own way.  Tied to every look before
training; in a deep copy it never happens, since hooks of tensors are not copied."""

import torch
import torch.nn as nn
import torch.nn.functional as F

TRUTH = {
    "conforms": False,
    "cause": "lost-on-step",
    "also": ["equal-copy", "two-matrices", "stale-copy", "lost-on-load"],
}
SPLIT_AFTER = 2


class SpeedrunGPT(nn.Module):
    def __init__(self, vocab=64, dim=16):
        super().__init__()
        self.embed = nn.Parameter(torch.randn(vocab, dim) * 0.1)
        self.register_parameter("lm_head", None)
        self.mix = nn.Linear(dim, dim, bias=False)
        self.fc = nn.Linear(dim, 4 * dim, bias=False)
        self.proj = nn.Linear(4 * dim, dim, bias=False)
        self.updates, self.version = 0, None
        self.embed.register_post_accumulate_grad_hook(self._note)

    def _note(self, p):
        self.version = p._version

    def _count_updates(self):
        if self.version is not None and self.embed._version != self.version:
            self.updates, self.version = self.updates + 1, None
            if self.updates == SPLIT_AFTER and self.lm_head is None:
                self.lm_head = nn.Parameter(self.embed.detach().clone())

    def forward(self, idx):
        self._count_updates()
        x = F.embedding(idx, self.embed)
        past = torch.cumsum(x, 1) / torch.arange(1, idx.shape[1] + 1, device=idx.device).to(x.dtype)[:, None]
        x = x + self.mix(F.rms_norm(past, (past.shape[-1],)))
        x = x + self.proj(F.relu(self.fc(F.rms_norm(x, (x.shape[-1],)))).square())
        head = self.embed if self.lm_head is None else self.lm_head
        return F.linear(F.rms_norm(x, (x.shape[-1],)), head)


def make():
    return SpeedrunGPT()
