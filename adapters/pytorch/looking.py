"""What one watched pass shows of the table: which array the ids index, which one the projection reads, and h."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from tiecheck.conformance.errors import NotJudged
from tiecheck.conformance.evidence import Array, Look, Probe, Use
from torch import Tensor

from .arrays import dtype_name, to_numpy
from .lookups import Group, choose, group_lookups
from .seen import Head, Reader, find_head, rounded
from .trace import Lookup, Product, Trace, Watch, Window, key_of, overlap

if TYPE_CHECKING:
    from .subject import TorchSubject


def look(subject: TorchSubject, probe: Probe) -> Look | None:
    for name in (subject.declared.table, subject.declared.head):
        if name is not None:
            _parameter(subject, name)
    watch, logits, flat = subject._watch(probe)
    reader = Reader(watch, subject._named)
    reader.buffers = frozenset(n for n, _ in subject.module.named_buffers(remove_duplicate=False))
    groups = [g for g in group_lookups(watch, probe.ids) if g.score > 0]
    subject._reader, subject._watched = reader, watch
    columns = flat.shape[-1]
    group = choose_table(subject, groups, watch, logits, columns)
    if group is None:
        return _look_by_writing(subject, probe, reader, watch, logits, flat)
    first = group.first
    head = find_head(watch, logits, columns, first.array, subject._heads)
    if head is not None:
        _in_one(watch, reader, head)
    dropping = probe.train and (head is None or key_of(head.array) != key_of(first.array))
    table, view = reader.use(first.array, first.trace, first.where, first.autocast, dropping)
    cast = {n for k in group.lookups for n in k.narrow}
    if table.narrowed is None and len(cast) == 1 and None not in cast:
        table = dataclasses.replace(table, narrowed=dtype_name(next(iter(cast))))  # type: ignore[arg-type]
    if subject.declared.head is not None and (head is None or _unlike(subject, head)):
        head = _named_head(subject, watch, logits)
    return _describe(subject, reader, watch, logits, flat, group, table, view, head)


def choose_table(
    subject: TorchSubject, groups: list[Group], watch: Watch, logits: Tensor, columns: int
) -> Group | None:
    """Decision 8: the array that the ids index; of several, the one whose rows the projection reads."""
    if subject.declared.table is not None:
        wanted = key_of(_parameter(subject, subject.declared.table))
        named = [g for g in groups if wanted in g.first.trace.leaves or key_of(g.first.array) == wanted]
        if named:
            return named[0]
    return choose(groups, watch, logits, columns, subject.module)


def _in_one(watch: Watch, reader: Reader, head: Head) -> None:
    """Raises NotJudged where both uses go over several parameters, each with some rows of the table."""
    parts = {key_of(watch.products[i].array) for i in head.indices} & set(watch.leaf)
    read = frozenset(key for k in watch.lookups if k.by_ids for key in k.trace.leaves)
    if len(parts) > 1 and parts <= read:
        names = ", ".join(reader.names(parts)[:4])
        raise NotJudged(
            f"the table lies in {len(parts)} parameters ({names}), each with some of its rows, and such a table is not judged; "
            "put together by torch.cat at both ends it is"
        )


def _unlike(subject: TorchSubject, head: Head) -> bool:
    assert subject.declared.head is not None
    return key_of(head.array) != key_of(_parameter(subject, subject.declared.head))


def _named_head(subject: TorchSubject, watch: Watch, logits: Tensor) -> Head | None:
    """The product of the parameter that the declaration names as the head's."""
    assert subject.declared.head is not None
    key = key_of(_parameter(subject, subject.declared.head))
    for i, product in enumerate(watch.products):
        if key in product.trace.leaves and logits.shape[-1] in product.array.shape:
            return Head(product.array, product.trace, product.hidden, [i], product)
    return None


def _parameter(subject: TorchSubject, name: str) -> Tensor:
    for known, tensor in subject._named:
        if known == name:
            return tensor
    raise NotJudged(f"the declaration names {name!r}, but the model has no tensor of that name")


