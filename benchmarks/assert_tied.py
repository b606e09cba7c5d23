"""What `assert_tied` costs on GPT-2 124M: ``python benchmarks/assert_tied.py``.

Prints, for random weights on the CPU, the first call (one small watched pass) beside one plain forward of the same ids,
and a later call in microseconds: the model alone, and with AdamW in one and in two groups. Median and 99th percentile.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from tiecheck.conformance import assert_tied
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

CALLS = 20_000


def in_groups(model: nn.Module) -> torch.optim.Optimizer:
    """AdamW as trainers build it: what decays and what does not."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    return torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}])


def once(work: Callable[[], Any]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def later(label: str, work: Callable[[], Any]) -> None:
    """Prints the median and the 99th percentile of many calls."""
    work()
    seconds = sorted(once(work) for _ in range(CALLS))
    middle, late = statistics.median(seconds), seconds[int(0.99 * CALLS)]
    print(f"later call, {label:34} {middle * 1e6:7.1f} us   99% {late * 1e6:7.1f} us")


def main() -> None:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config())
    ids = torch.tensor([[1, 0, 0, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 1, 1, 1]])
    model(ids)
    forward = statistics.median(once(lambda: model(ids)) for _ in range(5))
    other = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=32, n_head=2, vocab_size=64))
    cold = once(lambda: assert_tied(other))  # imports, and finds the adapters
    first = once(lambda: assert_tied(model))
    print(
        f"{sum(1 for _ in model.parameters())} parameters; torch {torch.__version__}, {torch.get_num_threads()} threads"
    )
    print(f"first call of a process, on a tiny model  {cold * 1e3:7.1f} ms")
    print(f"first call on GPT-2 124M                  {first * 1e3:7.1f} ms   a plain forward {forward * 1e3:.1f} ms")
    later("the model alone", lambda: assert_tied(model))
    one = torch.optim.AdamW(model.parameters())
    later("AdamW, one group", lambda: assert_tied(model, one))
    two = in_groups(model)
    later("AdamW, two groups", lambda: assert_tied(model, two))


if __name__ == "__main__":
    main()
