"""What docs/watch.md shows is what happens."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "watch.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_script_of_the_page(tmp_path: Path) -> None:
    printed, raised, written = blocks("text")
    (tmp_path / "train.py").write_text(blocks("python")[0])
    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.stdout == printed
    assert done.returncode == 1 and done.stderr.endswith(raised), done.stderr
    shown, found = (list(csv.reader(text.split())) for text in (written, (tmp_path / "shares.csv").read_text()))
    assert shown[0] == found[0] and len(shown) == len(found)
    for one, other in zip(shown[1:], found[1:], strict=True):  # another processor rounds otherwise
        assert [float(x) for x in one] == pytest.approx([float(x) for x in other], rel=1e-3, abs=1e-5)
