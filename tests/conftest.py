"""Tests import the zoo and each other by the folder that this file lies in; two cores, so one thread a test."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

pytest_plugins = ["pytester"]  # pytest wants it said here, at the top
sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def few_compilers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile and torch.export take seconds for a model that everything else judges in one: tests that are about them
    are marked ``compiles``, and the others do without."""
    if request.node.get_closest_marker("compiles") is None:
        wrapping = importlib.import_module("tiecheck.adapters.pytorch.wrapping")
        kept = tuple(op for op in wrapping.WRAPPING if op.word not in ("compile", "export"))
        monkeypatch.setattr(wrapping, "WRAPPING", kept)
