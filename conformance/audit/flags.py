"""Setting the flag in a config: where it stands, and what hangs on it beside the tie."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import facts
from .claims import SPELLINGS, architecture_of, type_of, where_of
from .installed import FLAG


@dataclass(frozen=True)
class Turned:
    """A config whose flag was turned, and nothing else that the class reads off it.

    Attributes:
        fields: what is to be written beside it, that the class else reads off the flag; ``config`` has them.
        reason: why it cannot be done; "" where it can.
    """

    config: Mapping[str, Any]
    fields: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


def turned(config: Mapping[str, Any], value: bool) -> Turned:
    """The config with the flag at the level that counts, and at every other that has it."""
    made = copy.deepcopy(dict(config))
    where = where_of(made)
    target: dict[str, Any] = made[where] if where else made
    fields = _set(made, value)
    if not any(key in target for key in SPELLINGS):
        fields |= _kept(target, value)
        target[FLAG] = value
    for part in facts.reads(type_of(target))[0].get("nested", ()):
        if isinstance(target.get(part), dict):
            target[part][FLAG] = value
    return Turned(made, fields, _reason(config))


def _kept(level: dict[str, Any], value: bool) -> dict[str, Any]:
    """Writes what the class of a level would else take from the turned flag, as it has it now."""
    was, then = _word(level.get(FLAG)), _word(value)
    moved = facts.moved(type_of(level))
    fields = {name: by[was] for name, by in moved.items() if name not in level and by[was] != by[then]}
    level |= fields
    return fields


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "absent"


def _set(level: dict[str, Any], value: bool) -> dict[str, Any]:
    """Turns the flag wherever it stands, from here on; what was written beside it."""
    present = [key for key in SPELLINGS if key in level]
    fields = _kept(level, value) if FLAG in present else {}
    for inner in level.values():
        fields |= _set(inner, value) if isinstance(inner, dict) else {}
    level.update(dict.fromkeys(present, value))
    return fields


def _reason(config: Mapping[str, Any]) -> str:
    """A class whose forward reads the flag: where its value turns, so does what is computed."""
    name, kind = architecture_of(config), type_of(config)
    if not name or not facts.computes(name) or "always" in facts.reads(kind)[0]:
        return ""
    return f"the forward of {name} reads the flag for more than the tie, so that turning it changes the logits"
