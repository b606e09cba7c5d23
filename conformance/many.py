"""The commands over many targets and many reports: ``matrix`` and ``compare``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .cli_options import steering
from .console import columns, say, show

if TYPE_CHECKING:
    from .matrix import Row

INTERRUPTED = 130
LEFT = "tiecheck-matrix.part.json"
"""Where an interrupted matrix leaves what was judged, where no journal is named."""


@click.command()
@click.argument("targets", metavar="[TARGET]...", nargs=-1)
@click.option(
    "--jobs", type=click.IntRange(1, 256), default=1, show_default=True, metavar="N", help="Processes at once."
)
@click.option(
    "--resume", metavar="FILE", help="Keep each row there as soon as it is known, and go on from what it holds."
)
@steering
def matrix(targets: tuple[str, ...], jobs: int, resume: str | None, quiet: bool, traceback: bool, **words: Any) -> int:
    """Judge many TARGETs side by side, each in a process of its own.

    \b
    A BACKEND's name stands for all that it has here: `hf` is every causal language model of the installed
    transformers. Without a TARGET: a choice of every backend that is installed, but for the broken demonstrations.
    Expected failures that are kept beside a backend's adapter are applied, unless a file is named.

    Exit status: the worst of the targets'. One that was found by asking a backend, and cannot be judged, is listed.
    """
    from .cli import Refused, understood
    from .errors import NotJudged
    from .matrix import expanded, judge, save
    from .outputs import check_writable, write

    expected = words["expected_failures"]
    plan, options = understood(words, targets)
    options["expected_failures"] = None if expected is None else str(Path(expected).absolute())
    journal = Path(resume).absolute() if resume else None
    try:
        if journal is not None:
            check_writable(journal)
        entries = expanded(targets)
        with _bar(len(entries), quiet) as told:
            judged, rows, finished = judge(entries, options, jobs=jobs, journal=journal, say=told)
        if not judged.reports and finished:
            raise NotJudged("nothing was judged: " + "; ".join(f"{target}: {why}" for target, why in judged.unjudged))
        if finished and plan:
            write(judged, plan)
        if not finished and journal is None and rows:
            journal = Path(LEFT).absolute()
            save(journal, options, rows)
    except (NotJudged, ValueError) as error:
        raise Refused(str(error)) from error
    from . import terminal

    show(terminal.table(judged, width=columns(), whole=not quiet))
    if finished:
        return judged.exit_status
    kept = f"; what was judged is kept: go on with --resume {journal}" if journal is not None else ""
    say(f"interrupted after {len(rows)} of {len(entries)} targets{kept}")
    return INTERRUPTED


@contextlib.contextmanager
def _bar(total: int, quiet: bool) -> Iterator[Any]:
    """Says how far a matrix is: a bar where somebody watches, else a line for each target."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from .explain import clean

    console = Console(stderr=True)
    watched = console.is_terminal and not quiet
    shown = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*shown, console=console, transient=True, disable=not watched) as progress:
        task = progress.add_task("", total=total)

        def told(target: str, row: Row | None, done: int, total: int) -> None:
            progress.update(task, completed=done, description=clean(target))
            if row is not None and not watched and not quiet:
                reports, why = row
                say(f"{done} of {total}: {target}: {why or '; '.join(report.headline for report in reports)}")

        yield told


@click.command()
@click.argument("old", metavar="OLD.json")
@click.argument("new", metavar="NEW.json")
def compare(old: str, new: str) -> int:
    """Say what got worse, and what got better, between two reports or matrices that --json wrote.

    Exit status: 0 nothing got worse, 1 something did, 2 a file is no report.
    """
    from . import terminal
    from .cli import Refused
    from .comparison import compared, read

    try:
        found = compared(read(Path(old)), read(Path(new)))
    except ValueError as error:
        raise Refused(str(error)) from error
    show(terminal.changes(found, width=columns()))
    return 1 if any(change.worse for change in found) else 0
