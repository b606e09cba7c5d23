"""A run that returns what a test hands it, and the command line in this process or in one of its own."""

import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hand_made import SPECIFICATION, conforming
from tiecheck.conformance import requirement


class FakeRun:
    """Stands for ``tiecheck.conformance.run``: keeps the arguments, then returns or raises what it was given."""

    def __init__(self) -> None:
        self.outcome: Any = conforming()
        self.target: str | None = None
        self.arguments: dict[str, Any] = {}
        self.during: Callable[[], None] = lambda: None

    def __call__(self, target: str, **arguments: Any) -> Any:
        self.target, self.arguments = target, arguments
        self.during()
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.fixture
def fake_run(monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    """The run is replaced, the specification too."""
    fake = FakeRun()
    module = types.ModuleType("tiecheck.conformance.run")
    module.run_target = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tiecheck.conformance.run", module)
    monkeypatch.setattr(requirement, "requirements", lambda: SPECIFICATION)
    return fake


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run the command line in a process of its own, in an empty folder."""

    def call(*words: object, **options: Any) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "tiecheck.conformance.cli", *map(str, words)]
        options = {"capture_output": True, "text": True, "timeout": 300, "cwd": tmp_path, **options}
        return subprocess.run(command, **options)

    return call
