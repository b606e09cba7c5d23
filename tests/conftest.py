"""Tests import the zoo and each other by the folder that this file lies in; two cores, so one thread a test."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiecheck.conformance import cli, sequences

pytest_plugins = ["pytester"]  # pytest wants it said here, at the top
sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def few_operations(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test is not about is not performed: the operations that are SHOULDs change no verdict and take half of the time,
    torch.compile and torch.export seconds each. Tests of the former are marked ``operations``, of the latter ``compiles``."""
    if request.node.get_closest_marker("compiles") is not None:
        return
    wanted = request.node.get_closest_marker("operations") is not None
    for module, name in (("loading", "LOADING"), ("wrapping", "WRAPPING")):
        home = importlib.import_module(f"tiecheck.adapters.pytorch.{module}")
        kept = tuple(op for op in getattr(home, name) if wanted and op.word not in ("compile", "export"))
        monkeypatch.setattr(home, name, kept)


@pytest.fixture(autouse=True)
def few_triples(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every three operations in a row take longest of all sequences: tests that are about them are marked ``triples``."""
    if request.node.get_closest_marker("triples") is None:
        monkeypatch.setattr(sequences, "every_triple", lambda count: [])


@pytest.fixture
def tiecheck(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: status, standard output, standard error."""

    def call(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        status = cli.main([str(word) for word in words])
        out, err = capfd.readouterr()
        return status, out, err

    return call
