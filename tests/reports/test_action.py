"""The action: its shell steps are run, with inputs that would like to be commands."""

import json
import os
import re
import shlex
from pathlib import Path

import pytest
import yaml
from runner import ACTION, ROOT, STEPS, ran

RECORDER = """#!/usr/bin/env python3
import json, os, pathlib, sys
pathlib.Path("words.json").write_text(json.dumps(sys.argv[1:]))
if os.environ.get("WRITES"):
    pathlib.Path(sys.argv[sys.argv.index("--markdown") + 1]).write_text("### the report\\n")
sys.exit(int(os.environ.get("STATUS", "0")))
"""

NASTY = [
    "a b.py:make",
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned;",
    "x\" ; touch pwned; \"",
    "x' ; touch pwned; '",
    "x\ntouch pwned\n",
    "${IFS}$HOME",
    "--help",
    "-",
    "*",
    "é\\n\\",
    "a && touch pwned || touch pwned | touch pwned > pwned",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """An empty folder to run in, and one with commands that write down what they were called with."""
    (tmp_path / "commands").mkdir()
    for name in ("tiecheck", "pip-recorder"):
        (tmp_path / "commands" / name).write_text(RECORDER)
        (tmp_path / "commands" / name).chmod(0o755)
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def judged(folder, inputs, **extra):
    """The words that ``tiecheck`` was called with, and how the step ended; what its reports are called is left out."""
    done = ran("Judge", folder, inputs, path=str(folder.parent / "commands"), **extra)
    words = json.loads((folder / "words.json").read_text()) if (folder / "words.json").exists() else []
    assert {path.name for path in folder.iterdir()} <= {"words.json"}, "an input became a command"
    return done, words


@pytest.mark.parametrize("nasty", NASTY)
@pytest.mark.parametrize("name", ["target", "expectations", "declare", "profile"])
def test_an_input_stays_one_word(folder, name, nasty):
    inputs = {"target": "x:y", name: nasty}
    done, words = judged(folder, inputs, WRITES="1")
    assert done.status == 0, done.log
    assert words[-2:] == ["--", inputs["target"]]
    flag = {"expectations": "--expected-failures", "declare": "--declare", "profile": "--profile"}.get(name)
    if flag:
        assert words[words.index(flag) + 1] == nasty


@pytest.mark.parametrize("nasty", NASTY)
def test_args_are_words_and_nothing_is_expanded(folder, nasty):
    args = f"--assume {shlex.quote(nasty)} --select 'a b' \"c d\" e\\ f"
    _, words = judged(folder, {"target": "x:y", "args": args}, WRITES="1")
    assert words[2:] and words[words.index("--assume") :][:6] == ["--assume", nasty, "--select", "a b", "c d", "e f"]
    _, words = judged(
        folder, {"target": "x:y", "args": "$(touch pwned) `touch pwned`; touch pwned * $HOME"}, WRITES="1"
    )
    assert "$(touch" in words and "*" in words and "$HOME" in words


def test_nothing_optional_is_passed_empty(folder):
    _, words = judged(folder, {"target": "x:y"}, WRITES="1")
    assert words[:3] == ["run", "--profile", "standard"]
    assert [word for word in words if word.startswith("--")] == [
        "--profile", "--json", "--junit", "--html", "--markdown", "--",
    ]  # fmt: skip


def test_args_that_cannot_be_split(folder):
    done, words = judged(folder, {"target": "x:y", "args": "--select 'a"})
    assert done.status == 2 and words == [] and "args cannot be split" in done.log and "Traceback" not in done.log


@pytest.mark.parametrize("status", [0, 1, 3])
def test_the_status_of_the_run_is_the_status_of_the_step(folder, status):
    done, _ = judged(folder, {"target": "x:y"}, STATUS=str(status), WRITES="1")
    assert done.status == status and done.outputs["status"] == str(status) and done.summary == "### the report\n"
    assert Path(done.outputs["reports"]).is_dir()


@pytest.mark.parametrize(("given", "status"), [("2", 2), ("0", 2), ("130", 130)])
def test_without_a_report_nothing_passes(folder, given, status):
    done, _ = judged(folder, {"target": "x:y"}, STATUS=given)
    assert done.status == status and done.outputs["status"] == str(status)
    assert done.summary == f"### tiecheck judged nothing (exit status {status}); the log says why\n"


def test_a_real_run(tmp_path):
    folder = tmp_path / "a b"
    folder.mkdir()
    inputs = {"target": "demo:detached-head", "profile": "quick", "args": "--quiet"}
    done = ran("Judge", folder, inputs)
    assert done.status == 1 and done.log.startswith("does not conform: "), done.log
    assert done.summary.startswith("### ❌ does not conform: ")
    reports = Path(done.outputs["reports"])
    assert {path.name for path in reports.iterdir()} == {f"tiecheck.{end}" for end in ("json", "xml", "html", "md")}
    assert json.loads((reports / "tiecheck.json").read_text())["conforms"] is False
    assert list(folder.iterdir()) == []


def test_the_installation_names_the_folder_of_the_action(folder):
    (folder.parent / "commands" / "python").write_text(RECORDER)
    (folder.parent / "commands" / "python").chmod(0o755)
    # The recorder's own interpreter is looked for as python3.
    done = ran("Install tiecheck", folder, {}, path=str(folder.parent / "commands"), GITHUB_ACTION_PATH="/a $(b) c")
    assert done.status == 0, done.log
    words = json.loads((folder / "words.json").read_text())
    assert words[:3] == ["-m", "pip", "install"] and words[-1] == "/a $(b) c"


def test_no_expression_stands_in_a_script():
    for step in STEPS.values():
        assert "${{" not in step.get("run", "")
        assert ("run" in step) == (step.get("shell") == "bash") == ("uses" not in step)
    used = set(re.findall(r"inputs\.([\w-]+)", json.dumps(ACTION["runs"])))
    assert used == set(ACTION["inputs"])
    assert "always()" in STEPS["Keep the reports"]["if"]


def test_the_hook_runs_a_command_that_exists(tiecheck):
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["entry"] == "tiecheck run" and hook["pass_filenames"] is False
    status, _, err = tiecheck(*hook["entry"].split()[1:])
    assert status == 2 and "TARGET" in err
    assert os.sep not in hook["id"]
