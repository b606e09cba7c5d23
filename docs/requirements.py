"""Writes the README's table of requirements from the requirements themselves: ``python docs/requirements.py``."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from tiecheck.conformance.explain import CHAPTERS, link
from tiecheck.conformance.requirement import Requirement, requirements

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- requirements: written by docs/requirements.py -->", "<!-- end of requirements -->"


def table() -> str:
    """All requirements, chapter by chapter."""
    rows = ["| requirement | level | what it states | would have caught |", "| --- | --- | --- | --- |"]
    for chapter, group in groupby(requirements(), key=lambda item: item.chapter):
        rows.append(f"| **{chapter}** | | *{CHAPTERS[chapter]}* | |")
        rows += [_row(item) for item in group]
    return "\n".join(rows)


def _row(item: Requirement) -> str:
    statement = item.statement.replace("|", "\\|")
    return f"| `{item.id}` | {item.level} | {statement} | {_link(item.bug)} |"


def _link(bug: str) -> str:
    return f"[{bug}]({link(bug)})" if link(bug) != bug else bug


def filled(readme: str) -> str:
    """The README with the table as it should be."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit("README.md has no markers for the table of requirements")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    old = README.read_text()
    new = filled(old)
    README.write_text(new)
    sys.exit(old != new)
