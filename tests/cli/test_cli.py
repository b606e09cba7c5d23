"""The command line apart from the run itself: options, exit statuses, streams, files."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hand_made import both, conforming, failing, is_one_sentence
from tiecheck.conformance import console
from tiecheck.conformance.errors import NotJudged
from tiecheck.conformance.report import Result


def test_options_reach_the_run(fake_run, tiecheck):
    status, _, _ = tiecheck(
        "run", "x:y", "--declare", "untied", "--assume", "input_scale=sqrt(D)", "--assume", "frozen=true",
        "--device", "cuda:1", "--dtype", "bfloat16", "--profile", "quick", "--strict", "--select", "storage",
        "--select", "subject.runs", "--deselect", "storage.other", "--seed", 7, "--timeout", 2.5,
    )  # fmt: skip
    assert status == 0 and fake_run.target == "x:y"
    progress = fake_run.arguments.pop("progress")
    progress("half way")
    assert fake_run.arguments == {
        "declare": "untied",
        "assume": {"input_scale": "sqrt(D)", "frozen": True},
        "device": "cuda:1",
        "dtype": "bfloat16",
        "profile": "quick",
        "strict": True,
        "select": ("storage", "subject.runs"),
        "deselect": ("storage.other",),
        "seed": 7,
        "timeout": 2.5,
        "expected_failures": None,
    }


def test_defaults(fake_run, tiecheck):
    tiecheck("run", "x:y")
    given = {key: value for key, value in fake_run.arguments.items() if key != "progress"}
    assert given == {
        "declare": None, "assume": {}, "device": None, "dtype": None, "profile": "standard", "strict": False,
        "select": (), "deselect": (), "seed": 0, "timeout": None, "expected_failures": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (conforming(), 0),
        (failing(), 1),
        (conforming(results=(Result("subject.runs", "MUST", "error", "ZeroDivisionError"),), conforms=False), 3),
        (both(), 1),
    ],
)
def test_exit_status_and_report(fake_run, tiecheck, tmp_path, outcome, status):
    fake_run.outcome = outcome
    file = tmp_path / "report.json"
    code, out, err = tiecheck("run", "x:y", "--json", file)
    assert (code, err) == (status, "")
    assert json.loads(file.read_text()) == outcome.to_dict()
    assert out.startswith(("conforms: ", "does not conform: "))
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("audit", "x"),
        ("compare", "a", "b"),
        ("rnu", "x"),
        ("--nope",),
        ("run",),
        ("run", ""),
        ("run", "  "),
        ("run", "x:y", "z"),
        ("run", "x:y", "--declare"),
        ("run", "x:y", "--declare", "neither"),
        ("run", "x:y", "--device", "tpu"),
        ("run", "x:y", "--device", "cuda:"),
        ("run", "x:y", "--device", "cuda:-1"),
        ("run", "x:y", "--device", ""),
        ("run", "x:y", "--dtype", "float"),
        ("run", "x:y", "--dtype", "int8"),
        ("run", "x:y", "--profile", "whole"),
        ("run", "x:y", "--profile", "Quick"),
        ("run", "x:y", "--seed", "one"),
        ("run", "x:y", "--seed", "-1"),
        ("run", "x:y", "--seed", "1.5"),
        ("run", "x:y", "--timeout", "0"),
        ("run", "x:y", "--timeout", "-3"),
        ("run", "x:y", "--timeout", "nan"),
        ("run", "x:y", "--timeout", "inf"),
        ("run", "x:y", "--timeout", "soon"),
        ("run", "x:y", "--assume", "frozen"),
        ("run", "x:y", "--assume", "=1"),
        ("run", "x:y", "--assume", "frozen="),
        ("run", "x:y", "--assume", "frozzen=true"),
        ("run", "x:y", "--assume", "frozen=maybe"),
        ("run", "x:y", "--assume", "input_scale=0"),
        ("run", "x:y", "--assume", "input_scale=nan"),
        ("run", "x:y", "--assume", "padding_row=-1"),
        ("run", "x:y", "--assume", "frozen=true", "--assume", "frozen=false"),
        ("run", "x:y", "--select", "nope"),
        ("run", "x:y", "--select", "storage.nope"),
        ("run", "x:y", "--select", ""),
        ("run", "x:y", "--deselect", "nope"),
        ("run", "x:y", "--select", "storage", "--deselect", "storage"),
        ("run", "x:y", "--deselect", "subject", "--deselect", "storage", "--deselect", "gradient"),
        ("run", "x:y", "--json"),
        ("run", "x:y", "--json", ""),
        ("run", "x:y", "--json", "."),
        ("run", "x:y", "--json", "no/such/folder/report.json"),
        ("run", "x:y", "--json", "/proc/report.json"),
        ("run", "x:y", "--json", "n" * 300),
        ("run", "x:y", "--junit"),
        ("run", "x:y", "--html", "."),
        ("run", "x:y", "--markdown", ""),
        ("run", "x:y", "--expected-failures", "a.toml"),
        ("run", "x:y", "--strict=yes"),
        ("spec", "nope"),
        ("spec", ""),
        ("spec", "storage", "gradient"),
        ("list", "x"),
    ],
    ids=lambda words: " ".join(words)[:60] or "nothing",
)
def test_bad_usage_is_one_sentence_before_the_run(fake_run, tiecheck, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    status, out, err = tiecheck(*words)
    assert status == 2 and out == "" and is_one_sentence(err), err
    assert fake_run.target is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("rnu", "x"), "run"),
        (("run", "x", "--selct", "a"), "--select"),
        (("run", "x", "--assume", "input_scal=2"), "input_scale"),
        (("run", "x", "--select", "storage.one-memry"), "storage.one-memory"),
        (("spec", "gradent"), "gradient"),
        (("spec", "one-memory"), "storage.one-memory"),
        (("spec", "grad"), "gradient"),
    ],
)
def test_near_words_are_offered(fake_run, tiecheck, words, hint):
    _, _, err = tiecheck(*words)
    assert f"did you mean {hint}" in err.replace("'", "")


@pytest.mark.parametrize("option", ["--jobs", "--resume"])
def test_what_is_not_built_is_not_mentioned(tiecheck, option):
    assert option not in tiecheck("run", "--help")[1] and option in tiecheck("matrix", "--help")[1]
    commands = tiecheck("--help")[1].split("Commands:")[1]
    assert re.findall(r"^  (\S+)", commands, re.MULTILINE) == ["audit", "compare", "list", "matrix", "run", "spec"]


def test_not_judged(fake_run, tiecheck, tmp_path):
    fake_run.outcome = NotJudged("the factory raised\nValueError: \x1b[31mred")
    status, out, err = tiecheck("run", "x:y", "--json", tmp_path / "r.json")
    assert (status, out) == (2, "") and is_one_sentence(err)
    assert err == "tiecheck: the factory raised ValueError: \\x1b[31mred\n"
    assert list(tmp_path.iterdir()) == []


def test_not_judged_keeps_the_last_report(fake_run, tiecheck, tmp_path):
    file = tmp_path / "r.json"
    file.write_text("old")
    fake_run.outcome = NotJudged("no")
    tiecheck("run", "x:y", "--json", file)
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_traceback_is_shown_on_request(fake_run, tiecheck):
    fake_run.outcome = NotJudged("no logits")
    fake_run.outcome.__cause__ = KeyError("inner")
    status, _, err = tiecheck("run", "x:y", "--traceback")
    assert status == 2 and "KeyError: 'inner'" in err and err.endswith("\ntiecheck: no logits\n")


def test_a_target_cannot_choose_the_exit_status(fake_run, tiecheck):
    fake_run.outcome = SystemExit(0)
    status, out, err = tiecheck("run", "x:y")
    assert (status, out) == (2, "") and is_one_sentence(err)


def test_a_defect_of_ours(fake_run, tiecheck, tmp_path):
    fake_run.outcome = ZeroDivisionError("division by zero")
    status, out, err = tiecheck("run", "x:y", "--json", tmp_path / "r.json")
    assert (status, out) == (3, "") and is_one_sentence(err) and "defect of tiecheck" in err
    assert "Traceback" in tiecheck("run", "x:y", "--traceback")[2]


@pytest.mark.parametrize("error", [OSError(5, "input/output error"), RuntimeError("two\nlines"), AssertionError()])
def test_every_other_exception_is_a_defect(fake_run, tiecheck, error):
    fake_run.outcome = error
    status, _, err = tiecheck("run", "x:y")
    assert status == 3 and is_one_sentence(err)


def test_interrupt(fake_run, tiecheck, tmp_path):
    fake_run.outcome = KeyboardInterrupt()
    status, out, err = tiecheck("run", "x:y", "--json", tmp_path / "r.json")
    assert (status, out) == (130, "") and is_one_sentence(err)
    assert list(tmp_path.iterdir()) == []


def test_prints_of_the_target_go_to_standard_error(fake_run, tiecheck):
    def noise():
        print("python noise")
        os.write(1, b"raw noise\n")
        subprocess.run(["echo", "child noise"], check=True)

    fake_run.during = noise
    _, out, err = tiecheck("run", "x:y", "--quiet")
    assert out == "conforms: 3 of 4 requirements apply, 3 passed  (reference, declared tied)\n"
    assert {"python noise", "raw noise", "child noise"} <= set(err.splitlines())


def test_standard_output_is_restored_after_a_failure(fake_run, tiecheck):
    before = sys.stdout
    for outcome in (NotJudged("no"), KeyboardInterrupt(), ZeroDivisionError()):
        fake_run.outcome = outcome
        tiecheck("run", "x:y")
        assert sys.stdout is before
    fake_run.outcome = conforming()
    assert tiecheck("run", "x:y")[1].startswith("conforms")


def test_quiet_is_the_head_line_alone(fake_run, tiecheck):
    fake_run.outcome = failing()
    _, out, _ = tiecheck("run", "x:y", "--quiet")
    assert (
        out
        == "does not conform: 3 of 4 requirements apply, 1 passed, 1 failed, 1 failed as SHOULD  (models.py:make, declared tied)\n"
    )


def test_the_target_may_change_the_folder(fake_run, tiecheck, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path)
    fake_run.during = lambda: os.chdir("in")
    assert tiecheck("run", "x:y", "--json", "r.json")[0] == 0
    assert (tmp_path / "r.json").exists()


def test_the_report_never_replaces_the_model(fake_run, tiecheck, tmp_path):
    code = tmp_path / "m.py"
    code.write_text("def make(): ...")
    status, _, err = tiecheck("run", f"{code}:make", "--json", code)
    assert status == 2 and is_one_sentence(err) and code.read_text() == "def make(): ..."


def test_the_report_replaces_no_link_and_no_device(fake_run, tiecheck, tmp_path):
    link, real = tmp_path / "link.json", tmp_path / "real.json"
    link.symlink_to(real)
    assert tiecheck("run", "x:y", "--json", link)[0] == 0
    assert link.is_symlink() and json.loads(real.read_text())["complete"] is True
    assert tiecheck("run", "x:y", "--json", "/dev/null")[0] == 0
    assert not Path("/dev/null").is_file()


def test_an_unwritable_file_is_noticed_before_the_run(fake_run, tiecheck, tmp_path, monkeypatch):
    file = tmp_path / "r.json"
    file.write_text("{}")
    file.chmod(0o444)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the superuser may write to it all the same
    status, _, err = tiecheck("run", "x:y", "--json", file)
    assert status == 2 and is_one_sentence(err) and fake_run.target is None


def test_a_disk_that_fills_up_during_the_run(fake_run, tiecheck, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    status, _, err = tiecheck("run", "x:y", "--json", tmp_path / "r.json")
    assert status == 2 and is_one_sentence(err) and list(tmp_path.iterdir()) == []


def test_spec(fake_run, tiecheck):
    status, out, err = tiecheck("spec")
    assert (status, err) == (0, "")
    for word in ("storage.one-memory", "Both uses read one region of memory.", "MUST", "SHOULD", "gradient.sum"):
        assert word in out
    _, chapter, _ = tiecheck("spec", "storage")
    assert "storage.other" in chapter and "gradient.sum" not in chapter
    _, one, _ = tiecheck("spec", "storage.one-memory")
    for word in (
        "MUST",
        "Both uses read",
        "storage(E_in) = storage(E_out)",
        "section 1",
        "https://github.com/example/project/issues/12",
    ):
        assert word in one
    assert "no public bug" in tiecheck("spec", "gradient.sum")[1]


def test_list_names_what_cannot_be_imported(tiecheck, monkeypatch):
    from tiecheck.conformance import protocol

    class Here:
        def load(self):
            return self

        def backend(self):
            return protocol.Backend("here", "judges things", True, ("logits", "gradients"), ("a", "b"))

    class Missing:
        def load(self):
            raise ImportError("No module named 'missing'")

    monkeypatch.setattr(protocol, "adapters", lambda: {"here": Here(), "missing": Missing()})
    status, out, err = tiecheck("list")
    assert (status, err) == (0, "")
    for word in ("installed", "judges things", "logits, gradients", "here:a, here:b", "not installed", "'missing'"):
        assert word in out


def test_progress_waits_and_cleans_up(monkeypatch):
    import io

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with console.Progress(enabled=True, after=60) as progress:
        progress("fast")
    assert screen.getvalue() == ""
    with console.Progress(enabled=True, after=0.01) as progress:
        progress("slow \x1b[31m")
        time.sleep(0.5)
        progress("slower")
        time.sleep(0.3)
    assert "slower" in screen.getvalue() and "\x1b[31m" not in screen.getvalue()


class TestProcess:
    """What only a process of its own can show."""

    def test_help_is_quick(self, process):
        times = []
        for _ in range(3):
            start = time.perf_counter()
            assert process("--help").returncode == 0
            times.append(time.perf_counter() - start)
        assert min(times) < 0.3

    def test_help_imports_nothing_heavy(self, process):
        code = (
            "import sys; from tiecheck.conformance.cli import main; main(['run', '--help']); main(['nope']);"
            "sys.exit(sorted({'torch', 'numpy', 'rich', 'hypothesis', 'transformers', 'jinja2'} & set(sys.modules)) or 0)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def test_version(self, process):
        assert process("--version").stdout == "tiecheck 0.1.0\n"

    def test_a_closed_pipe(self, tmp_path):
        command = f"{sys.executable} -m tiecheck.conformance.cli spec 2>err | true; cat err"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path)
        assert done.stdout + done.stderr == ""

    def test_a_closed_standard_output(self, process):
        command = f"exec 1>&-; {sys.executable} -m tiecheck.conformance.cli spec"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")

    def test_a_full_disk(self, process):
        with open("/dev/full", "w") as full:
            done = process("spec", stdout=full, stderr=subprocess.PIPE, capture_output=False)
        assert done.returncode == 2 and is_one_sentence(done.stderr)

    def test_an_ascii_terminal(self, process):
        done = process("spec", env={**os.environ, "PYTHONIOENCODING": "ascii"})
        assert done.returncode == 0 and done.stderr == ""
