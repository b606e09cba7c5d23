"""Factorized embeddings: a narrow table and a way up to the model's width."""

import torch
from torch import nn

from .registry import broken, correct
from .truth import UNSEEN, deaf, off


class Albert(nn.Module):
    def __init__(self, narrow_head="same"):
        super().__init__()
        self.words = nn.Embedding(53, 8)
        self.words.weight.data.mul_(0.3)
        self.up = nn.Linear(8, 20)
        self.layer = nn.TransformerEncoderLayer(20, 2, 40, dropout=0.0, batch_first=True, norm_first=True)
        self.down = nn.Linear(20, 8)
        self.final = nn.LayerNorm(8)
        self.scores = nn.Linear(8, 53, bias=False)
        if narrow_head == "same":
            self.scores.weight = self.words.weight
        elif narrow_head == "own":
            self.scores.weight.data.normal_(0, 0.3)

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.size(1), x.device, self.up.weight.dtype)
        y = self.layer(self.up(self.words(x)), src_mask=mask, is_causal=True)
        return self.scores(self.final(self.down(y)))


@correct(style="factorized, attention", table=lambda m: m.words.weight)
def albert_narrow_table():
    """ALBERT's factorization: the narrow table is shared, the ways up and down are not."""
    torch.manual_seed(7)
    return Albert()


@broken(
    cause="two-matrices",
    why="the tie line is missing (mosaic-examples-never-tied)",
    style="factorized, attention",
    table=lambda m: m.words.weight,
    show=deaf(lambda m: m.words.weight),
)
def albert_never_tied():
    """The factorized model with a narrow output table of its own."""
    torch.manual_seed(7)
    return Albert("own")


class Product(nn.Module):
    """E = A B is computed once a pass; both uses read it."""

    def __init__(self, head_detached=False):
        super().__init__()
        self.A = nn.Parameter(torch.randn(37, 6) * 0.3)
        self.B = nn.Parameter(torch.randn(6, 14) * 0.4)
        self.cell = nn.GRUCell(14, 14)
        self.head_detached = head_detached

    def E(self):
        return self.A @ self.B

    def forward(self, ids):
        E = self.E()
        h, out = None, []
        for column in E[ids].unbind(1):
            h = self.cell(column, h)
            out.append(h)
        h = torch.stack(out, 1)
        if self.head_detached:
            return h @ (self.A.detach() @ self.B).T
        return h @ E.T


@correct(style="factorized, recurrent", table=lambda m: m.A, effective=lambda m: m.E())
def product_table():
    """A table that is a product of two factors, made once and read by both uses."""
    torch.manual_seed(8)
    return Product()


@broken(
    cause="detached-projection",
    also=("missing-rows", "wrong-gradient", "adapter-on-one-use", "gradient-scaled"),
    why="the head's product lets no gradient through to the first factor",
    style="factorized, recurrent",
    table=lambda m: m.A,
    show=off(lambda m: m.A, [UNSEEN]),
)
def product_head_half_detached():
    """The product table, whose head cuts one factor from the graph."""
    torch.manual_seed(8)
    return Product(head_detached=True)
