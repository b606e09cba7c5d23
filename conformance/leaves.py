"""The small protocol: what an adapter that only translates says of a framework's model, and nothing else.

A *leaf* is one array that the framework's optimizer holds under one name: a leaf of a parameter tree, a variable, a tensor
of a file. Where there are no pointers to compare, the storage of a use is the leaf that it reads. Only NumPy crosses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from . import tolerances
from .algebra import is_normalized
from .evidence import Array
from .operations import Operation


class Leaves(Protocol):
    """One model of a framework. The first three are needed; what is missing of the others makes requirements skip.

    ``model`` is the framework's model as it now is. Further attributes: ``device`` ("cpu"), ``packages`` (names whose versions
    the report gives), ``idiom`` (the line that ties in this framework), ``unasked`` (a reason for each name below that is
    missing on purpose, or is there and must not be asked of this model).

    - ``gradient(ids, R) -> Mapping``: d<R, logits>/d leaf by name, for R of the logits' shape (B, T, C), in eval mode
    - ``stepper(kind, rate, decay) -> Callable[[Mapping], None]``: the framework's own "sgd" (momentum 0.9) or "adamw"; what it
      returns takes gradients by name and makes one step, with the optimizer's state kept between calls
    - ``trained() -> Collection``: names of the leaves that an optimizer is given; without it, all
    - ``ways() -> tuple[Way, ...]``: what users of the framework do to a model; "deepcopy" is how it is copied
    - ``own_counts() -> Mapping``: what the model says of its own size
    """

    model: Any

    def logits(self, ids: Array) -> Array:
        """Logits (B, T, C), or (B, C) for the last position alone, for ids (B, T), in eval mode."""
        ...

    def leaves(self) -> Mapping[str, Array]:
        """Every leaf by name, once each, in the dtype that it has; the arrays may be the model's own."""
        ...

    def write(self, name: str, values: Array) -> None:
        """Put values of the same shape and dtype in a leaf's place."""
        ...


Way = Operation
"""One way in which users do one thing to a model: an `Operation` whose ``perform`` goes from the framework's model, and a
function that builds a fresh one, to the model that comes back."""


@dataclass(frozen=True)
class End:
    """Which leaf one use of the table reads, and whether it holds the table the other way round, as (D, V).

    ``elsewhere``: the passes read some of its rows for something else, too, whatever the ids (positions).
    """

    name: str
    turned: bool = False
    elsewhere: bool = False

    def read(self, leaves: Mapping[str, Array]) -> Array:
        """The (V, D) array."""
        return leaves[self.name].T if self.turned else leaves[self.name]


@dataclass(frozen=True)
class Answer:
    """What a write to one row of a leaf did to two calls, one of that row's token alone and one without it."""

    end: End
    lookup: bool
    projection: bool
    moved: float


def find(
    model: Leaves, call: Callable[[Array], Array], tokens: tuple[int, int], shape: tuple[int, int], constant: bool
) -> tuple[End | None, End | None]:
    """The leaves that the lookup and the projection read, found by writing one row of every leaf that could be a table.

    A row of the lookup's moves the logits of its own token's call and leaves the other call alone, but for the column of
    that token; a row of the projection's moves that column in both.

    Args:
        call: ids (B, T) to logits (N, C); calls that are counted.
        tokens: two ids, in 0..V-1.
        shape: (B, T) that the model takes.
        constant: log-probabilities are declared: a column moves all others by one number a position. Where they are there
            undeclared, that is seen.
    """
    own = tokens[0]
    calls = [alone(shape, token) for token in tokens]
    before = [call(ids) for ids in calls]
    noisy = any(not np.array_equal(call(ids), z, equal_nan=True) for ids, z in zip(calls, before, strict=True))
    columns = before[0].shape[1]
    # Whether that is declared is asked later; here it only says how a column may move the others.
    constant = constant or all(is_normalized(z[:, np.isfinite(z).all(0)], "float32") for z in before)
    found: list[Answer] = []
    leaves = model.leaves()
    for end in candidates(leaves, columns, max(tokens)):
        # What has another number of rows is doubted only where those with a row for each logit are not both uses.
        if end.read(leaves).shape[0] != columns and _complete(found):
            break
        old = np.array(leaves[end.name])
        new = np.array(old)
        row = new.T if end.turned else new
        row[own] = _drawn(row, own)
        model.write(end.name, new)
        try:
            after = [call(ids) for ids in calls]
        finally:
            model.write(end.name, old)
        moved = [_moved(a - b, constant) for a, b in zip(after, before, strict=True)]
        found += _answer(end, moved, own, noisy)
    lookups = sorted((a for a in found if a.lookup), key=lambda a: (not a.projection, -a.moved))
    table = lookups[0] if lookups else None
    if table is not None and table.projection:
        return table.end, table.end
    head = next((a.end for a in found if not a.lookup), None)
    if table is None:
        across = _across(model, call, calls, before, constant)
        return across, across or head
    return table.end, head or _last_row(model, call, calls, before, constant)


