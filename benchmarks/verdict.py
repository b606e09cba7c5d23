"""What a verdict costs, as a multiple of one forward and backward pass of the model: ``python benchmarks/verdict.py``.

Prints, in one process: time and peak memory of one forward and backward of GPT-2 124M (random weights, 16 tokens, CPU)
and of each profile on it, with the passes counted; and how both grow with the vocabulary, from 32,768 to 262,144 tokens
of width 16. ``--xl`` judges GPT-2 XL (1.5 billion parameters, about 14 GB) by ``quick`` instead.

Memory is the peak of resident memory during the measurement, which Linux can reset; elsewhere it is not printed.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import math
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tiecheck.conformance import check
from torch import Tensor, nn

PROFILES = ("quick", "standard")
VOCABULARIES = (32_768, 65_536, 131_072, 262_144)


@dataclass(frozen=True)
class Measured:
    """Median seconds, peak bytes (0 where the system does not say), and the last result."""

    seconds: float
    peak: int
    result: Any = None

    def against(self, base: Measured) -> str:
        """This as a multiple of ``base``."""
        text = f"{self.seconds:8.3f} s  {self.seconds / base.seconds:5.2f} x"
        if self.peak and base.peak:
            text += f"   {self.peak / 2**20:7.0f} MiB  {self.peak / base.peak:5.3f} x"
        return text


def measured(work: Callable[[], Any], times: int) -> Measured:
    """``work`` once to warm up, then ``times`` times."""
    if times > 1:
        work()
    peaks, seconds, result = [], [], None
    for _ in range(times):
        result = None
        _tidy()
        resets = _reset_peak()
        started = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - started)
        peaks.append(_peak() if resets else 0)
    return Measured(statistics.median(seconds), max(peaks), result)


def _tidy() -> None:
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _reset_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def forward_backward(model: nn.Module, ids: Tensor) -> Callable[[], None]:
    """One pass of training without the step."""

    def work() -> None:
        model.zero_grad(set_to_none=True)
        out = model(ids)
        logits = getattr(out, "logits", out)
        logits.float().logsumexp(-1).sum().backward()
        model.zero_grad(set_to_none=True)

    return work


def shown(name: str, model: nn.Module, ids: Tensor, profiles: tuple[str, ...], times: int) -> dict[str, Measured]:
    """Measure and print one model."""
    model.eval()
    base = measured(forward_backward(model, ids), max(times, 3))
    out = {"base": base}
    print(f"{name}: {sum(p.numel() for p in model.parameters()):,} parameters")
    print(f"  forward and backward  {base.against(base)}")
    for profile in profiles:
        found = measured(lambda profile=profile: check(model, profile=profile), times)
        report = found.result
        out[profile] = found
        cost = report.cost
        print(
            f"  {profile:20}  {found.against(base)}   {cost.forward_passes} forward, {cost.backward_passes} backward;"
            f" {'conforms' if report.conforms else 'DOES NOT CONFORM'}",
            flush=True,
        )
    return out


def gpt2(**sizes: int) -> nn.Module:
    """GPT-2 of transformers with random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(**sizes))


class Small(nn.Module):
    """As little as possible around a table of V rows and 16 columns."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 16)
        self.mix = nn.Linear(16, 16)
        nn.init.normal_(self.embedding.weight, std=0.1)

    def forward(self, ids: Tensor) -> Tensor:
        h = torch.tanh(self.mix(self.embedding(ids).cumsum(1)))
        return h @ self.embedding.weight.T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--xl", action="store_true", help="judge GPT-2 XL by quick, once, and nothing else")
    parser.add_argument("--times", type=int, default=3, help="how often each is measured (default 3)")
    options = parser.parse_args()
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    if options.xl:
        ids = torch.randint(0, 50257, (2, 8))
        shown("GPT-2 XL, 16 tokens", gpt2(n_embd=1600, n_layer=48, n_head=25), ids, ("quick",), 1)
        return
    ids = torch.randint(0, 50257, (2, 8))
    shown("GPT-2 124M, 16 tokens", gpt2(), ids, PROFILES, options.times)
    grown = {
        vocabulary: shown(f"{vocabulary:,} x 16", Small(vocabulary), ids % vocabulary, PROFILES, options.times)
        for vocabulary in VOCABULARIES
    }
    least, most = VOCABULARIES[0], VOCABULARIES[-1]
    for profile in PROFILES:
        ratio = grown[most][profile].seconds / grown[least][profile].seconds
        power = math.log(ratio) / math.log(most / least)
        print(f"{profile}: {most // least} times V takes {ratio:.1f} times as long (V to the power {power:.2f})")


if __name__ == "__main__":
    main()
