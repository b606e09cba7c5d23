"""What `watch` adds to a step on GPT-2 124M: ``python benchmarks/watch.py``.

Prints, for random weights on the CPU, microseconds for a step of an optimizer that does nothing, watched and not (median
and 99th percentile), with one optimizer, with two groups, and with two optimizers; then seconds for one question of how the
model behaves and for one row of shares, beside one forward and backward pass.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tiecheck.conformance import watch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

CALLS = 10_000


class Idle(torch.optim.Optimizer):
    """Steps that move nothing, so that what is around them can be measured."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Nothing."""


def once(work: Callable[[], Any]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Median and 99th percentile of many calls, in microseconds."""
    work()
    seconds = sorted(once(work) for _ in range(CALLS))
    return statistics.median(seconds) * 1e6, seconds[int(0.99 * CALLS)] * 1e6


def steps(label: str, model: nn.Module, optimizers: list[Idle]) -> None:
    """Prints what a step of all of these costs, and what it costs more under a watch."""

    def step() -> None:
        for optimizer in optimizers:
            optimizer.step()

    bare = timed(step)
    with watch(model, optimizers):
        watched = timed(step)
    added = watched[0] - bare[0]
    print(f"{label:34} {bare[0]:7.1f} us   watched {watched[0]:7.1f} us (99% {watched[1]:.1f})   added {added:5.1f} us")


def main() -> None:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(use_cache=False))
    wide, rest = [[p for p in model.parameters() if (p.dim() > 1) is many] for many in (True, False)]
    print(
        f"{sum(1 for _ in model.parameters())} parameters; torch {torch.__version__}, {torch.get_num_threads()} threads"
    )
    steps("one optimizer, one group", model, [Idle(model.parameters())])
    steps("one optimizer, two groups", model, [Idle([{"params": wide}, {"params": rest}])])
    steps("two optimizers", model, [Idle(wide), Idle(rest)])
    ids = torch.randint(50257, (2, 8))

    def trained() -> None:
        model.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()

    both = statistics.median(once(trained) for _ in range(5))
    optimizer = Idle(model.parameters())
    with watch(model, optimizer, every=1):
        behaviour = statistics.median(once(optimizer.step) for _ in range(3))
    with tempfile.TemporaryDirectory() as folder, watch(model, optimizer, shares=Path(folder) / "shares.csv"):
        trained()
        shares = statistics.median(once(optimizer.step) for _ in range(3))
    print(f"one forward and backward pass, 16 tokens    {both:.2f} s")
    print(f"how it behaves, asked once                  {behaviour:.2f} s, {behaviour / both:.1f} x")
    print(f"one row of shares                           {shares:.2f} s, {shares / both:.1f} x")


if __name__ == "__main__":
    main()
