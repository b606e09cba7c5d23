"""Does what is stored agree with what the config claims: the tables, their comparison and the claim, put together."""

from __future__ import annotations

from typing import Any

from ..errors import clean
from . import facts
from .checkpoint import Checkpoint
from .claims import Claim, claimed
from .compare import Comparison, compared, first_nan
from .facts import State
from .rows import Action, Row, Verdict
from .safely import size
from .tables import Table, Tables, found

DROP = "drop the head from the file: it is a second copy of the table"


def judged(checkpoint: Checkpoint) -> Row:
    """The row of a checkpoint. Raises Unreadable where its bytes cannot be read after all."""
    claim = claimed(checkpoint.config)
    row = _row(checkpoint, claim)
    other = checkpoint.other
    if other is None or row.verdict == "not decidable":
        return row
    return _with_other(row, _row(other, claim), other)


def _row(checkpoint: Checkpoint, claim: Claim) -> Row:
    tables = checkpoint.tables or found(checkpoint.tensors, claim.ties, _sizes(checkpoint.config))
    comparison = _compared(tables)
    state = _state(tables, comparison)
    tied = claim.tied if claim.acts or not claim.missing else False
    verdict, message, action, mend = _decided(checkpoint, claim, tied, tables, comparison, state)
    notes = [*checkpoint.notes, *claim.notes]
    action = "" if action == "write head" and not _head_is_known(checkpoint.config, tables) else action
    twins, apart = _twins(tables, claim)
    if checkpoint.apart and tied and verdict != "not decidable":
        verdict, action = "contradiction", ""
        message = f"tied: {claim.says}, but {checkpoint.apart}"
        mend = "train both uses or neither, or set ensure_weight_tying in the adapter's config and train again"
    if apart and tied and verdict == "agreement":
        verdict, message, action, mend = "contradiction", apart, "", "write one table under all of these names"
    turned = _turned(tables, claim)
    if turned and tied is not None and verdict != "not decidable":
        same = tied and state in ("equal", "nearly")
        verdict, action = "contradiction", "drop head" if same else ""
        message = f"{'tied' if tied else 'untied'}: {claim.says}, but {turned}"
        mend = DROP if same else "write the head transposed"
        if tied and not same:
            mend += ", and set the flag to false; or drop it"
    nan = comparison.nan if comparison else _nan(tables)
    if nan is not None:
        verdict, action, mend = "not decidable", "", ""
        message = f"the table holds NaN (first in row {nan}), which is no trained table and equals nothing"
    wasted = _wasted(tables, comparison, state)
    if state == "equal" and tied is False:
        notes.append(
            f"the two tables are equal; were they meant to be tied, the second copy of {size(wasted)} is waste"
        )
    resized = comparison is not None and comparison.kind == "rows"
    loaders = facts.loaders(
        state, tied, claim.acts, checkpoint.format, _type(checkpoint.config), claim.missing, resized or bool(turned)
    )
    shown = (*filter(None, (tables.embedding, tables.head)), *twins)
    return Row(
        str(checkpoint.path),
        checkpoint.format,
        verdict,
        clean(message),
        state,
        claim,
        shown,
        comparison,
        wasted,
        loaders if verdict != "not decidable" and not claim.headless else (),
        action,
        mend,
        tuple(notes),
    )


def _sizes(config: Any) -> tuple[int | None, int | None]:
    """Vocabulary and width, at the top or in the first nested config that has both."""
    levels = [config or {}, *(inner for inner in (config or {}).values() if isinstance(inner, dict))]
    for level in levels:
        rows = level.get("vocab_size")
        width = next((level[key] for key in ("hidden_size", "d_model", "n_embd", "dim") if key in level), None)
        if isinstance(rows, int) and isinstance(width, int):
            return rows, width
    return None, None


def _head_is_known(config: Any, tables: Tables) -> bool:
    """Whether a head can be written: its name is lm_head in such classes, and it has as many rows as the table."""
    listed = (config or {}).get("architectures")
    name = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], str) else ""
    table = tables.embedding
    return name.endswith("ForCausalLM") and table is not None and table.tensor.shape[0] == _sizes(config)[0]


def _type(config: Any) -> str:
    kind = (config or {}).get("model_type")
    return kind if isinstance(kind, str) else ""


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


def _decided(
    checkpoint: Checkpoint,
    claim: Claim,
    tied: bool | None,
    tables: Tables,
    comparison: Comparison | None,
    state: State,
) -> tuple[Verdict, str, Action, str]:
    """Verdict, its sentence, and what mends it."""
    if tables.why:
        return "not decidable", tables.why, "", ""
    if state == "unknown" and not (tied is False and comparison):
        return "not decidable", comparison.detail if comparison else "no table was found", "", ""
    if tied is None:
        return _unclaimed(checkpoint, claim, tables, state)
    if tied:
        return _tied(claim, tables, comparison, state)
    return _untied(claim, tables, state)


def _unclaimed(checkpoint: Checkpoint, claim: Claim, tables: Tables, state: State) -> tuple[Verdict, str, Action, str]:
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


def _tied(
    claim: Claim, tables: Tables, comparison: Comparison | None, state: State
) -> tuple[Verdict, str, Action, str]:
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


def _rounded(tables: Tables, message: str) -> tuple[Verdict, str, Action, str]:
    """One table in two dtypes: the wider one is to stay."""
    one, two = tables.embedding, tables.head
    if one is not None and two is not None and one.tensor.item < two.tensor.item:
        return "contradiction", message, "", "write the wider table under the embedding's name, and drop the head"
    return "contradiction", message, "drop head", "drop the head from the file: it is the same table, rounded"


def _untied(claim: Claim, tables: Tables, state: State) -> tuple[Verdict, str, Action, str]:
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


def _twins(tables: Tables, claim: Claim) -> tuple[tuple[Table, ...], str]:
    """Further names of the lookup's table that the class ties; and the sentence where one differs."""
    names = {*(claim.ties or {}), *(claim.ties or {}).values()}
    twins = tuple(t for t in tables.twins if t.tensor.name in names)
    for twin in twins:
        if tables.embedding is None:
            break
        against = compared(tables.embedding.tensor, twin.tensor)
        if against.result == "different":
            both = f"{tables.embedding.tensor.name} and {twin.tensor.name}"
            return twins, f"tied: {claim.says}, but {both} are different tables: {against.detail}"
    return twins, ""


def _turned(tables: Tables, claim: Claim) -> str:
    """What is wrong with a head that lies transposed where the class, a known one, projects by nn.Linear."""
    head = tables.head
    if head is None or not head.turned or claim.ties is None or claim.headless:
        return ""
    lies, wants = (" x ".join(map(str, shape)) for shape in (head.stored, head.tensor.shape))
    return f"{head.tensor.name} is stored transposed, {lies}, where the class takes {wants}, and is refused"


def _with_other(row: Row, second: Row, other: Checkpoint) -> Row:
    """The same weights once more, in another format: both are to say the same."""
    import dataclasses

    label = f"{row.format}+{other.format}"
    told = f"loaders that take {other.format} find: {second.message}"
    if second.verdict == "contradiction" and row.verdict == "agreement":
        message = f"the {row.format} files agree, the {other.format} files do not: {second.message}"
        return dataclasses.replace(second, format=label, message=message, action="", notes=(*row.notes, told))
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
