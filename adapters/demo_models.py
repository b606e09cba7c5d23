"""The models of `demo`: one small network, and in each subclass the one place where the tie goes wrong."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

V, D = 96, 24


class Sound(nn.Module):
    """Tied as it should be: the head's parameter is the embedding's."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, D)
        self.mixer = nn.GRU(D, D, batch_first=True)
        self.norm = nn.LayerNorm(D)
        self.head = nn.Linear(D, V, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.normal_(self.head.weight, std=0.1)
        self.tie()

    def tie(self) -> None:
        """What the demonstrations differ in."""
        self.head.weight = self.embedding.weight

    def hidden(self, ids: Tensor) -> Tensor:
        """Ids (B, T) to the states (B, T, D) that the head reads."""
        h: Tensor = self.norm(self.mixer(self.embedding(ids))[0])
        return h

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (B, T) to logits (B, T, V)."""
        logits: Tensor = self.head(self.hidden(ids))
        return logits


class TwoMatrices(Sound):
    """The paper ties, the code has an embedding and a head of their own."""

    def tie(self) -> None:
        """Nothing."""


class EqualCopy(Sound):
    """The head starts as a copy of the embedding: equal values, two memories."""

    def tie(self) -> None:
        """Copies values."""
        with torch.no_grad():
            self.head.weight.copy_(self.embedding.weight)


class AssignedData(Sound):
    """Two parameters over one memory: each gets half of the gradient and an optimizer state of its own."""

    def tie(self) -> None:
        """Shares the memory and keeps both parameters."""
        self.head.weight.data = self.embedding.weight.data


class DetachedHead(Sound):
    """The head reads the table detached, so that only the lookup trains it."""

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (B, T) to logits (B, T, V)."""
        return F.linear(self.hidden(ids), self.embedding.weight.detach())


class StaleCache(Sound):
    """In eval mode the transposed table is kept from the first call on."""

    def tie(self) -> None:
        """Ties, with a cache beside it."""
        super().tie()
        self.cache: Tensor | None = None

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (B, T) to logits (B, T, V)."""
        if self.training:
            return self.hidden(ids) @ self.embedding.weight.T
        if self.cache is None:
            self.cache = self.embedding.weight.detach().T.contiguous()
        return self.hidden(ids) @ self.cache


class SilentBias(Sound):
    """The head came with a bias, zero at first, that no tied model has."""

    def tie(self) -> None:
        """Ties the weight of a head that has a bias too."""
        self.head = nn.Linear(D, V)
        self.head.weight = self.embedding.weight
        nn.init.zeros_(self.head.bias)


class PaddingRow(Sound):
    """The embedding has a padding row, whose share of the gradient is masked though nobody declares it."""

    def tie(self) -> None:
        """Ties, to an embedding with a padding row."""
        self.embedding = nn.Embedding(V, D, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.head.weight = self.embedding.weight
