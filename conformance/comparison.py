"""What changed between two reports or matrices: requirement by requirement, for each target under each declaration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .report import MATRIX_SCHEMA, SCHEMA

Rows = dict[tuple[str, str], Mapping[str, Any]]
"""Reports by target and declaration."""

# What a verdict is worth to who relies on it. A failure that is expected is known; what is not asked is shown no more.
WORTH = {"pass": 3, "xfail": 2, "skip": 2, "fail": 1, "error": 0}


@dataclass(frozen=True)
class Change:
    """One thing that is not what it was. ``id`` is "" where it is the whole target."""

    target: str
    declared: str
    id: str
    kind: Literal["worse", "better", "other"]
    before: str
    after: str
    message: str = ""

    @property
    def worse(self) -> bool:
        """Whether somebody who relied on the old report should know."""
        return self.kind == "worse"


def read(path: Path) -> Rows:
    """The reports in a file. Raises ValueError, in one sentence, where it is no report or not a whole one."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise ValueError(f"{path} is no report of tiecheck: it is not JSON") from None
    if not isinstance(stored, dict) or stored.get("schema") not in (SCHEMA, MATRIX_SCHEMA):
        raise ValueError(f"{path} is no report of tiecheck: its schema is neither {SCHEMA} nor {MATRIX_SCHEMA}")
    if stored.get("complete") is not True:
        raise ValueError(f"{path} is not a whole report: it was not written to its end")
    try:
        rows = stored["rows"] if stored["schema"] == MATRIX_SCHEMA else [stored]
        out: Rows = {}
        for row in rows:
            for result in row["results"]:
                WORTH[result["verdict"]], result["id"] + result["level"] + result["message"]
            out[str(row["target"]), str(row["declared"])] = row
            bool(row["conforms"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is no report of tiecheck: {type(error).__name__}: {error}") from None
    return out


def compared(old: Rows, new: Rows) -> tuple[Change, ...]:
    """Every change, what got worse first."""
    found: list[Change] = []
    for key in dict.fromkeys([*old, *new]):
        if key not in new:
            found.append(Change(*key, "", "worse", _verdict(old[key]), "not judged"))
        elif key not in old:
            bad = not new[key]["conforms"]
            found.append(Change(*key, "", "worse" if bad else "other", "not judged", _verdict(new[key])))
        else:
            found += _within(key, old[key], new[key])
    order = {"worse": 0, "better": 1, "other": 2}
    return tuple(sorted(found, key=lambda change: order[change.kind]))


def _verdict(row: Mapping[str, Any]) -> str:
    return "conforms" if row["conforms"] else "does not conform"


def _within(key: tuple[str, str], old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """The changes of one target. A requirement that only one of the two versions knows is no change of the model, unless it
    fails."""
    out = []
    if old["conforms"] != new["conforms"]:
        out.append(Change(*key, "", "better" if new["conforms"] else "worse", _verdict(old), _verdict(new)))
    before = {result["id"]: result for result in old["results"]}
    for result in new["results"]:
        was, now = before.get(result["id"], {"verdict": "unknown"})["verdict"], result["verdict"]
        if was == now:
            continue
        gain = WORTH[now] - WORTH.get(was, 2)
        kind: Literal["worse", "better", "other"] = "worse" if gain < 0 else "better" if gain > 0 else "other"
        if was == "unknown" and kind == "better":
            kind = "other"
        out.append(Change(*key, result["id"], kind, was, now, result["message"]))
    return out
