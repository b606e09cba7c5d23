"""Configuration objects, factories and a table that lies three modules deep."""

from dataclasses import dataclass

import torch
from torch import nn

from .registry import broken, correct
from .truth import deaf, unexplained


@dataclass
class Config:
    vocab: int = 35
    width: int = 14
    context: int = 64
    depth: int = 1
    tie: str = "module"


class Tokens(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.table = nn.Parameter(torch.randn(cfg.vocab, cfg.width) * 0.15)

    def forward(self, ids):
        return self.table[ids]

    def attend(self, h):
        return h @ self.table.transpose(-1, -2)


class Stem(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.tokens = Tokens(cfg)
        self.positions = nn.Parameter(torch.randn(cfg.context, cfg.width) * 0.15)

    def forward(self, ids):
        return self.tokens(ids) + self.positions[: ids.size(1)]


class Gated(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.norm = nn.LayerNorm(cfg.width)
        self.mix = nn.Conv1d(cfg.width, cfg.width, 4, groups=cfg.width, padding=3)
        self.gate = nn.Linear(cfg.width, 2 * cfg.width)

    def forward(self, x):
        y = self.mix(self.norm(x).transpose(1, 2))[..., : x.size(1)].transpose(1, 2)
        a, b = self.gate(y).chunk(2, -1)
        return x + a * torch.sigmoid(b)


class Backbone(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.stem = Stem(cfg)
        self.blocks = nn.Sequential(*[Gated(cfg) for _ in range(cfg.depth)])
        self.norm = nn.LayerNorm(cfg.width)

    def forward(self, ids):
        return self.norm(self.blocks(self.stem(ids)))


class DeepLM(nn.Module):
    def __init__(self, cfg=None):
        super().__init__()
        self.cfg = cfg or Config()
        self.backbone = Backbone(self.cfg)
        if self.cfg.tie == "reused":
            self.unembed = self.backbone.stem.tokens
        elif self.cfg.tie == "positions":
            self.unembed = Tokens(self.cfg)
            self.unembed.table = self.backbone.stem.positions
        elif self.cfg.tie == "replaced":
            self.unembed = self.backbone.stem.tokens
            self.backbone.stem.tokens = Tokens(self.cfg)

    def forward(self, ids):
        h = self.backbone(ids)
        return self.backbone.stem.tokens.attend(h) if self.cfg.tie == "module" else self.unembed.attend(h)


def table(m):
    return m.backbone.stem.tokens.table


@correct(style="nested three deep", table=table)
def nested_attend():
    """The model reaches three modules down for the table's own projection."""
    torch.manual_seed(16)
    return DeepLM()


@correct(style="nested three deep, module registered twice", table=table)
def nested_module_reused():
    """The unembedding is the embedding module itself, registered under a second name."""
    torch.manual_seed(16)
    return DeepLM(Config(tie="reused", depth=2))


@broken(
    cause="wrong-table",
    also=("two-matrices",),
    why="V equals the context and the head took the position table",
    style="nested three deep",
    table=table,
    show=unexplained(table),
)
def nested_positions_as_head():
    """The head is tied to the positions."""
    torch.manual_seed(16)
    return DeepLM(Config(vocab=40, context=40, tie="positions"))


@broken(
    cause="two-matrices",
    why="the embedding module is replaced after the tie (tokenspeed-draft-rebind)",
    style="nested three deep",
    table=table,
    show=deaf(table),
)
def nested_module_replaced():
    """The head keeps the module that the embedding no longer is."""
    torch.manual_seed(16)
    return DeepLM(Config(tie="replaced"))
