"""What the tests of `watch` train: small models, one step, and whether anything is left behind."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from test_assert_tied import TOKENS, Functional, Model, Named, sgd
from torch import Tensor, nn
from torch.optim import optimizer as optimizers

__all__ = ["TOKENS", "Functional", "Model", "Named", "adamw", "gpt2", "hooks", "sgd", "step"]


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-2)


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_layer": 1, "n_embd": 16, "n_head": 2, "vocab_size": TOKENS, "n_positions": 16}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=1))


def step(model: nn.Module, optimizer: Any, ids: Tensor | None = None) -> float:
    """One step of next-token training; ids are drawn from torch's own generator where none are given."""
    ids = torch.randint(0, TOKENS, (2, 6)) if ids is None else ids
    output = model(ids)
    logits = getattr(output, "logits", output)
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    for parameter in model.parameters():
        parameter.grad = None
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def hooks() -> int:
    """Hooks on every optimizer of the process."""
    return len(optimizers._global_optimizer_post_hooks)
