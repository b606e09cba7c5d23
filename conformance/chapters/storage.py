"""Chapter `storage`: both uses read one region of memory, and one parameter owns it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import tolerances
from ..algebra import ROWS, overlap, scaled_as_declared, separate
from ..evidence import Array, Case, Named, Pass, Region, Use, Writing
from ..requirement import Finding, failed, passed, requirement, skipped

TYING = "Press and Wolf 2017, section 3 (one matrix U = V); Radford et al. 2018, section 3.1 (W_e twice)"

FAMILIES = {
    "modules that own tensors": "one region of memory is the same storage, offset, extent and dtype; a parameter is the object that "
    "an optimizer is given",
    "parameter trees": "one region of memory is one leaf of the tree, whatever arrays lie in two leaves; the optimizer's view is "
    "the tree that it maps over",
    "variables": "one region of memory is one variable, under however many attributes; the optimizer's view is the list of "
    "trainable variables",
    "files for inference": "one region of memory is one tensor of the file; no optimizer has a view of it",
}
"""What the chapter's words mean where a framework has no pointers to compare. Which leaf a use reads is found by writing."""


@requirement(
    "storage.one-memory",
    statement="The lookup and the projection read one region of memory if declared tied, two separate ones if declared untied.",
    formula="tied: region(E_in) = region(E_out); untied: they share no byte",
    source=TYING,
    bug="mosaicml/examples#11",
    why="Two matrices may start equal and then train apart: the memory is spent twice, and what one side learns "
    "about a token never reaches the other.",
    example="""
        import torch
        embedding, head = torch.nn.Embedding(4, 3), torch.nn.Linear(3, 4, bias=False)
        # which storage, and the offset into it
        region = lambda w: (w.untyped_storage().data_ptr(), w.storage_offset())
        # broken: equal values in two memories
        head.weight.data.copy_(embedding.weight.data)
        print(region(head.weight) == region(embedding.weight))  # -> False
        head.weight = embedding.weight
        print(region(head.weight) == region(embedding.weight))  # -> True
    """,
)
def one_memory(case: Case) -> Finding:
    seen_any = False
    for seen in case.passes:
        if seen.sides is None or seen.sides.head is None:
            continue
        seen_any = True
        finding = _tied(case, seen) if case.declared.tied else _untied(seen)
        if finding is not None and seen.probe.train and case.flipped:
            told = f"in eval mode both uses read one array at first; since train() was called, {finding.message}"
            return failed("lost-on-train-mode", told, **finding.counterexample or {})
        if finding is not None:
            return finding
    if not seen_any:
        return skipped(
            "the projection was not seen as a product of an array (see storage.write-through, which needs no look inside)"
        )
    return passed("both uses read the same array" if case.declared.tied else "the two uses read separate arrays")


def _tied(case: Case, seen: Pass) -> Finding | None:
    assert seen.sides is not None and seen.sides.head is not None
    table, head = seen.sides.table, seen.sides.head
    a, b = table.region, head.region
    facts: dict[str, Any] = {"lookup": describe(table), "projection": describe(head), "mode": seen.probe.mode}
    if seen.look is not None:
        facts["where"] = seen.look.head_where or None
    if a is not None and b is not None:
        if a.storage != b.storage:
            return _separate(seen, table, head, facts)
        return _one_storage(a, b, facts)
    if set(table.leaves) == set(head.leaves):
        return _derived(table, head, facts)
    return _other_leaves(case, seen, table, head, facts)


def _separate(seen: Pass, table: Use, head: Use, facts: dict[str, Any]) -> Finding:
    a, b = table.region, head.region
    assert a is not None and b is not None
    if head.refilled or table.refilled:
        side = "projection" if head.refilled else "lookup"
        owner = (b if head.refilled else a).owner
        return failed(
            "stale-copy", f"the {side} reads {owner}, which every forward fills again with a copy of the table", **facts
        )
    kept = "parameter" not in (a.kind, b.kind) or (a.kind != "parameter") != (b.kind != "parameter")
    same = _equal(table.values, head.values)
    if same and kept:
        owner = b.owner if b.kind != "parameter" else a.owner
        return failed(
            "stale-copy",
            f"{owner} is a copy of the table that was kept, not the table: it holds the same values now",
            **facts,
        )
    if same:
        return failed("equal-copy", f"{a.owner} and {b.owner} hold the same values in two places in memory", **facts)
    if seen.sides is not None and b.owner in seen.sides.others:
        return failed(
            "wrong-table", f"the projection reads {b.owner}, which the pass looks up for something else", **facts
        )
    if head.values.shape == table.values.shape:
        shared = (head.values == table.values).all(1) & (head.values != 0).any(1)
        if shared.sum() >= 2:
            return failed(
                "partial-tie" if kept is False else "stale-copy",
                f"{int(shared.sum())} of {shared.size} rows hold equal values in two places in memory, the others do not",
                **facts,
            )
    if kept and b.kind != "parameter" and head.values.shape == table.values.shape and _close(table.values, head.values):
        return failed("stale-copy", f"{b.owner} is an older copy of the table", **facts)
    return failed("two-matrices", f"the lookup reads {a.owner}, the projection reads {b.owner}: two matrices", **facts)


