"""What the README says is true: its bugs are caught, its code runs, its table and pictures are current."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiecheck.conformance import Declaration, check

from .six_bugs import SIX, D, Tied, V

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def seen_by_hand(model: Tied) -> tuple[bool, bool, bool]:
    """Whether `is`, a parameter count and equal values see that something is wrong."""
    distinct = {id(p): p.numel() for p in model.parameters()}
    whole = V * D + sum(p.numel() for p in model.mixer.parameters()) + getattr(model, "added", 0)
    return (
        model.head.weight is not model.embedding.weight,
        sum(distinct.values()) != whole,
        not torch.equal(model.head.weight, model.embedding.weight),
    )


@pytest.mark.parametrize(("kind", "declared", "cause", "seen"), SIX, ids=[kind.__name__ for kind, *_ in SIX])
def test_a_bug_of_the_table_is_caught_and_by_nothing_else(
    kind: type[Tied], declared: Declaration, cause: str, seen: tuple[bool, bool, bool]
) -> None:
    assert seen_by_hand(kind()) == seen
    report = check(kind(), declared)
    assert not report.conforms
    assert report.diagnosis[0].cause == cause, [(r.id, r.message) for r in report.results if r.verdict == "fail"]
    thread = (kind.__doc__ or "").partition(":")[0]
    row = next(line for line in README.splitlines() if line.startswith("|") and f"[{thread}]" in line)
    assert f"`{cause}`" in row
    marks = tuple(cell.strip() == "sees it" for cell in row.split("|")[1:4])
    assert marks == seen, row


def test_what_the_six_have_in_common_conforms() -> None:
    report = check(Tied())
    assert report.conforms, [(r.id, r.message) for r in report.results if r.verdict == "fail"]


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    lines = [line for line in block.splitlines() if line.strip()]
    assert len(lines) == 5, lines
    (tmp_path / "mymodel.py").write_text(
        "import torch\nfrom tiecheck.reference import GPT, GPTConfig\n"
        "def build_model():\n    return GPT(GPTConfig(vocabulary=50, context=64, width=8, layers=1, heads=2))\n"
    )
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_table_of_requirements_is_current() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "requirements.py"))
    assert script["filled"](README) == README, "run `python docs/requirements.py`"


@pytest.mark.compiles
def test_the_pictures_show_what_a_run_says_now() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "screens.py"))
    for name, target in script["SCREENS"].items():
        picture = (ROOT / "docs" / name).read_text()
        assert f"docs/{name}" in README
        headline = re.sub(r"\x1b\[[0-9;]*m", "", script["lines"](target)[0])
        words = re.sub(r"<[^>]+>|&#160;|\s", " ", picture)
        for word in headline.split():
            assert word in words, f"docs/{name} is old: run `python docs/screens.py`"


def test_ci_runs_the_command_of_the_readme() -> None:
    command = "tox -e lint,types,py311,minimal"
    for path in ("README.md", ".ci/run", ".github/workflows/ci.yml"):
        text = (ROOT / path).read_text()
        assert command in text or command.replace("tox", '"$venv/bin/tox"') in text, path
        assert "-c constraints.txt" in text, path
