"""docs/findings: every file is in the table, has its two blocks, and the script notices one that no longer reproduces."""

import importlib.util
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "findings"
_spec = importlib.util.spec_from_file_location("findings_run", FOLDER / "run.py")
run = importlib.util.module_from_spec(_spec)
sys.modules["findings_run"] = run
_spec.loader.exec_module(run)


def test_every_file_is_a_row():
    files = {path.name for path in FOLDER.glob("*.md")} - {"README.md"}
    rows = [finding.file for finding in run.findings()]
    assert sorted(rows) == sorted(files)


@pytest.mark.parametrize("finding", run.findings(), ids=lambda finding: finding.file)
def test_a_finding_is_short_and_says_what_it_prints(finding):
    code = finding.code.strip().splitlines()
    assert 0 < len(code) <= 15
    assert finding.output.strip()


def _folder(tmp_path, prints):
    row = "| [it](it.md) | numpy 1.0 | wrong | `storage.one-memory` | not reported |\n"
    (tmp_path / "README.md").write_text(row)
    (tmp_path / "it.md").write_text(f"# It\n\n```python\nimport numpy\nprint(1 + 1)\n```\n\n```text\n{prints}\n```\n")
    return run.findings(tmp_path)


def test_one_that_reproduces(tmp_path):
    (finding,) = _folder(tmp_path, "2")
    assert (finding.library, finding.missing, run.fault(finding)) == ("numpy", [], "")


def test_one_that_was_mended_is_noticed(tmp_path, monkeypatch, capsys):
    found = _folder(tmp_path, "3")
    monkeypatch.setattr(run, "findings", lambda: found)
    assert run.main(["numpy"]) == 1
    assert "no longer reproduces" in capsys.readouterr().out
    assert run.main(["another"]) == 2
