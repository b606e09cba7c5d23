"""The command line with real targets: what conforms, what does not, and what cannot be judged."""

import itertools
import json
import shlex
import signal
import subprocess
import sys
import textwrap

import pytest
from hand_made import is_one_sentence
from jsonschema import Draft202012Validator
from tiecheck.conformance.requirement import requirements
from tiecheck.conformance.schemas import load

_NUMBER = itertools.count()

TIED = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self, vocabulary=23, width=8, tied=True):
        super().__init__()
        self.emb = nn.Embedding(vocabulary, width)
        self.mix = nn.Linear(width, width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.head.weight = self.emb.weight
    def hidden(self, ids):
        x = self.emb(ids)
        return torch.tanh(self.mix(x)) + x.cumsum(1) / 3
    def forward(self, ids):
        return self.head(self.hidden(ids))
"""


@pytest.fixture
def target(tmp_path):
    """Write a file with the tied model and some code of a test; its name is its own, for Python caches modules."""

    def write(code, factory="make", base=TIED):
        file = tmp_path / f"target_{next(_NUMBER)}.py"
        file.write_text(base + textwrap.dedent(code))
        return f"{file}:{factory}"

    return write


def validated(file):
    """The report in ``file``, held against its schema and its promises."""
    document = json.loads(file.read_text())
    name = "matrix-1" if document["schema"].startswith("tiecheck/matrix") else "report-1"
    Draft202012Validator(load(name)).validate(document)
    for report in document.get("rows", [document]):
        assert [result["id"] for result in report["results"]] == [item.id for item in requirements()]
        assert sum(report["summary"].values()) == len(report["results"])
    return document


def test_the_reference_conforms(tiecheck, tmp_path):
    status, out, _ = tiecheck("run", "reference", "--json", tmp_path / "r.json")
    document = validated(tmp_path / "r.json")
    assert status == 0 and out.startswith("conforms: ")
    assert document["conforms"] and document["target"] == "reference" and document["declared"] == "tied"
    assert document["summary"]["fail"] == document["summary"]["error"] == 0
    assert document["diagnosis"] == []


@pytest.mark.parametrize("factory", ["Model", "make", "instance"])
def test_a_model_in_a_file(tiecheck, target, tmp_path, factory):
    name = target("def make(): return Model()\ninstance = Model()", factory)
    status, out, _ = tiecheck("run", name, "--json", tmp_path / "r.json")
    assert status == 0, out
    assert validated(tmp_path / "r.json")["target"] == name


def test_two_matrices_do_not_conform(tiecheck, target, tmp_path):
    name = target("def make(): return Model(tied=False)")
    status, out, err = tiecheck("run", name, "--json", tmp_path / "r.json")
    document = validated(tmp_path / "r.json")
    assert status == 1 and not document["conforms"] and "Traceback" not in err
    assert document["diagnosis"][0]["cause"] == "two-matrices"
    assert out.startswith("does not conform: ") and "two separate matrices" in out and "run it again: tiecheck" in out
    assert tiecheck("run", name, "--declare", "untied")[0] == 0


def test_both_is_a_matrix(tiecheck, tmp_path):
    status, out, _ = tiecheck("run", "reference", "--declare", "both", "--json", tmp_path / "r.json")
    document = validated(tmp_path / "r.json")
    assert status == 0 and [row["declared"] for row in document["rows"]] == ["tied", "untied"]
    assert "declared tied" in out and "declared untied" in out


def test_a_selection(tiecheck, tmp_path):
    assert tiecheck("run", "reference", "--select", "storage", "--json", tmp_path / "r.json")[0] == 0
    for result in validated(tmp_path / "r.json")["results"]:
        if not result["id"].startswith("storage."):
            assert (result["verdict"], result["message"]) == ("skip", "not selected")


def test_the_same_run_gives_the_same_report(tiecheck, tmp_path):
    def once(name):
        tiecheck("run", "reference", "--seed", "3", "--json", tmp_path / name)
        document = validated(tmp_path / name)
        document.pop("cost")
        for result in document["results"]:
            result.pop("seconds")
        return document

    assert once("a.json") == once("b.json")


def test_prints_of_the_factory_do_not_reach_the_report(tiecheck, target):
    name = target("def make():\n    print('noise')\n    return Model()")
    status, out, err = tiecheck("run", name, "--quiet")
    assert status == 0 and out.count("\n") == 1 and "noise" not in out and "noise" in err


def test_names_of_the_model_are_neutralised(tiecheck, target):
    name = target(
        """
        class Evil(Model):
            def __init__(self):
                super().__init__(tied=False)
                self.add_module("x\\x1b[31m\\nFAKE", self.head)
                del self.head
            def forward(self, ids):
                return getattr(self, "x\\x1b[31m\\nFAKE")(self.hidden(ids))
        """,
        "Evil",
    )
    status, out, err = tiecheck("run", name)
    assert status == 1 and "\x1b" not in out + err
    assert not any(line.startswith("FAKE") for line in out.splitlines())


# Each is a target that cannot be judged: the code of a file, and the factory in it.
UNJUDGED = {
    "no such factory": ("", "nothing"),
    "a factory that raises": ("def make(): raise RuntimeError('first line\\nsecond line')", "make"),
    "a factory that raises nothing to say": ("def make(): raise AssertionError", "make"),
    "a factory that exits with 0": ("def make(): raise SystemExit(0)", "make"),
    "a factory that exits with a text": ("import sys\ndef make(): sys.exit('bye')", "make"),
    "a file that exits": ("import sys; sys.exit(0)", "make"),
    "a file that raises": ("1 / 0", "make"),
    "a syntax error": ("def make(:", "make"),
    "an import that is missing": ("import no_such_package_at_all", "make"),
    "a factory that returns a string": ("def make(): return 'model'", "make"),
    "a factory that returns nothing": ("def make(): pass", "make"),
    "a factory that returns a class": ("def make(): return Model", "make"),
    "a factory that is a number": ("make = 3", "make"),
    "a factory with an argument": ("def make(config): return Model()", "make"),
    "a class with an argument": ("class Other(Model):\n    def __init__(self, config): pass", "Other"),
    "a wrong declaration": ("def make(): return Model(), 'tied, I think'", "make"),
    "a tuple of three": ("def make(): return Model(), 1, 2", "make"),
    "no forward": ("def make(): return nn.Module()", "make"),
    "a forward that raises": ("class M(Model):\n    def forward(self, ids): raise KeyError('x')", "M"),
    "a forward that exits": ("class M(Model):\n    def forward(self, ids): raise SystemExit(0)", "M"),
    "no logits": ("class M(Model):\n    def forward(self, ids): return None", "M"),
    "a string for logits": ("class M(Model):\n    def forward(self, ids): return 'logits'", "M"),
    "an empty mapping": ("class M(Model):\n    def forward(self, ids): return {}", "M"),
    "an empty tuple": ("class M(Model):\n    def forward(self, ids): return ()", "M"),
    "a scalar": ("class M(Model):\n    def forward(self, ids): return super().forward(ids).sum()", "M"),
    "one dimension": ("class M(Model):\n    def forward(self, ids): return super().forward(ids).flatten()", "M"),
    "whole numbers for logits": (
        "class M(Model):\n    def forward(self, ids): return super().forward(ids).long()",
        "M",
    ),
    "all NaN": ("class M(Model):\n    def forward(self, ids): return super().forward(ids) * float('nan')", "M"),
    "some NaN": ("class M(Model):\n    def forward(self, ids): return super().forward(ids).sqrt()", "M"),
    "all zero": ("class M(Model):\n    def forward(self, ids): return super().forward(ids) * 0", "M"),
    "a vocabulary of one": ("def make(): return Model(vocabulary=1)", "make"),
    "no table": (
        "class M(Model):\n    def forward(self, ids): return ids[..., None].float() * torch.ones(23)",
        "M",
    ),
    "two required arguments": ("class M(Model):\n    def forward(self, ids, image): return super().forward(ids)", "M"),
}


@pytest.mark.parametrize("case", UNJUDGED)
def test_what_cannot_be_judged_is_one_sentence(tiecheck, target, tmp_path, case):
    name = target(*UNJUDGED[case])
    status, out, err = tiecheck("run", name, "--json", tmp_path / "r.json")
    assert status == 2 and out == "" and is_one_sentence(err), (out, err)
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(
    "name",
    [
        "nothing",
        "nofile.py:make",
        "nofile.py",
        "target.py:",
        "target.py",
        ":make",
        "folder.py:make",
        "binary.py:make",
        "no.such.module:make",
        "json:no_such_name",
        "json:dumps",
        "demo:no-such-demo",
        "numpy:no-such-network",
        "hf:no-such-model-type",
        "hf:./no-such-folder",
        "hf:",
        "demo:",
        "pytorch:anything",
        "reference:x",
        "target.py:make.attribute",
        "target.py:make()",
        "caf\udce9.py:make",
    ],
)
def test_targets_that_do_not_exist(tiecheck, tmp_path, monkeypatch, name):
    (tmp_path / "target.py").write_text(TIED + "make = Model")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "binary.py").write_bytes(b"\x00\xff\xfe")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    status, out, err = tiecheck("run", name, "--json", "r.json")
    assert status == 2 and out == "" and is_one_sentence(err), (out, err)
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(
    "options",
    [
        ("--declare", "both"),
        ("--device", "cuda:99"),
        ("--timeout", "0.000001"),
        ("--assume", "table=no.such.parameter"),
        ("--assume", "head=no.such.parameter"),
    ],
    ids=" ".join,
)
def test_options_that_do_not_fit_the_target(tiecheck, target, tmp_path, options):
    name = target("def make(): return Model()")
    status, out, err = tiecheck("run", name, "--json", tmp_path / "r.json", *options)
    assert status == 2 and out == "" and is_one_sentence(err), (out, err)
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(
    "assumed",
    [
        "vocabulary=1000",
        "padding_row=1000",
        "output_bias=no.such.parameter",
        "output_scale=no.such.parameter",
        "input_scale=2",
        "output_bias=true",
        "logit_softcap=30.0",
        "log_probabilities=true",
        "frozen=true",
        "parameter_count=1",
    ],
)
def test_what_is_declared_but_absent_never_conforms(tiecheck, target, assumed):
    status, _, err = tiecheck("run", target("def make(): return Model()"), "--assume", assumed)
    assert status == 1 or (status == 2 and is_one_sentence(err))


def test_traceback_names_the_line_of_the_target(tiecheck, target):
    status, _, err = tiecheck("run", target("def make(): raise RuntimeError('here')"), "--traceback")
    assert status == 2 and "Traceback" in err and "in make" in err and err.splitlines()[-1].startswith("tiecheck: ")


def test_a_process_of_its_own(process, target, tmp_path):
    done = process("run", target("def make(): return Model(tied=False)"), "--json", "r.json")
    assert done.returncode == 1 and done.stdout.startswith("does not conform: "), done.stderr
    validated(tmp_path / "r.json")


def test_an_interrupt_is_one_sentence(target, tmp_path):
    slow = "import time\ndef make():\n    print('started', flush=True)\n    time.sleep(60)"
    command = [
        sys.executable,
        "-m",
        "tiecheck.conformance.cli",
        "run",
        target(slow),
        "--json",
        str(tmp_path / "r.json"),
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A shell starts its background jobs deaf to interrupts, and so would be what a test run of theirs starts.
    with subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **pipes) as run:
        assert run.stderr.readline() == "started\n"
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=30)
    assert run.returncode == 130 and out == "" and is_one_sentence(err), (out, err)
    assert not (tmp_path / "r.json").exists()


def test_the_run_again_command_runs_again(process, target, tmp_path):
    name = target("def make(): return Model(tied=False)")
    first = process("run", name, "--seed", "5", "--dtype", "float64")
    command = first.stdout.split("run it again: tiecheck ")[1].strip()
    again = process(*shlex.split(command))
    drop = [line for line in first.stdout.splitlines() if "passes, " not in line]
    assert again.returncode == 1 and drop == [line for line in again.stdout.splitlines() if "passes, " not in line]


def test_spec_shows_every_requirement(tiecheck):
    _, out, _ = tiecheck("spec")
    for item in requirements():
        assert item.id in out and " ".join(item.statement.split()) in out
        status, one, _ = tiecheck("spec", item.id)
        assert status == 0 and item.formula in one and item.source in one


def test_list_shows_every_backend(tiecheck):
    from tiecheck.conformance.protocol import adapters

    status, out, err = tiecheck("list")
    assert (status, err) == (0, "")
    assert all(name in out for name in adapters()) and "cannot be used" not in out


def test_spec_costs_no_framework():
    code = "import sys; from tiecheck.conformance.cli import main; main(['spec']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
