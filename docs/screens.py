"""Runs ``tiecheck run`` and draws what it prints as the README's pictures: ``python docs/screens.py``.

A picture shows the top of the output as on a terminal of 104 columns; of file names, the folder that the package lies
in is cut.
"""

from __future__ import annotations

import dataclasses
import io
import os
from pathlib import Path
from typing import Any

SCREENS = {"broken.svg": "demo:detached-head", "sound.svg": "demo:sound"}
"""File name to target."""
WIDTH, HEIGHT = 104, 30


def lines(target: str) -> list[str]:
    """What a run prints, with the terminal's colours."""
    os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    os.environ.pop("NO_COLOR", None)
    from tiecheck import adapters
    from tiecheck.conformance import terminal
    from tiecheck.conformance.run import run_target

    folders = [str(Path(folder).resolve()) for folder in adapters.__path__]
    return terminal.drawn(_cut(run_target(target), folders), width=WIDTH).splitlines()


def _cut(value: Any, folders: list[str]) -> Any:
    """The same report with every file of the package named from ``adapters`` on, before lines are folded."""
    if isinstance(value, str):
        for folder in folders:
            value = value.replace(folder, "adapters")
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _cut(getattr(value, field.name), folders) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    if isinstance(value, tuple):
        return tuple(_cut(item, folders) for item in value)
    if isinstance(value, dict):
        return {key: _cut(item, folders) for key, item in value.items()}
    return value


def picture(target: str) -> str:
    """The top of the output as SVG."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    printed = lines(target)
    for line in printed[:HEIGHT]:
        console.print(Text.from_ansi(line), soft_wrap=True)
    if len(printed) > HEIGHT:
        console.print(Text(f"... {len(printed) - HEIGHT} more lines", "dim"))
    svg = console.export_svg(title=f"tiecheck run {target}", unique_id=target.replace(":", "-"))
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


if __name__ == "__main__":
    for name, target in SCREENS.items():
        (Path(__file__).parent / name).write_text(picture(target))
        print(f"docs/{name}: tiecheck run {target}")