def _one_storage(a: Region, b: Region, facts: dict[str, Any]) -> Finding | None:
    if not overlap(a, b):
        return failed(
            "two-matrices", f"the two uses read two separate parts of {a.owner}", offset=[a.offset, b.offset], **facts
        )
    same_rows = a.strides == b.strides or 1 in (a.shape[0], b.shape[0])
    if a.offset == b.offset and same_rows and a.shape[1] == b.shape[1]:
        return None  # b may stop at fewer rows: the columns that are missing then are another requirement's
    if a.shape[1] == b.shape[1] and a.shape == b.shape and a.strides[::-1] == b.strides and a.offset == b.offset:
        return None  # read the other way round: projection.linear says what comes of that
    return failed(
        "partial-tie",
        f"both uses read the memory of {a.owner}, but not the same part of it",
        offset=[a.offset, b.offset],
        **facts,
    )


def _derived(table: Use, head: Use, facts: dict[str, Any]) -> Finding | None:
    if _equal(table.values, head.values):
        return None
    rows = min(table.values.shape[0], head.values.shape[0])
    if table.values.shape[1] != head.values.shape[1]:
        return None
    one, other = table.values[:rows].astype(np.float64), head.values[:rows].astype(np.float64)
    if tolerances.proportional(one, other, head.dtype) is not None:
        return None  # a scale: projection.scale or lookup.scale says so
    if _drawn_from(one, other) or _permuted(one.T, other.T):
        return None  # projection.linear names the rows or columns
    names = ", ".join(head.leaves)
    return failed("adapter-on-one-use", f"both uses are made from {names}, but not into the same array", **facts)


def _other_leaves(case: Case, seen: Pass, table: Use, head: Use, facts: dict[str, Any]) -> Finding | None:
    common = set(table.leaves) & set(head.leaves)
    form = seen.explained
    if not common:
        if _equal(table.values, head.values):
            return failed("stale-copy", "the two uses hold equal values made from different tensors", **facts)
        return failed(
            "two-matrices", f"the lookup reads {table.leaves}, the projection {head.leaves}: nothing in common", **facts
        )
    extra = sorted(set(head.leaves) ^ set(table.leaves))
    if scaled_as_declared(seen):
        return None
    if table.values.shape == head.values.shape:
        same = (table.values == head.values).all(1)
        if same.all():
            # What trains is a part of its own; a buffer that equals the table was filled from it.
            cause = "stale-copy" if _buffers(case, extra) else "partial-tie"
            return failed(cause, f"{', '.join(extra)} takes part in one use only, with equal values now", **facts)
        near = np.abs(table.values - head.values).max() < tolerances.NEAR * np.abs(table.values).max()
        if same.any() and not near:
            return failed(
                "partial-tie",
                f"{int((~same).sum())} of {same.size} rows come from {', '.join(extra)} on one use only",
                **facts,
            )
        columns = (table.values == head.values).all(0)
        if columns.any() and not columns.all():
            return failed(
                "partial-tie",
                f"{int((~columns).sum())} of {columns.size} columns come from {', '.join(extra)} on one use only",
                **facts,
            )
        return failed("adapter-on-one-use", f"one use alone is changed by {', '.join(extra)}", **facts)
    if form.found and form.origin != "seen":
        return None  # another shape in between that the table's own rows explain: a factor on the way
    return failed("adapter-on-one-use", f"one use alone is made with {', '.join(extra)}", **facts)


