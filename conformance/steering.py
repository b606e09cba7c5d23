"""What steers a pytest run of ours, read as the command line reads it; and what is said around its items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import pytest

from . import __version__
from .errors import NotJudged
from .explain import clean


def steered(targets: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
    """The keywords of `Options` that were given. Raises UsageError with the sentence of the command line."""
    from . import cli
    from .declaration import parse_assumptions
    from .run import Options

    if not all(target.strip() for target in targets):
        raise pytest.UsageError("--adapter is empty; `tiecheck run --help` says what a target is")
    try:
        context = cli.run.make_context("tiecheck run", [*words, "--", "target"])
        given = {
            name: value
            for name, value in context.params.items()
            if name in Options.__dataclass_fields__
            and context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE
        }
        if "assume" in given:
            given["assume"] = parse_assumptions(given["assume"])
        Options(**given).validated()
    except click.ClickException as error:
        raise pytest.UsageError(clean(cli.sentence(error)).replace("'--", "'--tie-")) from None
    except (NotJudged, ValueError) as error:
        raise pytest.UsageError(clean(str(error))) from None
    return given


def header(targets: Sequence[str], words: Sequence[str]) -> list[str]:
    """The lines at the top of the run."""
    given = steered(targets, words)
    own = "the model's own"
    chosen = {
        "declared": given.get("declare") or "as the target declares itself",
        **{f"assuming {key}": value for key, value in given.get("assume", {}).items()},
        "profile": given.get("profile", "standard"),
        "seed": given.get("seed", 0),
        "device": given.get("device") or own,
        "dtype": given.get("dtype") or own,
    }
    for key in ("strict", "select", "deselect", "timeout", "expected_failures"):
        if given.get(key):
            value = given[key]
            chosen[key.replace("_", " ")] = ", ".join(value) if isinstance(value, tuple) else value
    line = ", ".join(f"{key} {clean(str(value))}" for key, value in chosen.items())
    judged = [f"tiecheck: judges {', '.join(clean(target) for target in dict.fromkeys(targets))}"] if targets else []
    return [*judged, f"tiecheck {__version__}: {line}"]


class Tally:
    """Counts what was judged, in the process that prints: a run in which nothing was is not green."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.seen = self.judged = 0
        self.notes: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember one item."""
        told: list[Any] = getattr(report, "tiecheck", [])
        if told:
            self.seen += 1
            self.judged += bool(told[0])
            target = report.nodeid.rpartition("::")[0].removeprefix(f"{__package__}::")
            self.notes.update(dict.fromkeys(f"{target}: {note}" for note in told[1:]))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Items, but no verdict: the status that pytest has for a run without tests."""
        if self.seen and not self.judged and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """What a reader should know with the verdict."""
        nothing = self.seen and not self.judged
        if nothing or (self.notes and self.config.option.verbose >= 0):
            terminalreporter.write_sep("-", "tiecheck")
            for note in self.notes:
                terminalreporter.write_line(clean(note))
        if nothing:
            terminalreporter.write_line(
                "nothing was judged: every requirement that was asked for was skipped", red=True
            )
