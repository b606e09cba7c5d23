"""What the README and docs/tie-flag.md say of `--declare both` is what a run says."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from tiecheck.conformance.cli import main

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
COMMAND = "    $ tiecheck run mymodel.py:GPT@tie_weights --declare both\n"


def test_the_output_in_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(HERE / "flagged.py", tmp_path / "mymodel.py")
    with (tmp_path / "mymodel.py").open("a") as file:
        file.write("\ndef GPT(tie_weights=True): return Plain()\n")
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("mymodel", None)
    try:
        assert main(["run", "mymodel.py:GPT@tie_weights", "--declare", "both"]) == 1
    finally:
        sys.modules.pop("mymodel", None)  # another test has one of that name
    out = capsys.readouterr().out
    shown = (ROOT / "README.md").read_text().partition(COMMAND)[2].partition("\n\n")[0].splitlines()
    assert len(shown) > 4
    for line in shown:  # "..." stands for what is left out
        pieces = [re.escape(piece.strip()) for piece in line.split("...")]
        assert re.search("^ *" + ".*".join(pieces), out, re.MULTILINE), line


def test_the_table_of_levels_is_of_the_tested_types() -> None:
    from both.test_levels import TABLE

    page = (ROOT / "docs" / "tie-flag.md").read_text()
    for kind, told in TABLE.items():
        assert not told or any(line.startswith(f"| {kind} |") and told in line for line in page.splitlines()), kind
        assert told or f"| {kind} |" not in page