def _buffers(case: Case, names: list[str]) -> bool:
    """Whether all of these are buffers of the model."""
    kinds = {named.name: named.region.kind for named in case.holdings.named} if case.holdings is not None else {}
    return all(kinds.get(name) == "buffer" for name in names)


def _drawn_from(one: Array, other: Array) -> bool:
    """Whether every row of one array is some row of another."""
    # A zero may have either sign.
    known = {row.tobytes() for row in one + 0.0} if one.shape[0] <= 1 << 14 else set()
    return all(row.tobytes() in known for row in other + 0.0)


def _permuted(one: Array, other: Array) -> bool:
    """Whether two arrays hold the same rows in another order."""
    if one.shape != other.shape or one.shape[0] > 1 << 14:
        return False
    order, image = np.lexsort(one.T), np.lexsort(other.T)
    return bool(np.array_equal(one[order], other[image]))


def _untied(seen: Pass) -> Finding | None:
    assert seen.sides is not None and seen.sides.head is not None
    table, head = seen.sides.table, seen.sides.head
    if table.region is not None and head.region is not None:
        shared = table.region.storage == head.region.storage and overlap(table.region, head.region)
        if head.refilled or table.refilled:
            shared = True
    else:
        shared = bool(set(table.leaves) & set(head.leaves))
    if shared:
        return failed(
            "forced-tie",
            f"declared untied, but both uses read {', '.join(sorted(set(table.leaves) & set(head.leaves))) or describe(table)}",
            lookup=describe(table),
            projection=describe(head),
        )
    return None


def _equal(one: Array, other: Array) -> bool:
    """Bit for bit on the rows that both have."""
    rows = min(one.shape[0], other.shape[0])
    if one.shape[1] != other.shape[1]:
        return False
    return all(
        np.array_equal(one[i : i + ROWS][: rows - i], other[i : i + ROWS][: rows - i]) for i in range(0, rows, ROWS)
    )


def _close(one: Array, other: Array) -> bool:
    spread = float(np.std(one[:ROWS])) or 1.0
    return float(np.abs(one[:ROWS] - other[:ROWS]).mean()) < tolerances.CLOSE * spread


def describe(use: Use) -> str:
    """A use's array in words."""
    if use.region is None:
        return f"computed from {', '.join(use.leaves) or 'constants'}"
    kind = {"parameter": "parameter", "buffer": "buffer", "outside": "tensor"}[use.region.kind]
    return f"{kind} {use.region.owner} (memory {use.region.storage}, offset {use.region.offset})"


@requirement(
    "storage.one-parameter",
    statement="One trainable parameter owns the table: not two parameters over one memory, and not a tensor that no module registers.",
    formula="|{p : p lies over region(E)}| = 1",
    source="an optimizer keeps its state by parameter, so two over one memory drift apart",
    bug="mindspore-ai/hyper-parallel#606",
    why="An optimizer keeps its notes for each parameter. Two parameters over one memory each get a part of the "
    "gradient and a step of their own, so that Adam moves the table twice, and a copy of the model takes them "
    "apart.",
    example="""
        import torch
        E = torch.nn.Parameter(torch.ones(2, 2))
        twin = torch.nn.Parameter(E.data)  # another parameter over the same memory
        E.grad = twin.grad = torch.ones(2, 2)
        torch.optim.Adam([E], lr=0.1).step()
        print(round(E[0, 0].item(), 3))  # -> 0.9
        # broken: the memory is moved twice
        torch.optim.Adam([E, twin], lr=0.1).step()
        print(round(E[0, 0].item(), 3))  # -> 0.7
    """,
)
def one_parameter(case: Case) -> Finding:
    if case.holdings is None:
        return skipped(case.why("holdings", "what the subject holds is not known"))
    sides = case.first.sides
    if sides is None:
        return skipped("the table's memory is not known")
    for use in filter(None, (sides.table, sides.head if not case.declared.tied else None)):
        if use.region is None:
            continue
        finding = _owner(case, use, use.region)
        if finding is not None:
            return finding
    return passed(
        f"{sides.table.region.owner} owns it" if sides.table.region else f"made from {', '.join(sides.table.leaves)}"
    )


