"""The two shares of dL/dE apart: R^T h against the gradient on rows that no lookup read, and what is left on the others.

Both are NumPy algebra on the evidence of one pass; the requirements of chapter `gradient` speak of them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from . import tolerances
from .algebra import CACHED, ROWS, Explained, projected, separate, share_of_head, through
from .evidence import Array, Pass


@dataclass(frozen=True, eq=False)
class Off:
    """The projection's share against the gradient on the rows that no lookup read."""

    expected: Array
    seen: Array
    bound: Array
    rows: Array


def unread_rows_of(seen: Pass, form: Explained) -> Array:
    """The rows on which the projection's share stands alone."""
    free = np.ones(form.columns, dtype=bool)
    if not separate(seen):
        free[seen.lookup_rows[seen.lookup_rows < form.columns]] = False
    return np.flatnonzero(free)


def settle(seen: Pass, form: Explained) -> Explained:
    """The map with h moved by the one vector d that the logits alone leave open, where the pass has a gradient that says it.

    It is open where h was solved beside an unknown bias; and an undeclared bias that is E d, with h + d in the gradient, was
    added to h: the logits are (h + d) E^T.
    """
    gradient = _gradient_of_head(seen)
    added = form.bias is not None and not seen.declared.output_bias
    if not form.found or not (form.afloat or added) or form.hidden is None or gradient is None:
        return form
    assert form.bias is not None
    table = projected(seen)[: form.columns].astype(np.float64)
    rows = unread_rows_of(seen, form)
    vector = _beyond(seen, form, gradient, rows)
    if vector is None and not rows.size and added:
        # No row is the projection's alone: that it is no bias of its own is asked of the other passes.
        vector = np.linalg.lstsq(table * form.scale, form.bias, rcond=None)[0]
    if vector is None:
        return form
    scale = form.scale if form.token_scale is None else form.token_scale
    bias = form.bias - scale * (table @ vector)
    moved = dataclasses.replace(form, hidden=form.hidden + vector, bias=bias, product=None, afloat=False)
    if form.afloat:
        return moved
    largest = max(np.abs(form.bias).max(), np.abs(seen.legal[np.isfinite(seen.legal)]).max())
    left = np.abs(bias).max() > tolerances.fitted(seen.dtype) * largest
    return form if left else dataclasses.replace(moved, bias=None, shifted=True)


def _beyond(seen: Pass, form: Explained, gradient: Array, rows: Array) -> Array | None:
    """d (D,) of the gradient R^T (h + 1 d^T) on the rows that no lookup read, None where they do not say it: what is beyond
    R^T h is the row's sum of R times d, for every row the same d. The median over rows says which, so that a few rows of
    another gradient do not move it."""
    R = through(form, projected(seen), seen.cotangent)[rows]
    weight = R.sum(1)
    if not np.any(weight):
        return None
    # Rows whose sum is next to nothing would say d with much noise.
    heavy = np.abs(weight) >= np.median(np.abs(weight))
    assert form.hidden is not None
    beyond = gradient[rows[heavy]].astype(np.float64) - R[heavy] @ form.hidden
    vector: Array = np.median(beyond / weight[heavy, None], axis=0)
    return vector


def _gradient_of_head(seen: Pass) -> Array | None:
    if seen.gradient is None:
        return None
    return seen.gradient.head if separate(seen) and seen.gradient.head is not None else seen.gradient.table


def first_off(seen: Pass) -> Off | int:
    """What `_first_off` finds, worked out once for a pass and kept with it."""
    if "first_off" not in seen.__dict__:
        seen.__dict__["first_off"] = _first_off(seen)
    found: Off | int = seen.__dict__["first_off"]
    return found


def _first_off(seen: Pass) -> Off | int:
    """The first rows on which the projection's share is not what it should be; else how many rows were looked at.

    A few hundred rows at a time, so that nothing of the table's size is made beside it.
    """
    form, table = seen.explained, projected(seen)
    gradient = _gradient_of_head(seen)
    if seen.gradient is None or gradient is None or not form.found or form.hidden is None:
        return 0
    edges = max(max(seen.gradient.edges, default=1), 1)
    dtypes = (seen.table_dtype, seen.dtype, product_dtype(seen))
    part = tolerances.head_share(np.ones(()), form.hidden.shape[0], edges, *dtypes)
    fitted = form.origin != "seen" or form.shifted or form.token_scale is not None or form.cap is not None
    free = np.zeros(form.columns, dtype=bool)
    free[unread_rows_of(seen, form)] = True
    cotangent = through(form, table, seen.cotangent)
    plain = form.cap is None and not form.normalized
    sizes, size_h = np.abs(cotangent), np.abs(form.hidden)
    # One piece of memory for all chunks of float64 that the processor's cache holds.
    room = np.empty((2, CACHED, gradient.shape[1]))
    beyond = np.empty((CACHED, gradient.shape[1]), dtype=bool)
    for start in range(0, form.columns, CACHED):
        rows = slice(start, min(start + CACHED, form.columns))
        gap, bound = room[:, : rows.stop - start]
        np.matmul(cotangent[rows], form.hidden, out=gap)
        np.subtract(gap, gradient[rows], out=gap)
        np.abs(gap, out=gap)
        if plain:
            np.matmul(sizes[rows], size_h, out=bound)
        else:
            bound[:] = share_of_head(form, table, seen.cotangent, rows, absolute=True)
        # h, or the numbers of the map, may have been fitted: then they carry the rounding of the logits.
        slack = tolerances.fitted(seen.dtype) * bound.max() if fitted else 0.0
        bound *= part
        bound += slack
        over = np.greater(gap, bound, out=beyond[: rows.stop - start]).any(1) & free[rows]
        if over.any():
            return _sample(seen, form, start + np.flatnonzero(over), part, fitted)
    return int(free.sum())


def _sample(seen: Pass, form: Explained, rows: Array, part: Array, fitted: bool) -> Off:
    """What a failure is named from: the rows around the first one, and more of them from the whole table."""
    table = projected(seen)
    gradient = _gradient_of_head(seen)
    assert gradient is not None
    unread = unread_rows_of(seen, form)
    rows = np.union1d(rows, unread[:: max(1, unread.size // ROWS)])
    size = share_of_head(form, table, seen.cotangent, rows, absolute=True)
    bound = part * size + (tolerances.fitted(seen.dtype) * size.max() if fitted else 0.0)
    return Off(share_of_head(form, table, seen.cotangent, rows), gradient[rows].astype(np.float64), bound, rows)


def off_entries(head: Off) -> Array:
    result: Array = np.abs(head.seen - head.expected) > head.bound
    return result


def rows_share(seen: Pass, form: Explained, rows: Array) -> tuple[Array, Array]:
    """The lookup's claimed share on rows, and the rounding of the projection's that was taken away."""
    assert seen.gradient is not None and seen.gradient.table is not None
    share = seen.gradient.table[rows].astype(np.float64)
    size = np.zeros_like(share)
    if not separate(seen):
        inside = rows < form.columns
        share[inside] -= share_of_head(form, projected(seen), seen.cotangent, rows[inside])
        size[inside] = share_of_head(form, projected(seen), seen.cotangent, rows[inside], absolute=True)
    bound = tolerances.head_share(
        size,
        form.hidden.shape[0] if form.hidden is not None else 1,
        2,
        seen.table_dtype,
        seen.dtype,
        product_dtype(seen),
    )
    return share, bound


def product_dtype(seen: Pass) -> str:
    return seen.look.product_dtype if seen.look is not None else ""
