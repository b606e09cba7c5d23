"""``parametrize_with_requirements``: the specification inside somebody's own test file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tiecheck.conformance
from tiecheck.conformance.requirement import requirements

if TYPE_CHECKING:
    from .conftest import Run

IDS = [item.id for item in requirements()]
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "pytest.md"
HEAD = """
import pytest
from tiecheck.conformance import Declaration, parametrize_with_requirements
from mine import Dead, Tied, Untied, broken
"""


def test_one_test_a_requirement_one_run_a_factory(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        HEAD
        + """
@parametrize_with_requirements(Tied, profile="quick")
class TestTied:
    def test_called(self, requirement):
        requirement()

    @pytest.mark.parametrize("more", [1])
    def test_with_others(self, requirement, more, tmp_path):
        assert requirement.level in ('MUST', 'SHOULD') and requirement.statement.endswith('.')
        requirement()
"""
    )
    listed = run("--collect-only", "-q").outlines
    module = "test_one_test_a_requirement_one_run_a_factory.py"
    for id in IDS:
        assert f"{module}::TestTied::test_called[{id}[cpu-float32]]" in listed
    Path("built.txt").unlink()
    result = run("-W", "ignore", "-k", "storage")
    result.assert_outcomes(passed=10, deselected=2 * len(IDS) - 10)
    assert Path("built.txt").read_text() == "built built "  # to know its dtype, and to judge it


def test_a_requirement_that_is_not_called_is_asked_all_the_same(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        HEAD
        + """
@parametrize_with_requirements(Untied, profile="quick", select="storage")
def test_tied(requirement): ...
"""
    )
    result = run("-W", "ignore", "-q")
    assert result.parseoutcomes()["failed"] == 2
    assert result.parseoutcomes()["passed"] == 3


def test_a_failure_is_the_explanation_and_no_frame(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        HEAD
        + """
@parametrize_with_requirements(Untied, profile="quick")
def test_tied(requirement):
    requirement()
"""
    )
    result = run("-W", "ignore", "-k", "one-memory")
    out = result.stdout.str()
    for part in (
        "two separate matrices instead of one [two-matrices]",
        "\n  fix ",
        "\n  states ",
        "run it again: pytest ",
    ):
        assert part in out
    for frame in ("Traceback", "asked.py", "requirement()", "Unmet"):
        assert frame not in out
    result.assert_outcomes(failed=1, deselected=len(IDS) - 1)


def test_models_strings_lists_and_declarations(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        HEAD
        + """
@parametrize_with_requirements([Tied, Tied(), "demo:sound"], profile="quick", select="storage")
def test_several(requirement):
    requirement()

@parametrize_with_requirements(Untied, "untied", profile="quick")
def test_untied(requirement):
    requirement()

@parametrize_with_requirements("reference", declare="both", profile="quick")
def test_both(requirement):
    requirement()
"""
    )
    result = run("-W", "ignore", "-v")
    assert result.ret == 0
    for name in ("Tied0-", "Tied1-", "demo:sound-"):
        result.stdout.fnmatch_lines_random(f"*::test_several[[]{name}storage.one-memory[[]cpu-float32]] PASSED*")
    for word in ("tied", "untied"):
        result.stdout.fnmatch_lines_random(f"*::test_both[[]storage.one-memory[[]cpu-float32-{word}]] PASSED*")


def test_the_command_line_steers_and_does_not_declare(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        HEAD
        + """
@parametrize_with_requirements(Dead, profile="standard", seed=1)
def test_dead(requirement):
    options = requirement.judging.options
    assert (options.profile, options.seed) == ("quick", 5)
    requirement()
"""
    )
    words = ("-W", "ignore", "-k", "dead-table", "--tie-profile", "quick", "--tie-seed", "5")
    loose = run(*words)
    loose.assert_outcomes(xfailed=1, deselected=len(IDS) - 1)
    loose.stdout.fnmatch_lines("tiecheck *: *profile quick, seed 5*")
    run(*words, "--tie-strict").assert_outcomes(failed=1, deselected=len(IDS) - 1)
    assert run(*words, "--tie-declare", "untied").ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize(
    ("decorated", "said"),
    [
        (
            "(Tied)\ndef test_it(): ...",
            "test_it is under parametrize_with_requirements, so it needs an argument called",
        ),
        (
            "(broken)\ndef test_it(requirement): ...",
            "test_it: broken failed to build: RuntimeError: the weights are gone",
        ),
        ("(Tied, profile='slow')\ndef test_it(requirement): ...", "test_it: 'slow' is no profile"),
        ("(Tied, colour='red')\ndef test_it(requirement): ...", "unexpected keyword argument 'colour'"),
        ("('nowhere')\ndef test_it(requirement): ...", "test_it: 'nowhere' is no target"),
        ("([])\ndef test_it(requirement): ...", "was given no model"),
        ("(Tied, 3)\ndef test_it(requirement): ...", "or a Declaration"),
    ],
)
def test_nonsense_is_a_sentence(run: Run, pytester: pytest.Pytester, decorated: str, said: str) -> None:
    pytester.makepyfile(HEAD + f"\n@parametrize_with_requirements{decorated}\n")
    result = run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert said in result.stdout.str()
    for frame in ("Traceback", "parametrize.py:", "items.py:"):
        assert frame not in result.stdout.str()


def test_skips_and_expected_failures_of_the_project_stand(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        HEAD
        + """
@pytest.mark.skip(reason="not today")
@parametrize_with_requirements(Tied, device="cpu", dtype="float32")
def test_skipped(requirement):
    requirement()

@pytest.mark.xfail(reason="known", strict=False)
@parametrize_with_requirements(Untied, profile="quick")
def test_known(requirement):
    requirement()

@parametrize_with_requirements(Untied, profile="quick")
def test_turned(requirement):
    with pytest.raises(AssertionError, match="two matrices"):
        requirement()
"""
    )
    result = run("-W", "ignore", "-k", "one-memory", "-rs")
    result.assert_outcomes(skipped=1, xfailed=1, passed=1, deselected=3 * len(IDS) - 3)
    assert len(Path("built.txt").read_text().split()) == 4  # the first was neither built nor judged


def test_the_file_in_the_documentation(run: Run, pytester: pytest.Pytester) -> None:
    block = DOCUMENTATION.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    pytester.makepyfile(mymodel="from mine import Tied as build_model", test_documented=block)
    result = run("-W", "ignore")
    assert result.ret == 0
    assert result.parseoutcomes()["passed"] > 20
    words = ("--pyargs", "tiecheck.conformance", "--adapter", "mymodel.py:build_model", "--tie-profile", "quick", "-v")
    line = "tiecheck.conformance::mymodel.py:build_model::storage.one-memory[[]cpu-float32] PASSED*"
    run("-W", "ignore", *words).stdout.fnmatch_lines(line)


def test_the_name_is_exported_lazily() -> None:
    assert "parametrize_with_requirements" in tiecheck.conformance.__all__
    assert callable(tiecheck.conformance.parametrize_with_requirements)