def _owner(case: Case, use: Use, region: Region) -> Finding | None:
    assert case.holdings is not None
    over = [n for n in case.holdings.named if n.region.storage == region.storage and n.region.kind == "parameter"]
    whole = [n for n in over if n.size >= region.shape[0] * region.shape[1] or _same_rows(n.region, region)]
    objects = {n.object: n.name for n in whole}
    if len(objects) > 1:
        names = " and ".join(sorted(objects.values()))
        return failed(
            "two-parameters-one-memory",
            f"{names} are {len(objects)} parameters over one memory",
            names=sorted(objects.values()),
        )
    if not whole and region.kind != "parameter":
        orphan = [
            n.name for n in case.holdings.named if n.region.kind == "parameter" and n.region.shape == region.shape
        ]
        cause = "stale-copy" if not region.trainable and orphan else "not-listed"
        if not region.trainable and case.declared.frozen:
            return None
        if not region.trainable and not orphan:
            return None  # trained by nobody: gradient.trainable says so
        return failed(
            cause,
            f"the table is {region.owner}, a {'tensor' if region.kind == 'outside' else region.kind}, not a parameter of the model",
            owner=region.owner,
        )
    return None


def _same_rows(one: Region, other: Region) -> bool:
    return one.offset == other.offset and int(np.prod(one.shape)) == int(np.prod(other.shape))


@requirement(
    "storage.whole-table",
    statement="Every name that shares memory with the table is the whole table; none overlaps it in part.",
    formula="region(p) = region(E) or disjoint, for every name p",
    source="the exact partition of names into shared groups",
    bug="awslabs/slapo#15",
    why="A parameter that lies over some of the rows moves those rows by a step of its own, and leaves the others "
    "alone.",
    example="""
        import numpy as np
        E = np.zeros((4, 2))
        whole, part = E[:], E[2:]  # two views of the memory of E
        whole += 1  # a step on another name of the whole table: every row moves
        print(E[:, 0])  # -> [1. 1. 1. 1.]
        # broken: a step on a name of some rows
        part += 1
        print(E[:, 0])  # -> [1. 1. 2. 2.]
    """,
)
def whole_table(case: Case) -> Finding:
    sides = case.first.sides
    if case.holdings is None or sides is None or sides.table.region is None:
        return skipped("the table is computed, or its memory is not known")
    region = sides.table.region
    size = region.shape[0] * region.shape[1]
    partial: list[Named] = []
    aliases: list[Named] = []
    for named in case.holdings.named:
        if named.region.storage != region.storage or named.name == region.owner or not overlap(named.region, region):
            continue
        (aliases if named.size >= size else partial).append(named)
    bad = [n for n in partial if n.region.kind == "parameter"]
    if bad:
        names = ", ".join(n.name for n in bad)
        return failed(
            "partial-tie",
            f"{names} lies over a part of the table: a step on it moves some rows of the table",
            names=[n.name for n in bad],
        )
    return passed("also known as " + ", ".join(_names(aliases)) if aliases else "no other name shares its memory")


def _names(named: list[Named]) -> list[str]:
    return [n.name for n in named]


@requirement(
    "storage.precision",
    statement="Neither use alone casts the table to a narrower dtype.",
    formula="dtype(E_in) = dtype(E_out), or the wider",
    source="a table that is rounded for one use is another table there",
    bug="huggingface/transformers#29402",
    why="A use that rounds the table by itself works with other numbers than the other use. Tokens that differ a "
    "little become the same, and small updates do not arrive there.",
    example="""
        import numpy as np
        E = np.array([[1.0], [1.0004]], np.float32)
        h = np.array([[1000.0]], np.float32)
        print((h @ E.T).round(1))  # -> [[1000.  1000.4]]
        # broken: the projection alone goes to 16 bits
        rounded = E.astype(np.float16).astype(np.float32)
        print((h @ rounded.T).round(1))  # -> [[1000. 1000.]]
    """,
)
def precision(case: Case) -> Finding:
    asked = False
    for seen in case.passes:
        look = seen.look
        if look is None:
            continue
        asked = True
        for use, other, name in ((look.table, look.head, "lookup"), (look.head, look.table, "projection")):
            if use is None or other is None or use.narrowed is None or use.narrowed == other.narrowed:
                continue
            if _whole_forward(seen, use, other):
                continue
            return failed(
                "reduced-precision",
                f"the {name} alone reads the table rounded to {use.narrowed}",
                where=use.where or None,
                mode=seen.probe.mode,
            )
    return (
        passed("no use rounds the table by itself") if asked else skipped(case.why("look", "the pass was not watched"))
    )