def _last_row(
    model: Leaves, call: Callable[[Array], Array], calls: list[Array], before: list[Array], constant: bool
) -> End | None:
    """A leaf of which the projection reads the last row, found where its first rows are read for something else: a table of
    positions, whose rows at the length of the calls move everything."""
    columns = before[0].shape[1]
    leaves = model.leaves()
    for end in candidates(leaves, columns, columns - 1):
        old = np.array(leaves[end.name])
        new = np.array(old)
        row = new.T if end.turned else new
        row[columns - 1] = _drawn(row, columns)
        model.write(end.name, new)
        try:
            moved = [_moved(call(ids) - z, constant) > 0 for ids, z in zip(calls, before, strict=True)]
        finally:
            model.write(end.name, old)
        if all(np.flatnonzero(m).tolist() == [columns - 1] for m in moved):
            return End(end.name, end.turned, elsewhere=True)
    return None


def _across(
    model: Leaves, call: Callable[[Array], Array], calls: list[Array], before: list[Array], constant: bool
) -> End | None:
    """A square leaf whose rows the lookup reads and whose columns the projection does, which V = D hides.

    Every row that is written moves every logit then. One entry tells the uses apart: in the row of the one call's token it moves most
    logits there, and in the call without that token the logit of its column alone.
    """
    columns = before[0].shape[1]
    own, other = int(calls[0].flat[0]), int(calls[1].flat[0])
    column = next((c for c in range(columns) if c not in (own, other)), None)
    for name, leaf in model.leaves().items():
        if column is None or leaf.shape != (columns, columns) or not is_float(leaf):
            continue
        old = np.array(leaf)
        new = np.array(old)
        new[own, column] = _drawn(old, own)[column]
        model.write(name, new)
        try:
            moved = [_moved(call(ids) - z, constant) > 0 for ids, z in zip(calls, before, strict=True)]
        finally:
            model.write(name, old)
        if 2 * moved[0].sum() > columns and np.flatnonzero(moved[1]).tolist() == [column]:
            return End(name)
    return None


def _answer(end: End, moved: list[Array], own: int, noisy: bool) -> list[Answer]:
    """What a write did, from how far each column moved in the token's own call and in the other.

    A lookup moves most columns of its own call, a projection one: its token's, or a few where it reads other rows than it
    should, which is for the requirements to say. Where the same call gives other logits each time, nothing stands still, and
    the leaf is as good as the difference between the two calls.
    """
    size = [float(np.delete(m, own).max(initial=0.0)) for m in moved]
    if noisy:
        ratio = size[0] / (size[1] + tolerances.TINY)
        return [Answer(end, True, True, ratio)] if ratio > 1 else []
    most, few = moved[0].size / 2, max(1, moved[0].size // 8)
    counts = [int((m > 0).sum()) for m in moved]
    lookup = counts[0] > most
    if counts[1] > few or (not lookup and counts[0] > few):
        return []
    if lookup:
        return [Answer(end, True, counts[1] > 0, size[0])]
    return [Answer(end, False, True, 0.0)] if counts[1] else []


def _complete(found: list[Answer]) -> bool:
    return any(a.lookup for a in found) and any(a.projection for a in found)


def candidates(leaves: Mapping[str, Array], columns: int, largest: int) -> list[End]:
    """Every leaf, either way round, that has a row for each id; those with a row for each logit first."""
    ends = [
        End(name, turned)
        for name, leaf in leaves.items()
        if leaf.ndim == 2 and is_float(leaf)
        for turned in (False, True)
        if leaf.shape[1 if turned else 0] > largest
    ]
    return sorted(ends, key=lambda e: leaves[e.name].shape[1 if e.turned else 0] != columns)


def _drawn(rows: Array, seed: int) -> Array:
    """A random row of the table's size; never along one direction, which a norm would hide."""
    spread = float(np.std(rows[: 1 << 10].astype(np.float64))) or 1.0
    drawn: Array = np.random.default_rng([seed, 67]).standard_normal(rows.shape[1:]) * 3 * spread
    return drawn.astype(rows.dtype)


def _moved(delta: Array, constant: bool) -> Array:
    """By how much each column moved, (C,); up to one number a position, and its rounding, for log-probabilities."""
    inside: Array = np.nan_to_num(delta)
    if constant:
        whole = float(np.abs(inside).max(initial=0.0))
        # One column may have moved by itself: the others say what the number is.
        inside = inside - np.median(inside, axis=1, keepdims=True)
        inside[np.abs(inside) <= tolerances.NEAR * whole] = 0.0
    return np.asarray(np.abs(inside).max(0))


def alone(shape: tuple[int, int], token: int) -> Array:
    """Ids that are nothing but one token."""
    return np.full(shape, token, dtype=np.int64)


def flat(logits: Array) -> Array:
    """Logits (N, C) in float64."""
    return np.asarray(logits, dtype=np.float64).reshape(-1, logits.shape[-1])


def is_float(leaf: Array) -> bool:
    """Floats of NumPy's and those that ml_dtypes adds to it (bfloat16)."""
    return leaf.dtype.kind == "f" or leaf.dtype.name.startswith(("bfloat16", "float"))
