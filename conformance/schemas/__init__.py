"""The JSON Schemas (draft 2020-12) of what tiecheck writes, each complete in one file."""

import json
from importlib.resources import files
from typing import Any

NAMES = ("report-1", "matrix-1", "audit-1")


def load(name: str) -> dict[str, Any]:
    """The schema of that name; LookupError where there is none."""
    if name not in NAMES:
        raise LookupError(f"there is no schema {name!r}; there are {', '.join(NAMES)}")
    document: dict[str, Any] = json.loads(files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8"))
    return document
