"""The pytest plugin: ``pytest --pyargs tiecheck.conformance --adapter TARGET``."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tiecheck.conformance.run
from tiecheck.conformance import check
from tiecheck.conformance.report import Both
from tiecheck.conformance.requirement import requirements

if TYPE_CHECKING:
    from .conftest import Run

OURS = ("--pyargs", "tiecheck.conformance")
QUICK = ("--tie-profile", "quick")
IDS = [item.id for item in requirements()]


def ids(result: pytest.RunResult) -> list[str]:
    """What ``--collect-only -q`` lists."""
    return [line for line in result.outlines if line.startswith("tiecheck.conformance::")]


def text(result: pytest.RunResult) -> str:
    """All that was printed."""
    return result.stdout.str() + result.stderr.str()


def test_one_item_a_requirement_with_device_and_dtype(run: Run) -> None:
    result = run(*OURS, "--adapter", "demo:sound", "--collect-only", "-q")
    assert ids(result) == [f"tiecheck.conformance::demo:sound::{id}[cpu-float32]" for id in IDS]
    assert result.ret == 0


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("mine.py:Mixed",), "cpu-bfloat16"),
        (("mine.py:Tied", "--tie-dtype", "float64"), "cpu-float64"),
        (("numpy:gpt",), "cpu-float64"),
    ],
)
def test_the_dtype_is_that_of_the_table(run: Run, words: tuple[str, ...], place: str) -> None:
    result = run(*OURS, "--adapter", *words, "--collect-only", "-q")
    assert ids(result)[0].endswith(f"[{place}]")


def test_nothing_is_built_to_list_what_is_named_whole(run: Run) -> None:
    place = ("--tie-dtype", "float32", "--tie-device", "cpu")
    result = run(*OURS, "--adapter", "mine.py:Tied", *place, "--collect-only", "-q")
    assert len(ids(result)) == len(IDS)
    assert not Path("built.txt").exists()


def test_declared_both_and_several_targets(run: Run) -> None:
    adapters = ("--adapter", "reference", "--adapter", "reference:gpt", "--adapter", "reference")
    seen = ids(run(*OURS, *adapters, "--tie-declare", "both", "--collect-only", "-q"))
    assert len(set(seen)) == len(seen) == 4 * len(IDS)
    for target in ("reference", "reference:gpt"):
        for word in ("tied", "untied"):
            assert f"tiecheck.conformance::{target}::storage.one-memory[cpu-float32-{word}]" in seen


def test_evidence_is_gathered_once(run: Run) -> None:
    result = run(*OURS, "--adapter", "mine.py:Tied", *QUICK)
    assert result.parseoutcomes()["passed"] > 20
    assert "failed" not in result.parseoutcomes()
    assert Path("built.txt").read_text() == "built built "  # to know its dtype, and to judge it


def test_the_same_verdicts_as_the_command_line(run: Run) -> None:
    report = check("demo:two-matrices", profile="quick")
    result = run(*OURS, "--adapter", "demo:two-matrices", *QUICK, "-v")
    words = {"pass": "PASSED", "fail": "FAILED", "skip": "SKIPPED"}
    for entry in report.results:
        result.stdout.fnmatch_lines_random(f"*::{entry.id}[[]cpu-float32] {words[entry.verdict]}*")
    assert result.ret == 1


def test_a_failure_is_the_explanation_and_no_frame(run: Run) -> None:
    cause = check("demo:two-matrices", profile="quick").diagnosis[0]
    result = run(*OURS, "--adapter", "demo:two-matrices", *QUICK, "-k", "one-memory")
    out = text(result)
    for part in (cause.explanation, cause.fix, cause.cause, "  states ", "  numbers ", "seen by"):
        assert part in out
    for frame in ("Traceback", "plugin.py", "asked.py", "def __call__", "Unmet"):
        assert frame not in out
    again = next(line for line in result.outlines if line.startswith("run it again: pytest "))
    repeated = run(*shlex.split(again)[4:])
    repeated.assert_outcomes(failed=1, deselected=len(IDS) - 1)
    assert cause.explanation in text(repeated)


def test_a_should_that_fails_is_shown_and_does_not_fail_the_run(run: Run) -> None:
    words = (*OURS, "--adapter", "mine.py:Dead", *QUICK, "-k", "count", "-rx")
    result = run(*words)
    assert (result.ret, result.parseoutcomes()["xfailed"]) == (0, 1)
    result.stdout.fnmatch_lines("XFAIL *count.no-dead-table* - SHOULD fails: dead has the table's shape*")
    strict = run(*words, "--tie-strict")
    assert (strict.ret, strict.parseoutcomes()["failed"]) == (1, 1)


def test_a_skip_says_which_and_why(run: Run) -> None:
    result = run(*OURS, "--adapter", "mine.py:Tied", *QUICK, "--tie-select", "storage", "-rs")
    result.assert_outcomes(passed=5, skipped=len(IDS) - 5)
    result.stdout.fnmatch_lines("SKIPPED [[]1] count.own-count: not selected")


def test_what_steers_the_run_is_in_the_header(run: Run) -> None:
    words = ("--tie-seed", "7", "--tie-assume", "input_scale=sqrt(D)", *QUICK, "--tie-dtype", "float64")
    result = run(*OURS, "--adapter", "demo:sound", *words, "--collect-only")
    result.stdout.fnmatch_lines("tiecheck: judges demo:sound")
    result.stdout.fnmatch_lines("tiecheck *assuming input_scale sqrt(D), profile quick, seed 7, *dtype float64*")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*OURS,), "add --adapter TARGET"),
        (("--adapter", "demo:sound"), "add --pyargs tiecheck.conformance"),
        (("tiecheck.conformance", "--adapter", "demo:sound"), "named without --pyargs"),
        ((*OURS, "--adapter", " "), "--adapter is empty"),
        (("--tie-declare", "tied"), "go with --adapter"),
        (("--tie-dtype", "float17"), "'--tie-dtype': 'float17' is not one of"),
        (("--tie-profile", "slow"), "'slow' is not one of"),
        (("--tie-declare", "maybe"), "'maybe' is not one of"),
        (("--tie-device", "gpu"), "'gpu' is not cpu, cuda or cuda:N"),
        (("--tie-seed", "-1"), "'--tie-seed'"),
        (("--tie-timeout", "0"), "not a number of seconds above zero"),
        (("--tie-select", "nowhere"), "'nowhere' names no requirement"),
        (("--tie-deselect", "storage", "--tie-select", "storage"), "leaves no requirement"),
        (("--tie-assume", "input_scael=2"), "did you mean input_scale?"),
    ],
)
def test_nonsense_is_a_usage_error_in_one_sentence(run: Run, words: tuple[str, ...], said: str) -> None:
    result = run(*words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said in result.stderr.str()
    assert len(result.stderr.str().strip().splitlines()) == 1
    assert "Traceback" not in text(result)


@pytest.mark.parametrize(
    ("target", "words", "said"),
    [
        ("nowhere", (), "'nowhere' is no target"),
        ("mine.py:broken", (), "mine.py:broken failed to build: RuntimeError: the weights are gone"),
        ("demo:sound", ("--tie-declare", "both"), "demo:sound has no tie flag to turn"),
        ("numpy:gpt", ("--tie-dtype", "float16"), "on cpu in float64"),
    ],
)
def test_a_target_that_cannot_be_built(run: Run, target: str, words: tuple[str, ...], said: str) -> None:
    result = run(*OURS, "--adapter", target, *words)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.assert_outcomes(errors=1)
    assert said in text(result)
    assert "Traceback" not in text(result)


def test_what_cannot_be_judged_is_said_once_and_is_not_green(run: Run) -> None:
    result = run(*OURS, "--adapter", "mine.py:one_token", *QUICK)
    result.assert_outcomes(errors=1, skipped=len(IDS) - 1)
    assert result.ret == 1
    assert "\nnot judged: mine.py:one_token: the vocabulary has one token" in text(result)
    assert "Traceback" not in text(result)


def test_a_run_in_which_nothing_is_judged_is_not_green(run: Run) -> None:
    result = run(*OURS, "--adapter", "mine.py:Tied", *QUICK, "-k", "own-count")
    result.assert_outcomes(skipped=1, deselected=len(IDS) - 1)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines("nothing was judged: *")


def test_a_defect_of_ours_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def crashes(*words: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(tiecheck.conformance.run, "judge", crashes)
    words = (*OURS, "--adapter", "mine.py:Tied", "-k", "storage")
    result = run(*words)
    result.assert_outcomes(errors=1, skipped=4, deselected=len(IDS) - 5)
    assert "this is a defect of tiecheck, not of the model: ZeroDivisionError: ours" in text(result)
    assert "in crashes" not in text(result)
    assert "crashes" in text(run(*words, "--full-trace"))


def test_a_refused_value_of_the_flag_is_skipped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = Both((check("reference", profile="quick"),), (("reference (untied)", "it refuses to be untied"),))
    monkeypatch.setattr(tiecheck.conformance.run, "judge", lambda *words: refusing)
    result = run(*OURS, "--adapter", "reference", "--tie-declare", "both", "-k", "storage", "-rs")
    result.assert_outcomes(passed=5, skipped=5, deselected=2 * len(IDS) - 10)
    assert result.ret == 0
    result.stdout.fnmatch_lines("SKIPPED * not judged: it refuses to be untied")


def test_a_target_that_leaves_the_process(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(leaves="def make():\n    raise SystemExit(0)")
    where = ("--tie-device", "cpu", "--tie-dtype", "float32")  # so that nothing is built to find out
    result = run(*OURS, "--adapter", "leaves.py:make", *where, "-k", "one-memory")
    assert result.ret == 1
    assert "failed to build: SystemExit: 0" in text(result)


def test_a_project_of_somebody_else(run: Run, pytester: pytest.Pytester) -> None:
    for folder in ("conformance", "adapters", "tests"):
        pytester.mkpydir(folder)
    pytester.makepyfile(
        **{"adapters/theirs": "from mine import Tied as build", "tests/foo_own": "def check_it(): pass"}
    )
    pytester.makepyfile(test_untouched="raise RuntimeError('not asked for')")
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(autouse=True)
        def always():
            pass

        def pytest_collection_modifyitems(items):
            assert all("gpu" not in item.fixturenames for item in items)
        """
    )
    pytester.makeini(
        """
        [pytest]
        python_files = foo_*.py
        python_functions = check_*
        filterwarnings = error
        addopts = --strict-markers --strict-config --import-mode=importlib
        """
    )
    judged = run(*OURS, "--adapter", "adapters.theirs:build", *QUICK)
    assert judged.parseoutcomes()["passed"] + judged.parseoutcomes()["skipped"] == len(IDS)
    assert judged.ret == 0
    together = run("tests", *OURS, "--adapter", "adapters.theirs:build", *QUICK, "-k", "storage or check_it")
    together.assert_outcomes(passed=6, deselected=len(IDS) - 5, warnings=together.parseoutcomes().get("warnings", 0))
    run("tests").assert_outcomes(passed=1)


