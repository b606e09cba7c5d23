"""The command line: ``run``, ``spec`` and ``list``, and where the others hang. Nothing heavy is imported before a command needs it.

Exit statuses: 0 conforms, 1 does not, 2 nothing was judged (bad input, one sentence on standard error), 3 a defect of
tiecheck itself, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import __version__, many
from .audit.command import audit
from .cli_options import steering
from .console import Progress, abandon_stdout, columns, leave, say, show, stdout_is_stderr, trace

if TYPE_CHECKING:
    from .expectations import Expectations
    from .report import Both, Report

CONFORMS, FAILS, NOT_JUDGED, DEFECT, INTERRUPTED = 0, 1, 2, 3, 130


class Refused(click.ClickException):
    """Bad input; the one sentence that says what is wrong with it."""


class _Commands(click.Group):
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if not word.startswith("-") and self.get_command(ctx, word) is None:
            names = self.list_commands(ctx)
            raise Refused(f"there is no command {word!r}{_near(word, names)}; the commands are {', '.join(names)}")
        return super().resolve_command(ctx, args)


def _near(word: str, known: Sequence[str]) -> str:
    from .explain import nearest

    hit = nearest(word, known)
    return f" (did you mean {hit!r}?)" if hit else ""


@click.group(
    name="tiecheck",
    cls=_Commands,
    no_args_is_help=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="tiecheck", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Does a language model that claims tied input and output embeddings keep what that promises?

    A tied model uses one matrix both to look tokens up and to turn its last hidden state into logits.

    Exit status: 0 conforms, 1 does not, 2 nothing could be judged, 3 a defect of tiecheck.
    """
    if context.invoked_subcommand is None:
        raise Refused("no command was given; `tiecheck --help` lists them")


@cli.command()
@click.argument("target")
@steering
def run(target: str, quiet: bool, traceback: bool, **words: Any) -> int:
    """Judge TARGET against the specification.

    \b
    TARGET is one of
      reference               the reference model
      FILE.py:FACTORY         a function, a Module class or a Module in a file
      package.module:FACTORY  the same in an importable module
      hf:MODEL_TYPE           a Hugging Face architecture: tiny, random, offline
      hf:PATH, hf:OWNER/NAME  real weights
      demo:NAME               a broken model of ours
      BACKEND:NAME            what `tiecheck list` shows

    \b
    A factory whose keyword decides whether its model is tied (True ties) is built as
    --declare says, and without it as its default says. A keyword `tied` is found;
    any other is named behind an @:
      FILE.py:FACTORY@KEYWORD, package.module:FACTORY@KEYWORD
    """
    from .errors import NotJudged

    if not target.strip():
        raise Refused("the target is empty; `tiecheck run --help` says what a target is")
    plan, options = understood(words, [target])
    try:
        with Progress(enabled=not quiet) as progress, stdout_is_stderr():
            from .run import run_target

            judged = run_target(target, **options, progress=progress)
    except NotJudged as error:
        trace(error, traceback)
        raise Refused(str(error) or "the target could not be judged") from error
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:  # never let a target choose our exit status
        from .errors import sentence as said

        trace(error, traceback)
        raise Refused(f"{target} raised {said(error)} instead of giving a model") from error
    return _deliver(judged, plan, quiet)


def understood(words: dict[str, Any], targets: Sequence[str]) -> tuple[dict[str, Path], dict[str, Any]]:
    """Where the reports go, and the options of a run, from the words of the command line."""
    from .declaration import parse_assumptions

    options = dict(words)
    with _said(ValueError):
        options["assume"] = parse_assumptions(options["assume"])
    files = {view: options.pop(f"{view}_file") for view in ("json", "junit", "html", "markdown")}
    plan = _plan(files, targets, options["expected_failures"])
    options["expected_failures"] = _expectations(options["expected_failures"])
    _check_selection(options["select"], options["deselect"])
    return plan, options


def _plan(files: dict[str, str | None], targets: Sequence[str], expected_failures: str | None) -> dict[str, Path]:
    """Where the reports go; refused now where one could not be written later, or would overwrite what is read."""
    if not any(file is not None for file in files.values()):
        return {}
    from .outputs import planned

    code = [Path(target.rpartition(":")[0]) for target in targets]
    read = [file for file in code if file.suffix == ".py"]
    read += [Path(expected_failures)] if expected_failures else []
    with _said(ValueError):
        return planned(files, read)


def _expectations(file: str | None) -> Expectations | None:
    if file is None:
        return None
    from .errors import NotJudged
    from .expectations import load

    with _said(NotJudged):
        return load(file)


