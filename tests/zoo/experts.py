"""Mixtures of experts, functional in style, head by einsum."""

import math

import torch
import torch.nn as nn

from .registry import broken, correct
from .truth import SEEN, UNSEEN, off, unexplained


def rms(x):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


class Expert(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.up = nn.Linear(d, 2 * d)
        self.down = nn.Linear(2 * d, d)

    def forward(self, x):
        return self.down(nn.functional.silu(self.up(x)))


class MoE(nn.Module):
    def __init__(self, v=47, d=16, n=3, k=2):
        super().__init__()
        self.k = k
        self.table = nn.Parameter(torch.empty(v, d).normal_(0, 0.1))
        self.gate = nn.Linear(d, n, bias=False)
        self.experts = nn.ModuleList([Expert(d) for _ in range(n)])
        self.mix = nn.Parameter(torch.tensor(0.5))

    def embed(self, ids):
        return torch.index_select(self.table, 0, ids.reshape(-1)).view(*ids.shape, -1)

    def weight_out(self):
        return self.table

    def trunk(self, x):
        past = x.cumsum(1) / torch.arange(1, x.size(1) + 1, device=x.device).view(1, -1, 1)
        x = rms(x + self.mix * past)
        weight, which = self.gate(x).softmax(-1).topk(self.k, dim=-1)
        y = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            share = (weight * (which == number)).sum(-1, keepdim=True)
            y = y + share * expert(x)
        return rms(x + y)

    def forward(self, ids):
        return torch.einsum("btd,vd->btv", self.trunk(self.embed(ids)), self.weight_out())


class MoEAverage(MoE):
    def weight_out(self):
        return (self.table + self.table.detach()) / 2


class MoEDoubled(MoE):
    def weight_out(self):
        return 2 * self.table - self.table.detach()


class MoEScaled(MoE):
    def embed(self, ids):
        return super().embed(ids) * math.sqrt(self.table.size(1))


class MoEPerToken(MoE):
    def __init__(self):
        super().__init__()
        self.loudness = nn.Parameter(torch.ones(47))

    def forward(self, ids):
        return super().forward(ids) * self.loudness


@correct(style="mixture of experts, einsum head", table=lambda m: m.table)
def moe_einsum():
    """Two of three experts by soft gates, lookup by index_select, head by einsum."""
    torch.manual_seed(5)
    return MoE()


@correct(style="mixture of experts, einsum head", table=lambda m: m.table, declared={"input_scale": 4.0})
def moe_input_scale():
    """The mixture with a declared input scale of sqrt(D)."""
    torch.manual_seed(5)
    return MoEScaled()


@correct(
    style="mixture of experts, einsum head",
    table=lambda m: m.table,
    effective=lambda m: m.table * m.loudness[:, None],
    declared={"output_scale": "loudness"},
)
def moe_output_scale_per_token():
    """The mixture with a declared learned output scale per token."""
    torch.manual_seed(5)
    return MoEPerToken()


@broken(
    cause="gradient-scaled",
    why="the head reads the mean of the table and its detached self: its share is halved",
    style="mixture of experts, einsum head",
    table=lambda m: m.table,
    show=off(lambda m: m.table, [UNSEEN]),
)
def moe_head_share_halved():
    """The mixture whose head gives half of its gradient."""
    torch.manual_seed(5)
    return MoEAverage()


@broken(
    cause="gradient-scaled",
    why="the head's share comes twice (unsloth-doubled-head-grad)",
    style="mixture of experts, einsum head",
    table=lambda m: m.table,
    show=off(lambda m: m.table, [UNSEEN]),
)
def moe_head_share_doubled():
    """The mixture whose head gives twice its gradient."""
    torch.manual_seed(5)
    return MoEDoubled()


@broken(
    cause="undeclared-scale",
    why="embeddings are multiplied by sqrt(D) and nobody said so",
    style="mixture of experts, einsum head",
    table=lambda m: m.table,
    show=lambda m: torch.allclose(m.embed(torch.tensor([SEEN])), 4 * m.table[list(SEEN)]),
)
def moe_scale_silent():
    """The mixture with an undeclared input scale."""
    torch.manual_seed(5)
    return MoEScaled()


def _loud(m):
    with torch.no_grad():
        m.loudness.uniform_(0.5, 2.0)
    return unexplained(lambda m: m.table)(m)


@broken(
    cause="undeclared-scale",
    why="a learned scale per token, one at initialization, that nobody declared (decision 15)",
    style="mixture of experts, einsum head",
    table=lambda m: m.table,
    show=_loud,
)
def moe_loudness_silent():
    """The mixture with an undeclared learned output scale per token."""
    torch.manual_seed(5)
    return MoEPerToken()


class MoEPerTokenUnused(MoEPerToken):
    def forward(self, ids):
        return MoE.forward(self, ids)


@broken(
    cause="declared-but-absent",
    why="the declared scale per token is a parameter that nothing multiplies by",
    style="mixture of experts, einsum head",
    declared={"output_scale": "loudness"},
    table=lambda m: m.table,
    show=lambda m: not _loud(m),
)
def moe_loudness_unused():
    """The mixture with a declared output scale per token that it does not apply."""
    torch.manual_seed(5)
    return MoEPerTokenUnused()
