"""`tiecheck matrix`: a process each, a journal, and the worst of the exit statuses."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from tiecheck.conformance import matrix
from tiecheck.conformance.cli import main
from tiecheck.conformance.report import from_dict
from tiecheck.conformance.run import run_target
from tiecheck.conformance.schemas import load as schema

QUICK = ("--profile", "quick")
TIED = """
import torch
from torch import nn

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(31, 8)
        self.inner = nn.Linear(8, 8)
    def forward(self, ids):
        h = torch.cumsum(torch.tanh(self.inner(self.embedding(ids))), 1)
        return h @ self.embedding.weight.T

def ends():
    import os
    os._exit(7)

def sleeps():
    import time
    time.sleep(600)
"""


@pytest.fixture
def target(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(TIED)
    return "model.py:Tied"


def test_targets_side_by_side(target, tmp_path, capsys):
    status = main(["matrix", target, "demo:two-matrices", "--jobs", "2", *QUICK, "--json", "m.json"])
    out, err = capsys.readouterr()
    assert status == 1 and "1 of 2 conform" in out and "two-matrices: two separate matrices" in out
    assert "2 of 2:" in err
    stored = json.loads((tmp_path / "m.json").read_text())
    registry = Registry().with_resource("urn:tiecheck:report:1", Resource.from_contents(schema("report-1")))
    Draft202012Validator(schema("matrix-1"), registry=registry).validate(stored)
    assert [(row["target"], row["conforms"]) for row in stored["rows"]] == [
        (target, True),
        ("demo:two-matrices", False),
    ]


def test_a_row_is_the_report_of_a_run_alone(target):
    alone = run_target(target, profile="quick")
    assert from_dict(json.loads(json.dumps(alone.plain()))) == alone


def test_one_that_ends_its_process_disturbs_no_other(target, capsys):
    assert main(["matrix", "model.py:ends", target, *QUICK]) == 2
    out, _ = capsys.readouterr()
    assert "not judged: model.py:ends: its process ended with status 7" in out and "1 of 1 conform, 1 not judged" in out


def test_nothing_judged_is_bad_input(target, capsys):
    assert main(["matrix", "nowhere.py:x", *QUICK]) == 2
    out, err = capsys.readouterr()
    assert not out and "nothing was judged: nowhere.py:x: there is no file nowhere.py" in err.splitlines()[-1]


def test_a_backend_stands_for_all_that_it_has():
    targets = [entry.target for entry in matrix.expanded(["reference", "demo"])]
    assert "reference:gpt" in targets and "demo:padding-row" in targets
    assert len(matrix.expanded(["hf"])) > 100
    every = [entry.target for entry in matrix.expanded([])]
    assert "hf:gpt2" in every and not any(word.startswith("demo:") for word in every)
    assert not any(entry.named for entry in matrix.expanded([]))


def test_a_journal_is_gone_on_with(target, tmp_path, capsys):
    assert main(["matrix", target, *QUICK, "--resume", "rows.json"]) == 0
    stored = json.loads((tmp_path / "rows.json").read_text())
    assert list(stored["rows"]) == [target] and "complete" not in stored
    (tmp_path / "model.py").write_text("raise SystemExit('it is not judged again')")
    capsys.readouterr()
    assert main(["matrix", target, "numpy", *QUICK, "--resume", "rows.json"]) == 0
    assert "3 of 3 conform" in capsys.readouterr()[0]


@pytest.mark.parametrize("text", ["", "[]", '{"rows": 3}', '{"schema": "x", "options": "", "rows": {}}'])
def test_a_journal_that_is_none_is_bad_input(text, target, tmp_path, capsys):
    (tmp_path / "rows.json").write_text(text)
    assert main(["matrix", target, *QUICK, "--resume", "rows.json"]) == 2
    assert (tmp_path / "rows.json").read_text() == text
    assert len(capsys.readouterr()[1].splitlines()) == 1


def test_a_journal_of_other_options_is_refused(target, capsys):
    main(["matrix", target, *QUICK, "--resume", "rows.json"])
    assert main(["matrix", target, *QUICK, "--seed", "3", "--resume", "rows.json"]) == 2
    assert "other options" in capsys.readouterr()[1]


def test_what_was_judged_survives_an_interrupt(target, tmp_path):
    words = [sys.executable, "-m", "tiecheck.conformance.cli", "matrix", target, "model.py:sleeps", *QUICK]
    # Where tests run in the background of a shell, Ctrl-C is ignored, and what they start inherits that.
    with subprocess.Popen(
        [*words, "--json", "m.json"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        line = process.stderr.readline()
        assert line.startswith("tiecheck: 1 of 2: model.py:Tied: conforms")
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        assert process.wait(30) == 130
    assert not (tmp_path / "m.json").exists()
    kept = json.loads((tmp_path / "tiecheck-matrix.part.json").read_text())
    assert list(kept["rows"]) == [target]
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".tiecheck")]


def test_expected_failures_beside_an_adapter_are_found():
    assert matrix.expectations_of("equinox:aliased").name == "equinox.toml"
    assert matrix.expectations_of("reference:gpt2") is None and matrix.expectations_of("model.py:Tied") is None
