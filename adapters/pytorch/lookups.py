"""Which array the token ids index: the lookups of a watched pass by the array that they read, best first."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

import numpy as np
from tiecheck.conformance.evidence import Array
from torch import Tensor, nn

from .arrays import same_values, tiled, to_numpy
from .trace import Lookup, Product, Watch, key_of


@dataclass
class Group:
    """All lookups of one array, with the order and the rows in which they read it."""

    lookups: list[Lookup]
    rows: Array
    score: float = 0.0
    tokens: Array | None = None

    @property
    def first(self) -> Lookup:
        return self.lookups[0]


def group_lookups(watch: Watch, ids: Array) -> list[Group]:
    """The lookups by array, best match with the token ids first; those that the ids do not index score 0."""
    groups: dict[tuple[object, ...], list[Lookup]] = {}
    for lookup in watch.lookups:
        key = key_of(lookup.source)
        place: tuple[object, ...]
        if key in watch.leaf:
            place = (key, lookup.array.storage_offset(), *lookup.array.shape, *lookup.array.stride())
        else:
            place = (lookup.trace.leaves, lookup.array.storage_offset(), *lookup.array.shape)
        groups.setdefault(place, []).append(lookup)
    out = []
    for lookups in groups.values():
        if any(k.rows.is_meta for k in lookups):  # no row numbers to compare: what matters is whether the ids gave them
            out.append(Group(lookups, np.zeros(0, np.int64), 2.0 if any(k.by_ids for k in lookups) else 0.0))
            continue
        best = Group(lookups, np.concatenate([to_numpy(k.rows) for k in lookups]))
        if len(lookups) > 1 and _stretches(lookups, ids):
            best.score, best.tokens = 4.0, best.rows
        for part in [best, *(Group([k], to_numpy(k.rows)) for k in lookups if len(lookups) > 1)]:
            score, tokens, rows = _match(part.rows, ids, any(k.by_ids for k in part.lookups))
            if score > best.score:
                best.score, best.tokens, best.rows = score, tokens, rows
        if len(lookups) > 1 and best.score < 3.0 and any(k.by_ids for k in lookups):
            joined = _joined(lookups, ids)
            if joined is not None:
                best.score, best.tokens, best.rows = max(best.score, 2.0), ids.ravel(), joined
        out.append(best)
    return sorted([*_windowed(out, ids, watch), *out], key=lambda g: -g.score)


def _stretches(lookups: list[Lookup], ids: Array) -> bool:
    """Whether each lookup read the ids (B, T) of a stretch of positions, and all together read every position."""
    batch, length = ids.shape
    covered = np.zeros(length, dtype=bool)
    for rows in (to_numpy(k.rows) for k in lookups):
        width, rest = divmod(rows.size, batch)
        if rest or not 0 < width <= length:
            return False
        starts = [a for a in range(length - width + 1) if np.array_equal(rows, ids[:, a : a + width].ravel())]
        if not starts:
            return False
        start = next((a for a in starts if not covered[a]), starts[0])
        covered[start : start + width] = True
    return bool(covered.all())


def _joined(lookups: list[Lookup], ids: Array) -> Array | None:
    """What was read for each position (B, T) where lookups of stretches are put one after the other; None where they do not fit."""
    batch = ids.shape[0]
    sizes = [int(k.rows.numel()) for k in lookups]
    if sum(sizes) != ids.size or any(size % batch for size in sizes):
        return None
    return np.concatenate([to_numpy(k.rows).reshape(batch, -1) for k in lookups], 1).ravel()


def _windowed(groups: list[Group], ids: Array, watch: Watch) -> list[Group]:
    """The lookups of several windows on one array, of which each reads the ids that fall into it, as lookups of the array."""
    by_leaves: dict[frozenset[int], list[Lookup]] = {}
    for group in groups:
        if all(k.by_ids and not k.rows.is_meta for k in group.lookups):
            by_leaves.setdefault(group.first.trace.leaves, []).extend(group.lookups)
    found = []
    for lookups in by_leaves.values():
        several = len({(k.array.storage_offset(), k.array.shape) for k in lookups}) > 1
        arrays = _on_one(lookups) if several else None
        whole = (_columns(lookups, arrays) or _rows(lookups, arrays, watch, ids)) if arrays else None
        if whole is not None:
            score, whole.tokens, whole.rows = _match(whole.rows, ids, True)
            whole.score = min(score, 3.0)
            found += [whole] if whole.score else []
    return found


def _on_one(lookups: list[Lookup]) -> list[Tensor] | None:
    """The windows as windows on the memory of the first: a table that is computed may be computed anew for each of them."""
    first = lookups[0].array.detach()
    out = []
    for array in (k.array.detach() for k in lookups):
        if key_of(array) != key_of(first):
            sizes = {t.untyped_storage().nbytes() // t.element_size() for t in (array, first)}
            flat = [t.as_strided((max(sizes),), (1,), 0) for t in (array, first)] if len(sizes) == 1 else []
            if not flat or array.dtype != first.dtype or not same_values(flat[0][:, None], flat[1][:, None]):
                return None
            array = first.as_strided(array.shape, array.stride(), array.storage_offset())
        out.append(array)
    return out


def _whole(arrays: list[Tensor]) -> Tensor | None:
    """The array that windows on its rows tile, each read once or more often."""
    windows = {(array.storage_offset(), array.shape): array for array in arrays}
    return tiled([windows[place] for place in sorted(windows)])


def _columns(lookups: list[Lookup], arrays: list[Tensor]) -> Group | None:
    """Blocks of columns that were all read by the same ids."""
    rows = to_numpy(lookups[0].rows)
    whole = _whole([array.T for array in arrays])
    if whole is None or not all(np.array_equal(to_numpy(k.rows), rows) for k in lookups):
        return None
    return Group([replace(k, array=whole.T) for k in lookups], rows)


def _rows(lookups: list[Lookup], arrays: list[Tensor], watch: Watch, ids: Array) -> Group | None:
    """Blocks of rows, of which each was read for the ids that fall into it."""
    whole = _whole(arrays)
    if whole is None or not whole.stride(0):
        return None
    moved = [_seen_from(k, whole) for k in lookups]
    rows = [to_numpy(k.rows) for k in moved]
    numbers = [next(i for i, one in enumerate(watch.lookups) if one is k) for k in lookups]
    taken = watch.selected.get(frozenset(numbers))
    if taken is not None:
        rows = [np.where(to_numpy(taken) == numbers[0], rows[0], rows[1])]
    return Group(moved, _met(rows, ids))


def _seen_from(lookup: Lookup, whole: Tensor) -> Lookup:
    shift = (lookup.array.storage_offset() - whole.storage_offset()) // whole.stride(0)
    return replace(lookup, array=whole, rows=lookup.rows + shift)


def _met(rows: list[Array], ids: Array) -> Array:
    """What was read for each position, of several windows that were each read for all of them: its own row where that is
    among it, else the one that is read less often (a window is read at some row of its own for a token that it lacks)."""
    if any(r.size != ids.size for r in rows):
        joined = np.concatenate(rows)
        # Each window was read for the tokens that it has, in an order that is not known.
        return ids.ravel() if np.array_equal(np.sort(joined), np.sort(ids.ravel())) else joined
    choices = np.stack(rows)
    counts = np.stack([_counts(r) for r in rows])
    rare = np.take_along_axis(choices, counts.argmin(0)[None], 0)[0]
    return np.where((choices == ids.ravel()).any(0), ids.ravel(), rare)


def _counts(rows: Array) -> Array:
    """How often each row is read, (N,), by place."""
    _, place, counts = np.unique(rows, return_inverse=True, return_counts=True)
    return np.asarray(counts[place])


def _match(rows: Array, ids: Array, by_ids: bool) -> tuple[float, Array | None, Array]:
    for order in (ids.ravel(), ids.T.ravel()):
        if rows.size == order.size and np.array_equal(rows, order):
            return 4.0, order, rows
    if by_ids:
        for order in (ids.ravel(), ids.T.ravel()):
            if rows.size == order.size:
                seen: dict[int, int] = {}
                if all(seen.setdefault(int(t), int(r)) == int(r) for t, r in zip(order, rows, strict=True)):
                    injective = len(set(seen.values())) == len(seen)
                    return (2.0 if injective else 0.5), order, rows
        if set(ids.ravel().tolist()) <= set(rows.tolist()):
            common = rows[np.isin(rows, ids)]
            return 3.0, common, common
        inner = ids[:, :-1].ravel()
        if inner.size and set(inner.tolist()) <= set(rows.tolist()):
            common = rows[np.isin(rows, ids)]
            return 1.0, common, common
    return 0.0, None, rows


def choose(groups: list[Group], watch: Watch, logits: Tensor, columns: int, module: nn.Module) -> Group | None:
    """Decision 8: the array that the ids index; of several, the one whose rows the projection reads, and all of its rows."""
    if not groups:
        return None
    found = _chosen(groups, watch, logits, columns, module)
    leaves, (rows, width) = found.first.trace.leaves, found.first.array.shape
    read = {p.array.shape[1] for p in _read(watch, logits) if p.trace.leaves == leaves}
    for group in groups:
        more = group.first.array.shape
        taller = more[0] >= columns > rows
        wider = more[0] == rows and more[1] > width and more[1] in read and width not in read
        if group.score >= 2.0 and group.first.trace.leaves == leaves and (taller or wider):
            return group
    return found


def _read(watch: Watch, logits: Tensor) -> list[Product]:
    return [watch.products[i] for i in watch.trace(logits).products]


def _chosen(groups: list[Group], watch: Watch, logits: Tensor, columns: int, module: nn.Module) -> Group:
    best = [g for g in groups if g.score >= min(groups[0].score, 2.0)] or groups[:1]
    if len(best) == 1:
        return best[0]
    reads = _read(watch, logits)
    for group in best:
        if any(p.trace.leaves & group.first.trace.leaves for p in reads if columns in p.array.shape):
            return group
    for group in best:
        if any(p.trace.leaves & group.first.trace.leaves for p in reads):
            return group
    accessor = getattr(module, "get_input_embeddings", None)
    with contextlib.suppress(Exception):
        weight = accessor().weight if callable(accessor) else None
        for group in best:
            if weight is not None and key_of(weight) in group.first.trace.leaves:
                return group
    fitting = [g for g in best if g.first.array.shape[0] == columns]
    return max(fitting or best, key=lambda g: (g.score, g.first.array.numel()))
