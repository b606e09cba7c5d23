"""What a claim and a state of the file are to each other: the verdict, its sentence, and what mends it."""

from __future__ import annotations

from typing import TypeAlias

from .checkpoint import Checkpoint
from .claims import Claim
from .compare import Comparison
from .facts import State
from .rows import Action, Verdict
from .tables import Tables

DROP = "drop the head from the file: it is a second copy of the table"
Decision: TypeAlias = tuple[Verdict, str, Action, str]


def decided(
    checkpoint: Checkpoint,
    claim: Claim,
    tied: bool | None,
    tables: Tables,
    comparison: Comparison | None,
    state: State,
) -> Decision:
    """Verdict, its sentence, and what mends it."""
    if claim.tableless and state == "unknown" and tied is not None:
        return "agreement", f"{'tied' if tied else 'untied'}: {claim.says}; {claim.obeyed}", "", ""
    if tables.why:
        return "not decidable", tables.why, "", ""
    if state == "unknown" and not (tied is False and comparison):
        return "not decidable", comparison.detail if comparison else "no table was found", "", ""
    if tied is None:
        return _unclaimed(checkpoint, claim, tables, state)
    if tied:
        return _tied(claim, tables, comparison, state)
    return _untied(claim, tables, state)


def _unclaimed(checkpoint: Checkpoint, claim: Claim, tables: Tables, state: State) -> Decision:
    seen = _seen(tables, state)
    alias = checkpoint.aliases
    if claim.missing and checkpoint.config is None:
        if checkpoint.rule:
            return "agreement", f"{seen}; {checkpoint.rule}", "", ""
        if state == "one table":
            return "agreement", f"{seen}: the file itself says tied, and no config says otherwise", "", ""
        if alias and state in ("embedding only", "head only"):
            name, kept = next(iter(alias.items()))
            return "agreement", f"{seen}; the file's metadata says that {name} is {kept}", "", ""
    return "not decidable", f"{seen}; {claim.says}", "", ""


def _seen(tables: Tables, state: State) -> str:
    names = [table.tensor.name for table in (tables.embedding, tables.head) if table]
    if state in ("embedding only", "head only"):
        return f"one table, {names[0]}"
    if state == "one table":
        return f"one table under {' and '.join(dict.fromkeys(names))}"
    words = {"equal": "two equal tables", "nearly": "two nearly equal tables", "different": "two different tables"}
    return f"{words.get(state, 'two tables that cannot be compared')}, {' and '.join(names)}"


def _tied(claim: Claim, tables: Tables, comparison: Comparison | None, state: State) -> Decision:
    seen, says = _seen(tables, state), f"tied: {claim.says}"
    if not claim.acts and state in ("embedding only", "head only") and not claim.headless:
        message = f"{says}, but {claim.obeyed}, and the file holds {seen}"
        return (
            "contradiction",
            message,
            "write head",
            "write the head, as a copy of the table, and set the flag to false",
        )
    if state in ("embedding only", "head only", "one table"):
        return "agreement", f"{says}; the file holds {seen}", "", ""
    detail = comparison.detail if comparison else ""
    if claim.idle and state != "equal":
        found = _idle(claim, tables, f"{says}; the file holds {seen}, and {claim.obeyed}")
        if found is not None:
            return found
    if state == "equal":
        return "agreement", f"{says}; the file holds {seen}, the second of them waste", "drop head", DROP
    if state == "nearly" and comparison and comparison.kind == "rows":
        message = f"{says}, but one table cannot have two sizes: {detail}"
        return "contradiction", message, "drop head", "drop the head from the file, or set the flag to false"
    if state == "nearly" and comparison and comparison.kind == "dtype":
        return _rounded(
            tables, f"{says}, but the file holds {seen}: {detail}, so that they are two where a loader keeps both"
        )
    if state == "nearly":
        return "agreement", f"{says}; the file holds {seen}: {detail}", "drop head", DROP
    message = f"{says}, but the file holds {seen}: {detail}"
    mend = "set the flag to false where both are meant, or drop the head where one is"
    return "contradiction", message, "set flag false", mend


def _idle(claim: Claim, tables: Tables, message: str) -> Decision | None:
    """Two tables of a class that ties nothing, and no flag could: of two shapes, or with other heads beside this one."""
    one, two = tables.embedding, tables.head
    if claim.idle == "several":
        return "not decidable", f"{message}: of its several heads, the flag means none", "", ""
    if one is not None and two is not None and one.tensor.shape != two.tensor.shape:
        return "agreement", f"{message}: its tables have two shapes", "", ""
    return None


def _rounded(tables: Tables, message: str) -> Decision:
    """One table in two dtypes: the wider one is to stay."""
    one, two = tables.embedding, tables.head
    if one is not None and two is not None and one.tensor.item < two.tensor.item:
        return "contradiction", message, "", "write the wider table under the embedding's name, and drop the head"
    return "contradiction", message, "drop head", "drop the head from the file: it is the same table, rounded"


def _untied(claim: Claim, tables: Tables, state: State) -> Decision:
    seen, says = _seen(tables, state), f"untied: {claim.says}"
    if claim.headless:
        return "agreement", f"{says}; the class has no head, and the file holds {seen}", "", ""
    if state in ("embedding only", "one table"):
        what = "no head" if state == "embedding only" else "one region under both names"
        message = f"{says}, but the file holds {what}: {seen}"
        if not claim.acts:
            return "contradiction", message, "write head", f"write the head: {claim.obeyed}"
        return "contradiction", message, "set flag true", "set the flag to true, or write the head"
    if state == "head only":
        message = f"{says}, but the file holds no embedding: {seen}"
        return (
            "contradiction",
            message,
            "set flag true" if claim.acts else "",
            "set the flag to true, or write the table",
        )
    return "agreement", f"{says}; the file holds {seen}", "", ""
