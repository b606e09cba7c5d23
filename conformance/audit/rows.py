"""The outcome of an audit: a row for each checkpoint, and its JSON form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from .claims import Claim
from .compare import Comparison
from .facts import Loader, State
from .tables import Table

SCHEMA = "tiecheck/audit/1"
Verdict: TypeAlias = Literal["agreement", "contradiction", "not decidable", "unreadable"]
Action: TypeAlias = Literal["", "set flag true", "set flag false", "drop head", "write head"]
STATUS: dict[str, int] = {"agreement": 0, "contradiction": 1, "not decidable": 2, "unreadable": 2}
NOTHING = Claim(None, "nothing was read")


@dataclass(frozen=True)
class Row:
    """What came of one path.

    Attributes:
        message: the verdict in one sentence.
        action, mend: what mends it, in one word for `mend` and in a sentence.
        unwritten: why that mend is not written by ``--write``, in a sentence; "" where it is.
        wasted: bytes of a second copy of the table.
    """

    path: str
    format: str
    verdict: Verdict
    message: str
    state: State = "unknown"
    claim: Claim = NOTHING
    tables: tuple[Table, ...] = ()
    comparison: Comparison | None = None
    wasted: int = 0
    loaders: tuple[Loader, ...] = ()
    action: Action = ""
    mend: str = ""
    unwritten: str = ""
    notes: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        """0 agreement, 1 contradiction, 2 neither could be said."""
        return STATUS[self.verdict]

    @property
    def mended(self) -> str:
        """The mend, and why it is left to its reader where it is."""
        return f"{self.mend} (by hand: {self.unwritten})" if self.unwritten else self.mend

    def to_dict(self) -> dict[str, Any]:
        """The row as plain values."""
        return {
            "path": self.path,
            "format": self.format,
            "verdict": self.verdict,
            "message": self.message,
            "state": self.state,
            "claim": {
                "tied": self.claim.tied,
                "says": self.claim.says,
                "levels": [{"path": lv.path, "key": lv.key, "value": _flat(lv.value)} for lv in self.claim.levels],
                "obeyed": self.claim.obeyed,
            },
            "tables": [
                {
                    "role": t.role,
                    "name": t.tensor.name,
                    "file": t.tensor.file.name,
                    "shape": list(t.stored),
                    "dtype": t.tensor.dtype,
                    "bytes": t.tensor.nbytes,
                    "known_by": t.by,
                }
                for t in self.tables
            ],
            "comparison": _comparison(self.comparison),
            "wasted_bytes": self.wasted,
            "loaders": [
                {"loader": x.name, "outcome": x.outcome, "says": x.says, "source": x.source} for x in self.loaders
            ],
            "mend": {"action": self.action, "says": self.mended} if self.mend else None,
            "notes": list(self.notes),
        }


def document(rows: Sequence[Row]) -> dict[str, Any]:
    """The JSON of an audit; ``complete`` is last."""
    return {"schema": SCHEMA, "rows": [row.to_dict() for row in rows], "complete": True}


def worst(rows: Sequence[Row]) -> int:
    """The exit status of many rows."""
    return max(row.exit_status for row in rows)


def _comparison(found: Comparison | None) -> dict[str, Any] | None:
    if found is None:
        return None
    largest = found.largest_difference
    return {
        "result": found.result,
        "kind": found.kind,
        "detail": found.detail,
        "rows_compared": found.rows_compared,
        "rows_different": found.rows_different,
        "first_rows": list(found.first_rows),
        "largest_difference": largest if largest is None or math.isfinite(largest) else None,
    }


def _flat(value: Any) -> bool | str | None:
    """A flag's value as it can stand in a report."""
    return value if isinstance(value, bool) or value is None else repr(value)[:80]
