"""The six public bugs of the README's table, each as the smallest model that has it."""

from __future__ import annotations

from typing import Any

import torch
from tiecheck.conformance import Declaration
from torch import Tensor, nn
from torch.nn import functional as F

V, D = 60, 16


class Tied(nn.Module):
    """What the six have in common, and nothing wrong with it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(V, D)
        self.mixer = nn.GRU(D, D, batch_first=True)
        self.head = nn.Linear(D, V, bias=False)
        self.head.weight = self.embedding.weight

    def hidden(self, ids: Tensor) -> Tensor:
        return self.mixer(self.embedding(ids))[0]

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.hidden(ids))


class TokenDeltas(Tied):
    """huggingface/peft#2399: trained rows are added where tokens are looked up, not where they are predicted."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding.weight.requires_grad_(False)
        self.register_buffer("rows", torch.arange(0, V, 3))
        self.delta = nn.Parameter(torch.randn(len(self.rows), D) * 0.1)
        self.added = V // 3 * D

    def hidden(self, ids: Tensor) -> Tensor:
        table = self.embedding.weight.index_add(0, self.rows, self.delta)
        return self.mixer(F.embedding(ids, table))[0]


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(h, weight)
        return h @ weight.T

    @staticmethod
    def backward(ctx: Any, R: Tensor) -> tuple[Tensor, Tensor]:
        h, weight = ctx.saved_tensors
        return R @ weight, 2 * torch.einsum("btv,btd->vd", R, h)


class DoubledHead(Tied):
    """unslothai/unsloth-zoo#892: the head's gradient is written, and then added once more."""

    def forward(self, ids: Tensor) -> Tensor:
        return _Doubled.apply(self.hidden(ids), self.head.weight)


class _Overwrites(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.weight = weight
        return weight[ids]

    @staticmethod
    def backward(ctx: Any, dx: Tensor) -> tuple[None, Tensor]:
        (ids,) = ctx.saved_tensors
        share = torch.zeros_like(ctx.weight).index_add(0, ids.flatten(), dx.flatten(0, 1))
        if ctx.weight.grad is not None:
            ctx.weight.grad.zero_()
        return None, share


class Overwritten(Tied):
    """NVIDIA/TransformerEngine#3437: one use overwrites what is there instead of adding to it."""

    def hidden(self, ids: Tensor) -> Tensor:
        return self.mixer(_Overwrites.apply(ids, self.embedding.weight))[0]


class TwoGroups(Tied):
    """karpathy/nanoGPT#21: a Linear's weight decays, an Embedding's does not, and the table is both."""

    def configure_optimizers(
        self, weight_decay: float, learning_rate: float, betas: tuple[float, float], device_type: str
    ) -> torch.optim.Optimizer:
        decay = [m.weight for m in self.modules() if isinstance(m, nn.Linear)]
        plain = [m.weight for m in self.modules() if isinstance(m, nn.Embedding)] + list(self.mixer.parameters())
        groups = [{"params": decay, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas)


class DroppedBias(Tied):
    """vllm-project/vllm#46835: what is skipped because the weight is tied takes the head's own bias with it."""


class EqualTables(Tied):
    """facebookresearch/fairseq2#1102: two tables, filled with the same numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.head.weight = nn.Parameter(self.embedding.weight.detach().clone())


#: class, what is declared, the cause that comes first, and whether `is`, the count and equal values see it
SIX: tuple[tuple[type[Tied], Declaration, str, tuple[bool, bool, bool]], ...] = (
    (TokenDeltas, Declaration(), "partial-tie", (False, False, False)),
    (DoubledHead, Declaration(), "gradient-scaled", (False, False, False)),
    (Overwritten, Declaration(), "wrong-gradient", (False, False, False)),
    (TwoGroups, Declaration(), "listed-twice", (False, False, False)),
    (DroppedBias, Declaration(output_bias=True), "declared-but-absent", (False, False, False)),
    (EqualTables, Declaration(), "equal-copy", (True, True, False)),
)