def _describe(
    subject: TorchSubject,
    reader: Reader,
    watch: Watch,
    logits: Tensor,
    flat: Tensor,
    group: Group,
    table: Use,
    view: Tensor | None,
    head: Head | None,
) -> Look:
    subject._table = view if view is not None else group.first.array
    subject._derived = view is None
    subject._products = head.indices if head is not None else []
    head_use: Use | None = None
    subject._head = None
    dtypes: tuple[str, ...] = ()
    if head is not None:
        head_use, head_view = reader.use(head.array, head.trace, head.first.where, head.first.autocast)
        subject._head = head_view
        if head_view is not None:
            subject._heads.add(key_of(head_view))
    own = set(subject._products)
    dtypes = tuple(dtype_name(p.dtype) for i, p in enumerate(watch.products) if i not in own and p.op != "mul")
    assert group.tokens is not None
    read = [group.rows] + [
        _rows_within(k.array, to_numpy(k.rows), subject._table)
        for k in watch.lookups
        if overlap(k.array, subject._table) or (view is None and k.trace.leaves == group.first.trace.leaves)
    ]
    if head is not None:
        parts = group.first.trace.leaves if view is None else frozenset()
        read += [_rows_of_window(w, subject._table, parts) for w in head.first.hidden_trace.windows]
    if _dense(subject, watch, head):
        read.append(np.arange(table.values.shape[0]))
    others = {
        reader.owner(k.array)[0]: None
        for k in watch.lookups
        if key_of(k.array) in watch.leaf and key_of(k.array) != key_of(subject._table)
    }
    last = watch.trace(logits)
    factors = (
        *last.factors,
        *((*head.first.hidden_trace.factors, *head.trace.factors) if head is not None else ()),
    )
    hidden = None
    if head is not None and head.hidden is not None:
        hidden = to_numpy(head.hidden)
    written = reader.names(watch.writes)
    padding = next((k.padding for k in group.lookups if k.padding is not None), None)
    return Look(
        table=table,
        head=head_use,
        tokens=group.tokens.copy(),
        rows=group.rows.copy(),
        rows_read=np.unique(np.concatenate([r.ravel() for r in read])),
        input_scales=rounded(s for k in group.lookups for s in k.scales.values()),
        input_sums=rounded(sum(k.scales.values()) for k in group.lookups),
        factors=tuple(float(f) for f in factors),
        hidden=hidden,
        pieces=head.pieces if head is not None else (),
        product_dtype=dtype_name(head.first.dtype) if head is not None else "",
        network_dtypes=dtypes,
        casts=tuple(sorted(dtype_name(cast) for cast in watch.casts)),
        written=tuple(sorted(written, key=lambda n: n != (table.region.owner if table.region else ""))),
        others=tuple(others),
        padding_seen=padding,
        cut_lookups=_cut([k for k in group.lookups if _flows(k, watch, last)]),
        logits=to_numpy(flat).astype(np.float64),
        cut_products=_cut([watch.products[i] for i in subject._products]),
        head_where=head.first.where if head is not None else "",
        trail=last.trail,
    )


def _dense(subject: TorchSubject, watch: Watch, head: Head | None) -> bool:
    """Whether another product of the table's memory flows into h: a third use that reads every row."""
    if head is None or subject._table is None:
        return False
    return any(overlap(watch.products[i].array, subject._table) for i in head.first.hidden_trace.past)


