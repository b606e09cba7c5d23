"""Runs of pytest inside the tests of the plugin, with a file of models in their folder."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import pytest
from tiecheck.conformance import check

MODELS = """
import warnings
import torch
from torch import nn

class Tied(nn.Module):
    def __init__(self, rows=30):
        super().__init__()
        self.rows, self.mix = nn.Embedding(rows, 8), nn.Linear(8, 8)
        with open("built.txt", "a") as log:
            log.write("built ")

    def forward(self, ids):
        warnings.warn("an old habit", DeprecationWarning)
        return torch.tanh(self.mix(self.rows(ids).cumsum(1))) @ self.rows.weight.T

class Untied(Tied):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 30, bias=False)

    def forward(self, ids):
        return self.head(torch.tanh(self.mix(self.rows(ids).cumsum(1))))

class Dead(Tied):
    def __init__(self):
        super().__init__()
        self.dead = nn.Parameter(torch.randn(30, 8))

class Mixed(Tied):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.rows = self.rows.bfloat16()

    def forward(self, ids):
        return self.norm(self.rows(ids).float().cumsum(1)).bfloat16() @ self.rows.weight.T

def one_token():
    return Tied(rows=1)

def broken():
    raise RuntimeError("the weights are gone")
"""

Run = Callable[..., pytest.RunResult]


@pytest.fixture(scope="session")
def loaded() -> None:
    """What a run loads is loaded before pytester looks: it drops what came in during a run, and torch cannot come twice."""
    for target in ("reference", "demo:sound", "numpy:gpt"):
        check(target, profile="quick")
    for module in ("cli", "items", "steering", "terminal"):
        importlib.import_module(f"tiecheck.conformance.{module}")


@pytest.fixture
def run(loaded: None, pytester: pytest.Pytester) -> Run:
    """A run of pytest in this process, without what would write files or load itself anew."""
    pytester.makepyfile(mine=MODELS)

    def call(*words: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:hypothesispytest", *words)

    return call