def test_what_failed_is_found_again(run: Run) -> None:
    words = (*OURS, "--adapter", "demo:two-matrices", *QUICK, "-q")
    assert run("-p", "cacheprovider", *words).parseoutcomes()["failed"] == 2
    again = run("-p", "cacheprovider", *words, "--lf")
    again.assert_outcomes(failed=2, deselected=len(IDS) - 2)


def test_a_project_with_an_option_of_that_name(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeconftest("def pytest_addoption(parser): parser.addoption('--adapter')")
    pytester.makepyfile("def test_theirs(pytestconfig): assert pytestconfig.getoption('adapter') == 'theirs'")
    run("--adapter", "theirs").assert_outcomes(passed=1)


def test_under_xdist_one_process_judges_a_target(run: Run) -> None:
    pytest.importorskip("xdist")
    targets = ("--adapter", "demo:two-matrices", "--adapter", "mine.py:Tied")
    result = run("-n", "2", *OURS, *targets, *QUICK, "-q")
    seen = result.parseoutcomes()
    assert seen["passed"] + seen["skipped"] + seen["failed"] == 2 * len(IDS)
    assert seen["failed"] == 2
    assert Path("built.txt").read_text() == "built built built "  # each process collects, one judges
    assert "two separate matrices instead of one" in text(result)
    assert "mine.py:Tied" in text(result)
    assert "Traceback" not in text(result)


def test_under_xdist_the_verdicts_hang_on_no_way_to_share_them_out(run: Run) -> None:
    pytest.importorskip("xdist")
    words = ("-n", "2", "--dist", "worksteal", *OURS, "--adapter", "demo:two-matrices", *QUICK, "-k", "storage")
    run(*words).assert_outcomes(passed=3, failed=2)


def test_where_nobody_asks_nothing_is_loaded_and_nothing_changes(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_theirs():
            heavy = {"torch", "numpy", "click", "rich", "transformers", "tiecheck.conformance.run"}
            assert not heavy & set(sys.modules)
            assert "tiecheck.conformance.plugin" in sys.modules
        """
    )
    # hypothesis and others load what they like
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    plugins = re.compile(r"^plugins: .*$", re.MULTILINE)
    assert "tiecheck" not in plugins.sub("", text(result))


def test_what_is_expected_to_fail_does_not_fail_the_run(pytester: pytest.Pytester) -> None:
    def run(entries: str) -> pytest.RunResult:
        pytester.path.joinpath("expected.toml").write_text(entries)
        steering = ("--tie-profile", "quick", "--tie-expected-failures", "expected.toml")
        return pytester.runpytest_subprocess(
            "-p", "no:cacheprovider", "--pyargs", "tiecheck.conformance", "--adapter", "demo:two-matrices", *steering
        )

    known = "".join(
        f'[[expected]]\nid = "{id}"\nreason = "known"\n' for id in ("storage.one-memory", "storage.write-through")
    )
    result = run(known)
    assert result.ret == 0 and "xfailed" in text(result)
    stale = run(known + '[[expected]]\nid = "lookup.one-hot"\nreason = "gone"\n')
    assert stale.ret == 1 and "expected to fail" in text(stale)
    unknown = run(known + '[[expected]]\nid = "storage.no-such"\nreason = "typo"\n')
    assert unknown.ret == 1 and "storage.no-such" in text(unknown)
    broken = run("[[expected")
    assert broken.ret == 4 or "expected.toml" in text(broken)


def test_a_device_that_is_not_here_skips_every_item(pytester):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    words = (
        "--pyargs",
        "tiecheck.conformance",
        "--adapter",
        "reference",
        "--tie-device",
        "cuda",
        "--tie-dtype",
        "bfloat16",
    )
    result = pytester.runpytest_subprocess(*words, "-rs")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["SKIPPED * storage.one-memory: the device cuda was asked for, but torch sees no CUDA device*"]
    )
    assert not result.parseoutcomes().get("passed")