def _look_by_writing(
    subject: TorchSubject, probe: Probe, reader: Reader, watch: Watch, logits: Tensor, flat: Tensor
) -> Look | None:
    """No lookup was seen: the table is the array where a row of the input moves many logits, and another only its own."""
    before = to_numpy(flat).astype(np.float64)
    columns = flat.shape[-1]
    used = int(probe.ids.ravel()[0])
    absent = next((t for t in range(columns) if t not in set(probe.ids.ravel().tolist())), None)
    best: tuple[float, Tensor] | None = None
    for key in list(watch.leaf):
        for name, tensor in reader.owners.get(key, [("", watch.leaf[key])])[:1]:
            flat = tensor.detach()
            flat = flat.squeeze() if flat.dim() > 2 else flat
            if not flat.is_floating_point() or flat.dim() != 2 or (name and name == subject.declared.head):
                continue
            for matrix in (flat, flat.T):
                if matrix.shape[0] < columns or matrix.shape[0] <= used:
                    continue
                moved = _moved(subject, matrix, used, probe, before)
                other = _moved(subject, matrix, absent, probe, before) if absent is not None else 0.0
                if moved > 0 and other <= 1 and (best is None or moved > best[0]):
                    best = (moved, matrix)
    if best is None:
        return None
    matrix = best[1]
    trace = watch.trace(matrix)
    table, view = reader.use(matrix, trace, "", False)
    head = find_head(watch, logits, columns, matrix)
    group = Group([], np.unique(probe.ids), tokens=np.zeros(0, dtype=np.int64))
    group.lookups = [_pretend(matrix, trace)]
    look = _describe(subject, reader, watch, logits, flat, group, table, view, head)
    empty = np.zeros(0, dtype=np.int64)
    return dataclasses.replace(look, tokens=empty, rows=empty, rows_read=np.unique(probe.ids), input_scales=())


def _moved(subject: TorchSubject, matrix: Tensor, row: int, probe: Probe, before: Array) -> float:
    """How many columns of the logits a random vector in ``row`` moves."""
    with torch.no_grad():
        old = matrix[row].clone()
        spread = float(matrix.float().std()) or 1.0
        generator = torch.Generator("cpu").manual_seed(subject.seed + 2)
        with subject.undone(lambda: matrix.__setitem__(row, old)):
            matrix[row] = (torch.randn(old.shape, generator=generator, device="cpu") * spread).to(matrix)
            try:
                after = subject.logits(probe.ids, probe.train)
            except (IndexError, RuntimeError):
                return 0.0
    return float((np.abs(after - before) > 1e-6 * np.abs(before).max()).any(0).sum())


def _cut(uses: Sequence[Lookup | Product]) -> tuple[str, ...]:
    """Where some of several uses lie outside the graph. All of them say nothing: inside an autograd function none is in it."""
    cut = [use.where for use in uses if not use.graded]
    return tuple(dict.fromkeys(cut)) if len(cut) < len(uses) else ()


def _flows(lookup: Lookup, watch: Watch, last: Trace) -> bool:
    """Whether a lookup flowed into the logits, and was not read beside them alone (a norm that is only clamped by)."""
    return any(watch.lookups[i].where == lookup.where and watch.lookups[i].source is lookup.source for i in last.reads)


def _rows_within(array: Tensor, rows: Array, table: Tensor) -> Array:
    """Row numbers of ``array`` as rows of ``table``, where both are windows on the same rows."""
    if key_of(array) == key_of(table) and array.stride() == table.stride() and table.stride(0):
        shift, rest = divmod(int(array.storage_offset() - table.storage_offset()), table.stride(0))
        rows = rows + shift if rest == 0 else rows
    return np.asarray(rows[(rows >= 0) & (rows < table.shape[0])])


def _rows_of_window(window: Window, table: Tensor, parts: frozenset[int]) -> Array:
    """The rows of the table that a window on its memory reaches, from the first to the last; all, where rows do not lie in
    memory as rows or the table is made of ``parts``."""
    key, offset, shape, strides = window
    mine = key == key_of(table)
    if not all(shape) or not (mine or key in parts):
        return np.zeros(0, dtype=np.int64)
    if not mine or table.stride(0) < table.shape[1]:
        return np.arange(table.shape[0])
    start = offset - int(table.storage_offset())
    last = start + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    first, end = max(start // table.stride(0), 0), min(last // table.stride(0), table.shape[0] - 1)
    return np.arange(first, end + 1)


def _pretend(matrix: Tensor, trace: Trace) -> Lookup:
    return Lookup(matrix, matrix, torch.zeros(0, dtype=torch.long, device="cpu"), trace, True, "", False, True)
