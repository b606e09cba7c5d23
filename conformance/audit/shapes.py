"""How many rows the config gives the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import facts
from .claims import architecture_of
from .tables import Table


def sizes(config: Any) -> tuple[int | None, int | None]:
    """Vocabulary and width, at the top or in the first nested config that has both."""

    levels = [config or {}, *(inner for inner in (config or {}).values() if isinstance(inner, dict))]
    for level in levels:
        rows = level.get("vocab_size")
        width = next((level[key] for key in ("hidden_size", "d_model", "n_embd", "dim") if key in level), None)
        if isinstance(rows, int) and isinstance(width, int):
            return rows, width
    return None, None


def misfits(config: Mapping[str, Any] | None, tables: tuple[Table | None, ...]) -> str:
    """Which tables have not the rows that the config gives them, of a class whose tables are known to have them; else ""."""
    place = facts.sized(architecture_of(config or {}))
    level: Any = config or {}
    *path, key = place.split(".")
    for part in path:
        level = level.get(part)
        level = level if isinstance(level, dict) else {}
    rows = level.get(key)
    if not isinstance(rows, int) or isinstance(rows, bool):
        return ""
    wrong = [t for t in tables if t and t.by == "class" and not t.packed and not t.turned and t.tensor.shape[0] != rows]
    told = " and ".join(f"{t.tensor.name} has {t.tensor.shape[0]} rows" for t in wrong)
    return f"{told} where {place} gives {rows}" if wrong else ""
