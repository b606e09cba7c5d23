"""Rows as people and pipelines read them: a table in a terminal, Markdown, JUnit."""

from __future__ import annotations

import io
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ..errors import clean
from ..junit import _legal
from ..markdown import LIMIT, _code
from .rows import Row
from .safely import size

STYLES = {"agreement": "green", "contradiction": "bold red", "not decidable": "yellow", "unreadable": "bold magenta"}
HEADS = ("verdict", "checkpoint", "claims", "holds", "waste", "what was found")


def cells(row: Row) -> tuple[str, ...]:
    """The columns of a row, as they are written by hand."""
    claim = {True: "tied", False: "untied", None: "nothing"}[row.claim.tied]
    waste = size(row.wasted) if row.wasted else ""
    mend = f"; mend: {row.mended}" if row.mend and row.verdict == "contradiction" else ""
    return row.verdict, row.path, claim, row.state, waste, row.message + mend


def summary(rows: Sequence[Row]) -> str:
    """``8 agree, 1 contradicts itself, 1 not decidable``."""
    words = {"agreement": "agree", "contradiction": "contradict themselves", "not decidable": "not decidable"}
    counts = {word: sum(row.verdict == verdict for row in rows) for verdict, word in words.items()}
    counts["unreadable"] = sum(row.verdict == "unreadable" for row in rows)
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def drawn(rows: Sequence[Row], *, width: int | None, quiet: bool = False) -> str:
    """One row in full; many as a table, one line each."""
    if len(rows) == 1:
        return _text([_head(rows[0])] if quiet else _whole(rows[0]), width)
    table = _grid(len(HEADS))
    table.add_row(*(Text(head, "bold") for head in HEADS))
    for row in rows:
        if quiet and row.verdict == "agreement":
            continue
        first, *rest = map(clean, cells(row))
        table.add_row(Text(first, STYLES[row.verdict]), *map(Text, rest))
    return _text([table, Text(), Text(summary(rows), "bold")], width)


def _head(row: Row) -> Text:
    return Text(row.verdict, STYLES[row.verdict]).append(clean(f": {row.message}  ({row.path})"), "not bold default")


def _whole(row: Row) -> list[RenderableType]:
    table = _grid(2)
    for level in row.claim.levels:
        table.add_row("  config", Text(clean(f"{level.key}: {level.value!r:.80} at {level.path}")))
    if row.claim.obeyed:
        table.add_row("  obeyed", Text(clean(row.claim.obeyed)))
    for item in row.tables:
        t = item.tensor
        text = f"{t.name}  {' x '.join(map(str, item.stored))} {t.dtype}, {size(t.nbytes)}, in {t.file.name} (by {item.by})"
        table.add_row(f"  {item.role}", Text(clean(text)))
    if row.comparison is not None:
        table.add_row("  compared", Text(clean(row.comparison.detail)))
    if row.wasted:
        table.add_row("  waste", Text(f"{size(row.wasted)} for a second copy"))
    for loader in row.loaders:
        table.add_row(f"  {loader.name}", Text(clean(f"{loader.outcome}: {loader.says}")))
    if row.mend:
        table.add_row("  mend", Text(clean(row.mended), "bold"))
    notes: list[RenderableType] = [Text(clean(f"note: {note}")) for note in row.notes]
    return [_head(row), *([table] if table.row_count else []), *notes]


def markdown(rows: Sequence[Row]) -> str:
    """A table for the summary of a pull request."""
    mark = "✅" if all(row.verdict == "agreement" for row in rows) else "❌"
    text = f"### {mark} {summary(rows)}\n\n| {' | '.join(HEADS)} |\n|{' --- |' * len(HEADS)}\n"
    size_now = len(text.encode())
    for number, row in enumerate(rows):
        line = "| " + " | ".join(_code(cell) if cell else "" for cell in cells(row)) + " |\n"
        size_now += len(line.encode("utf-8", "backslashreplace"))
        if size_now > LIMIT - 200:
            return f"{text}\n({len(rows) - number} more checkpoints left out here; the other reports have all)\n"
        text += line
    return text


def junit(rows: Sequence[Row]) -> str:
    """A suite with a case for each checkpoint; what cannot be decided or read is an error."""
    suite = ET.Element("testsuite", {"name": "tiecheck audit", "tests": str(len(rows)), "time": "0.000000"})
    for row in rows:
        case = ET.SubElement(suite, "testcase", {"classname": row.format, "name": _legal(row.path), "time": "0.000000"})
        if row.verdict != "agreement":
            tag = "failure" if row.verdict == "contradiction" else "error"
            found = ET.SubElement(case, tag, {"message": _legal(row.message), "type": row.verdict})
            found.text = _legal(f"mend: {row.mended}") if row.mend else None
    counts = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    totals = {key: str(sum(case.find(tag) is not None for case in suite)) for key, tag in counts.items()}
    for key, value in totals.items():
        suite.set(key, value)
    root = ET.Element("testsuites", {"name": "tiecheck", "tests": str(len(rows)), **totals, "time": "0.000000"})
    root.append(suite)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _grid(columns: int) -> Table:
    table = Table.grid(padding=(0, 2))
    for _ in range(columns):
        table.add_column(overflow="fold")
    return table


def _text(parts: Sequence[RenderableType], width: int | None) -> str:
    buffer = io.StringIO()
    console = Console(
        file=buffer, force_terminal=width is not None, no_color=width is None, width=width or 1_000_000, highlight=False
    )
    for part in parts:
        console.print(part, markup=False)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"
