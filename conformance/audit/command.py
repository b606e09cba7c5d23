"""The command ``audit``: checkpoint files and folders, judged as files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ..console import columns, say, show


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1)
@click.option("--write", "out", metavar="OUT", help="Write a mended copy there, and audit that.")
@click.option("--json", "json_file", metavar="FILE", help="Write the report as JSON.")
@click.option("--junit", "junit_file", metavar="FILE", help="Write the report as JUnit XML.")
@click.option("--markdown", "markdown_file", metavar="FILE", help="Write the report for a pull request's summary.")
@click.option("--quiet", is_flag=True, help="Print the verdict only; of many paths, those that do not agree.")
def audit(paths: tuple[str, ...], out: str | None, quiet: bool, **files: Any) -> int:
    """Say whether stored tables agree with what the config claims.

    \b
    PATH is a folder (config.json beside safetensors or torch files), a file
    (.safetensors, .bin, .pt, .gguf, .onnx), a PEFT adapter's folder, or a
    folder of such folders. Nothing is built, and nothing of it is executed.

    Exit status: 0 agreement, 1 contradiction, 2 unreadable or not decidable; of many paths the worst. With --write it is
    that of the mended copy.
    """
    from ..cli import Refused
    from ..errors import NotJudged
    from ..outputs import planned, write_all
    from .rows import worst
    from .views import drawn

    if not paths:
        raise Refused("no path was given; `tiecheck audit --help` says what a path is")
    wanted = {view.removesuffix("_file"): file for view, file in files.items()}
    try:
        plan = planned(wanted, _read_by(paths))
        if out is not None:
            _check_out(paths, out)
        rows = list(_rows(paths))
        if all(row.verdict == "unreadable" for row in rows):
            raise NotJudged("; ".join(row.message for row in rows))
        if out is not None:
            from .mend import mended

            rows += mended(rows, Path(paths[0]), Path(out))
        write_all({path: _VIEWS[view](rows) for view, path in plan.items()})
    except (NotJudged, ValueError) as error:
        raise Refused(str(error)) from error
    show(drawn(rows, width=columns(), quiet=quiet))
    if out is not None:
        show(f"{rows[-1].path}: {rows[-1].notes[-1]}\n")
    for row in rows:
        if row.verdict == "unreadable":
            say(row.message)
        elif row.verdict == "not decidable":
            say(f"{row.path} cannot be decided: {row.message}")
    return rows[-1].exit_status if out is not None else worst(rows)


def _rows(paths: tuple[str, ...]) -> Iterator[Any]:
    """A row for each checkpoint; what cannot be read is one too."""
    from . import rows

    for path in paths:
        yield from rows_of(Path(path)) if path else [rows.Row("", "", "unreadable", "the path is empty")]


def rows_of(path: Path) -> list[Any]:
    """The rows of one path; never raises for what is in a file."""
    from .checkpoint import units
    from .rows import Row
    from .safely import said
    from .tensors import Unreadable
    from .verdict import judged

    try:
        found = units(path)
    except Unreadable as error:
        return [Row(str(path), "", "unreadable", str(error))]
    made = []
    for unit in found:
        try:
            made.append(judged(unit.read()))
        except Unreadable as error:
            made.append(Row(str(unit.path), unit.kind, "unreadable", str(error)))
        except (MemoryError, RecursionError, OSError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            made.append(Row(str(unit.path), unit.kind, "unreadable", f"{said(unit.path)} cannot be read: {why}"))
    return made


def _read_by(paths: tuple[str, ...]) -> list[Path]:
    """What a report may not replace: the files named, and what stands in the folders named."""
    read = []
    for path in map(Path, filter(None, paths)):
        try:
            read += [path, *(path.iterdir() if path.is_dir() else ())]
        except (OSError, ValueError):
            continue
    return read


def _check_out(paths: tuple[str, ...], out: str) -> None:
    from ..errors import NotJudged

    if len(paths) != 1:
        raise NotJudged("--write mends one checkpoint at a time")
    target = Path(out)
    if not out or target.is_symlink() or target.exists():
        raise NotJudged(f"--write needs the name of a folder that does not exist yet, and {out!r} is none")
    source = Path(paths[0]).resolve()
    if source.is_dir() and target.absolute().resolve().is_relative_to(source):
        raise NotJudged(f"--write makes a copy beside the original, and {out!r} lies inside it")


def _json(rows: list[Any]) -> str:
    from .rows import document

    return json.dumps(document(rows), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _markdown(rows: list[Any]) -> str:
    from .views import markdown

    return markdown(rows)


def _junit(rows: list[Any]) -> str:
    from .views import junit

    return junit(rows)


_VIEWS = {"json": _json, "markdown": _markdown, "junit": _junit}
