"""Does what is stored agree with what the config claims: the tables, their comparison and the claim, put together."""

from __future__ import annotations

import dataclasses

from ..errors import clean
from . import facts
from .checkpoint import Checkpoint
from .claims import Claim, claimed, type_of
from .compare import Comparison, compared, first_nan
from .decisions import decided
from .doubts import Case, Finding, doubted
from .facts import Loader, State
from .rows import Row
from .safely import size
from .shapes import sizes
from .tables import Table, Tables, found
from .wrapped import unwrapped


def judged(checkpoint: Checkpoint) -> Row:
    """The row of a checkpoint. Raises Unreadable where its bytes cannot be read after all."""
    claim = claimed(checkpoint.config)
    row = _row(checkpoint, claim)
    other = checkpoint.other
    if other is None or row.verdict == "not decidable":
        return row
    return _with_other(row, _row(other, claim), other)


def _row(checkpoint: Checkpoint, claim: Claim) -> Row:
    inside = unwrapped(checkpoint, claim.ties)
    tables = checkpoint.tables or found(inside.tensors, claim.ties, sizes(checkpoint.config), claim.ends)
    comparison = _compared(tables)
    state = _state(tables, comparison)
    tied = claim.tied if claim.acts or not claim.missing else False
    case = Case(checkpoint, claim, tied, tables, comparison, state, inside.apart)
    finding = doubted(case, Finding(*decided(checkpoint, claim, tied, tables, comparison, state)))
    nan = comparison.nan if comparison else _nan(tables)
    if nan is not None:
        message = f"the table holds NaN (first in row {nan}), which is no trained table, and its copies say nothing"
        finding = Finding("not decidable", message)
    wasted = _wasted(tables, comparison, state) if nan is None else 0
    notes = [*checkpoint.notes, *claim.notes]
    if state == "equal" and tied is False:
        notes.append(
            f"the two tables are equal; were they meant to be tied, the second copy of {size(wasted)} is waste"
        )
    return Row(
        str(checkpoint.path),
        checkpoint.format,
        finding.verdict,
        clean(finding.message),
        state,
        claim,
        (*filter(None, (tables.embedding, tables.head)), *case.twins),
        comparison,
        wasted,
        _loaders(case) if finding.verdict != "not decidable" and not claim.headless else (),
        finding.action,
        finding.mend,
        finding.unwritten,
        tuple(notes),
    )


def _loaders(case: Case) -> tuple[Loader, ...]:
    claim, kind = case.claim, case.checkpoint.format
    told = facts.loaders(
        case.state, case.tied, claim.taken, kind, type_of(case.checkpoint.config), claim.missing, case.refused
    )
    if not told or told[0].name != "transformers" or case.unlisted:
        return told
    if case.another:
        return (facts.beside_none(bool(claim.taken)),)
    if case.refused:
        return told
    if case.hidden:
        return (facts.beside_hidden(case.seen, bool(claim.taken), case.hidden),)
    if case.loose and claim.taken:
        return (facts.beside_twins(case.loose), *told[1:])
    return told


def _compared(tables: Tables) -> Comparison | None:
    one, two = tables.embedding, tables.head
    if one is None or two is None:
        return None
    if one.packed or two.packed:
        return _packed(one, two)
    return compared(one.tensor, two.tensor)


def _packed(one: Table, two: Table) -> Comparison:
    """Packed tables are equal where their bytes are; else nothing can be said of their values."""
    if one.packed and two.packed and one.tensor.dtype == two.tensor.dtype and one.tensor.shape == two.tensor.shape:
        found = compared(one.tensor, two.tensor)
        if found.result in ("equal", "one table"):
            return found
    return Comparison(
        "unknown", "one of the tables is packed by a quantizer: its values cannot be compared", "quantized"
    )


def _state(tables: Tables, comparison: Comparison | None) -> State:
    if comparison is not None:
        return comparison.result
    if tables.embedding is not None:
        return "embedding only"
    return "head only" if tables.head is not None else "unknown"


def _nan(tables: Tables) -> int | None:
    table = tables.embedding or tables.head
    return None if table is None or table.packed else first_nan(table.tensor)


def _wasted(tables: Tables, comparison: Comparison | None, state: State) -> int:
    if state not in ("equal", "nearly") or tables.head is None or comparison is None:
        return 0
    return tables.head.tensor.nbytes


def _with_other(row: Row, second: Row, other: Checkpoint) -> Row:
    """The same weights once more, in another format: both are to say the same."""
    label = f"{row.format}+{other.format}"
    told = f"loaders that take {other.format} find: {second.message}"
    if second.verdict == "contradiction" and row.verdict == "agreement":
        message = f"the {row.format} files agree, the {other.format} files do not: {second.message}"
        return dataclasses.replace(
            row,
            format=label,
            verdict="contradiction",
            message=message,
            action="",
            mend=f"remove the {other.format} files, or write them anew from the {row.format} files",
            unwritten="which of them is meant, only their owner knows",
            notes=(*row.notes, f"loaders take the {row.format} files first: the tables and loaders are told of these"),
        )
    one, two = (next((t for t in r.tables if t.role == "embedding"), None) for r in (row, second))
    if one is not None and two is not None and not (one.packed or two.packed):
        against = compared(one.tensor, two.tensor)
        if against.result == "different":
            message = f"the {row.format} and the {other.format} files hold different embeddings: {against.detail}"
            mend = "keep the files of one format"
            return dataclasses.replace(
                row, format=label, verdict="contradiction", message=message, action="", mend=mend
            )
    return dataclasses.replace(row, format=label, notes=(*row.notes, told))