def _whole_forward(seen: Pass, use: Use, other: Use) -> bool:
    """The model computes its whole forward so: it entered autocast itself, or the network's own products are as narrow."""
    assert seen.look is not None
    if use.autocast and other.autocast:
        return True
    network = set(seen.look.network_dtypes)
    return bool(network) and network == {use.narrowed}


@requirement(
    "storage.write-through",
    statement="A write to the lookup's table is seen by the projection, if tied; if untied, a write to it changes no logit of a "
    "token that is not read.",
    formula="E_in[v] := x  =>  logit_v = h x^T (tied); unchanged (untied), for a row v that no lookup reads",
    source="identity by behaviour, where pointers cannot be trusted",
    bug="PrimeIntellect-ai/prime-rl#2823",
    why="If a write to the table does not reach the logits, the projection reads something else: a second matrix, "
    "or a copy. It goes on predicting with the old numbers.",
    example="""
        import numpy as np
        E, h = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]]), np.array([2.0, 1.0])
        copy = E.copy()
        print(h @ E.T)  # -> [2. 2. 7.]
        E[2] = [10.0, 0.0]  # a write to the row of token 2
        print(h @ E.T)  # -> [ 2.  2. 20.]
        # broken: the projection reads a copy
        print(h @ copy.T)  # -> [2. 2. 7.]
    """,
)
def write_through(case: Case) -> Finding:
    asked = False
    for seen in case.passes:
        writing = seen.through
        if writing is None:
            continue
        asked = True
        column = writing.rows[0]
        before, after = writing.before[:, column], writing.after[:, column]
        allowed = tolerances.bystanders(writing.before, seen.dtype, writing.exact)
        moved = bool(np.abs(after - before).max() > allowed)
        if case.declared.tied and not moved:
            gaps = np.nan_to_num(np.abs(writing.after - writing.before)).max(0)
            others = np.flatnonzero(gaps > allowed)
            if others.size and np.isin(others, writing.rows).all():
                return failed("partial-tie", _alone(column, others[0]), token=int(column), mode=seen.probe.mode)
            if others.size:
                return failed(
                    "wrong-rows",
                    f"row {column} of the table was overwritten and logit {others[0]} moved, not {column}",
                    token=int(column),
                    moved=others.tolist()[:8],
                )
            cause = "stale-copy" if _kept(seen) else "two-matrices"
            return failed(
                cause,
                f"row {column} of the table was overwritten and logit {column} did not move",
                token=int(column),
                mode=seen.probe.mode,
            )
        behind = _unmoved(seen, writing, allowed) if case.declared.tied else None
        if behind is not None:
            return failed("partial-tie", _alone(behind, column), token=behind, mode=seen.probe.mode)
        if not case.declared.tied and moved:
            return failed(
                "forced-tie",
                f"row {column} of the lookup's table was overwritten and logit {column} moved with it",
                token=int(column),
            )
    if not asked:
        return skipped("no row of the table can be written that the pass does not read")
    return passed(
        "a write to the table moves that token's logit" if case.declared.tied else "the projection does not follow"
    )


def _alone(row: int, other: int) -> str:
    return f"row {row} of the table was overwritten and logit {row} did not move, as logit {other} did for row {other}"


def _unmoved(seen: Pass, writing: Writing, allowed: float) -> int | None:
    """A further row that was overwritten by other values, with its logit where it was."""
    for row, values in zip(writing.rows[1:], writing.values[1:], strict=True):
        if np.array_equal(seen.table[row], values):
            continue
        before, after = writing.before[:, row], writing.after[:, row]
        finite = np.isfinite(before) & np.isfinite(after)
        size, gap = np.abs(before[finite]).max(initial=0.0), np.abs(after - before)[finite].max(initial=0.0)
        if size > allowed and gap <= allowed:
            return int(row)
    return None


def _kept(seen: Pass) -> bool:
    """The watched pass showed the table itself, or something that is no parameter: then what other passes read was kept."""
    sides = seen.sides
    if seen.look is None and sides is not None and sides.head is None:
        return seen.explained.found  # no array was found, but what the logits are made of has the table's values
    if sides is None or sides.head is None or sides.head.region is None or sides.table.region is None:
        return sides is None or sides.head is not None
    return sides.head.region.kind != "parameter" or not separate(seen)