def _check_selection(select: tuple[str, ...], deselect: tuple[str, ...]) -> None:
    if not select and not deselect:
        return
    from .explain import lookup
    from .requirement import matching, requirements

    with _said(LookupError):
        for word in (*select, *deselect):
            lookup(word)
    chosen = matching(select) if select else {item.id for item in requirements()}
    if not chosen - matching(deselect):
        raise Refused("the selection leaves no requirement to judge")


def _deliver(judged: Report | Both, plan: dict[str, Path], quiet: bool) -> int:
    """Write the reports, print one, and say how it ended."""
    from . import terminal
    from .report import reports, unjudged

    if not reports(judged):
        raise Refused("nothing was judged: " + "; ".join(f"{name}: {why}" for name, why in unjudged(judged)))
    status = judged.exit_status
    if plan:
        from .outputs import write

        with _said(ValueError):
            write(judged, plan)
    shown = terminal.headlines if quiet else terminal.drawn
    try:
        show(shown(judged, width=columns()))
    except OSError as error:  # a full disk behind `>`: the verdict stands
        say(f"cannot write to standard output: {error.strerror or error}")
    return status


@cli.command()
@click.argument("word", metavar="[ID_OR_CHAPTER]", required=False)
def spec(word: str | None) -> int:
    """Show the requirements: all, one chapter's, or one in full."""
    from . import explain, terminal

    with _said(LookupError):
        chosen = explain.lookup(word) if word is not None else None
    show(terminal.specification(chosen, width=columns()))
    return 0


@cli.command(name="list")
def list_backends() -> int:
    """Show the backends, and what each can be asked here."""
    from . import terminal

    with stdout_is_stderr():
        rows = _backends()
    show(terminal.backends(rows, width=columns()))
    return 0


def _backends() -> list[Any]:
    """What every registered adapter says of itself; one that cannot is listed with the reason."""
    from .errors import sentence as said
    from .protocol import Backend, adapters

    rows = []
    for name, point in adapters().items():
        try:
            rows.append(point.load().backend())
        except (Exception, SystemExit) as error:  # somebody else's adapter, perhaps: the others are listed all the same
            rows.append(Backend(name, f"cannot be used here: {said(error)}", False, ()))
    return rows


cli.add_command(many.matrix)
cli.add_command(many.compare)
cli.add_command(audit)


@contextlib.contextmanager
def _said(*kinds: type[Exception]) -> Iterator[None]:
    """Say such an exception as bad input."""
    try:
        yield
    except kinds as error:
        raise Refused(str(error.args[0] if error.args else error)) from error


def sentence(error: click.ClickException) -> str:
    """Click's message as the end of a sentence: no capital, no full stop."""
    if isinstance(error, click.NoSuchOption):
        known = [word for item in error.ctx.command.params for word in item.opts] if error.ctx else []
        return f"there is no option {error.option_name!r}{_near(error.option_name, known)}"
    text = error.format_message().strip().removesuffix(".")
    if isinstance(error, click.UsageError) and text[:1].isupper():
        text = text[0].lower() + text[1:]
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status.

    Click's own ``main`` is not used: it has ways of its own with interrupts, ends of file and pipes.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with cli.make_context("tiecheck", words.copy()) as context:
            outcome = cli.invoke(context)
        return outcome if isinstance(outcome, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        say(sentence(error))
        return NOT_JUDGED
    except KeyboardInterrupt:
        say("interrupted; nothing was judged")
        return INTERRUPTED
    except BrokenPipeError:
        abandon_stdout()
        return 0
    except OSError as error:
        if _is_run(words) or error.filename is not None:
            return _defect(error, words)
        say(f"cannot write to standard output: {error.strerror or error}")
        return NOT_JUDGED
    except Exception as error:
        return _defect(error, words)


def entry() -> None:
    """The console script: `main`, and then the end of the process."""
    status = main()
    if _is_run(sys.argv[1:]):
        leave(status)
    sys.exit(status)


def _is_run(words: Sequence[str]) -> bool:
    return bool({"run", "matrix"} & set(words[:1]))


def _defect(error: Exception, words: Sequence[str]) -> int:
    wanted = "--traceback" in words
    trace(error, wanted)
    from .errors import sentence as said

    hint = "" if wanted else "; `--traceback` shows where" if _is_run(words) else ""
    say(f"this is a defect of tiecheck, not of the model: {said(error)}{hint}")
    return DEFECT


if __name__ == "__main__":
    entry()
