"""Both builds of a factory in every view: command line, JSON, matrix, pytest ids, a test file."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiecheck.conformance import check
from tiecheck.conformance.cli import main
from tiecheck.conformance.requirement import requirements

HERE = Path(__file__).parent
QUICK = ("--profile", "quick")


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(HERE / "flagged.py", tmp_path / "model_of_mine.py")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("Plain@tie_weights", "--declare", "both"), 0),
        (("always_tied", "--declare", "both"), 1),
        (("refuses_untied", "--declare", "both"), 0),
        (("refuses_untied", "--declare", "untied"), 2),
        (("crashes_untied", "--declare", "both"), 2),
        (("Plain", "--declare", "both"), 2),
        (("Plain@tie", "--declare", "both"), 2),
        (("untied_by_default",), 0),
    ],
)
def test_exit_statuses(there: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], status: int) -> None:
    assert main(["run", f"model_of_mine.py:{words[0]}", *words[1:], *QUICK, "--json", "r.json"]) == status
    told = capsys.readouterr()
    assert Path("r.json").exists() is (status != 2)
    assert status != 2 or (told.err.startswith("tiecheck: ") and told.out == "")


def test_the_json_is_a_matrix_of_two_rows_and_the_replay_line_runs(
    there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = "model_of_mine.py:always_tied@tied"
    assert main(["run", target, "--declare", "both", *QUICK, "--json", "r.json"]) == 1
    rows = json.loads(Path("r.json").read_text())["rows"]
    assert [(row["target"], row["declared"], row["conforms"]) for row in rows] == [
        (target, "tied", True),
        (target, "untied", False),
    ]
    assert "the flag tied is ignored" in rows[1]["diagnosis"][0]["explanation"].lower()
    out = capsys.readouterr().out
    assert "The flag tied is ignored: built with tied=False the model is tied all the same." in out
    line = next(line for line in out.splitlines() if line.startswith("run it again: tiecheck "))
    words = line.removeprefix("run it again: tiecheck ").split()
    assert target in words and words[-4:] == ["--declare", "untied", *QUICK]
    assert main(words) == 1


def test_every_file_of_a_report_says_that_the_flag_is_ignored(there: Path) -> None:
    files = {view: f"r.{view}" for view in ("html", "markdown", "junit")}
    words = [word for view, file in files.items() for word in (f"--{view}", file)]
    assert main(["run", "model_of_mine.py:always_tied", "--declare", "both", *QUICK, "--quiet", *words]) == 1
    for file in files.values():
        assert "tied all the same" in Path(file).read_text(), file


def test_a_matrix(there: Path) -> None:
    targets = [f"model_of_mine.py:{name}" for name in ("Plain@tie_weights", "refuses_untied", "always_tied")]
    assert main(["matrix", *targets, "--declare", "both", *QUICK, "--quiet", "--json", "r.json"]) == 1
    document = json.loads(Path("r.json").read_text())
    seen = [(row["target"].partition(":")[2], row["declared"], row["conforms"]) for row in document["rows"]]
    assert seen == [
        ("Plain@tie_weights", "tied", True),
        ("Plain@tie_weights", "untied", True),
        ("refuses_untied", "tied", True),
        ("always_tied", "tied", True),
        ("always_tied", "untied", False),
    ]
    assert [entry["target"] for entry in document["unjudged"]] == [targets[1]]
    assert main(["matrix", *targets[:2], "--declare", "both", *QUICK, "--quiet"]) == 0


def test_the_help_says_how_the_keyword_is_spelt() -> None:
    from tiecheck.conformance.cli import cli

    text = " ".join(CliRunner().invoke(cli, ["run", "--help"]).output.split())
    assert "FACTORY@KEYWORD" in text and "`tied`" in text


# pytest


@pytest.fixture
def run(pytester: pytest.Pytester):
    check("reference", profile="quick")  # what a run loads is loaded before pytester looks
    for module in ("cli", "items", "steering", "terminal"):
        importlib.import_module(f"tiecheck.conformance.{module}")
    shutil.copy(HERE / "flagged.py", pytester.path / "mine_each_way.py")

    def call(*words: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:hypothesispytest", *words)

    return call


def test_an_adapter_with_a_keyword(run) -> None:
    words = ("--pyargs", "tiecheck.conformance", "--tie-declare", "both", "--tie-profile", "quick", "-k", "one-memory")
    target = "mine_each_way.py:Plain@tie_weights"
    result = run(*words, "--adapter", target, "-v")
    result.assert_outcomes(passed=2, deselected=2 * len(requirements()) - 2)
    for word in ("tied", "untied"):
        line = f"tiecheck.conformance::{target}::storage.one-memory[[]cpu-float32-{word}] PASSED*"
        result.stdout.fnmatch_lines_random(line)


def test_a_refusal_is_skipped_and_an_ignored_flag_is_said(run) -> None:
    words = ("--pyargs", "tiecheck.conformance", "--tie-declare", "both", "--tie-profile", "quick", "-k", "one-memory")
    refused = run(*words, "--adapter", "mine_each_way.py:refuses_untied", "-rs")
    refused.assert_outcomes(passed=1, skipped=1, deselected=2 * len(requirements()) - 2)
    refused.stdout.fnmatch_lines("SKIPPED*failed to build with tied=False: NotImplementedError*")
    ignored = run(*words, "--adapter", "mine_each_way.py:always_tied")
    ignored.assert_outcomes(passed=1, failed=1, deselected=2 * len(requirements()) - 2)
    ignored.stdout.fnmatch_lines("*The flag tied is ignored: built with tied=False the model is tied all the same.*")


def test_inside_a_test_file(run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
from mine_each_way import Functional
from tiecheck.conformance import parametrize_with_requirements

@parametrize_with_requirements(Functional, declare="both", profile="quick", select="storage")
def test_it(requirement):
    requirement()

@parametrize_with_requirements("mine_each_way.py:Plain@tie_weights", "both", profile="quick", select="storage")
def test_named(requirement):
    requirement()
"""
    )
    result = run("-W", "ignore", "-v", "-k", "one-memory")
    result.assert_outcomes(passed=4, deselected=4 * len(requirements()) - 4)
    for name in ("test_it", "test_named"):
        for word in ("tied", "untied"):
            result.stdout.fnmatch_lines_random(f"*::{name}[[]storage.one-memory[[]cpu-float32-{word}]] PASSED*")
