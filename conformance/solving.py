"""h where no pass shows it: solved for from the logits, or read back from rows of the table that were written.

Where D < V the logits of one pass say h by least squares, and what they have beyond is the test. Where D is not smaller,
any logits can be explained by some h; but a row that the pass does not read can hold the unit vector e_d, and its token's
logit is then component d of h.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import scaled, tolerances
from .algebra import CHUNK, Data, Explained, is_normalized, low_rank, not_transposed, problem_of, times_rows
from .evidence import Array

if TYPE_CHECKING:
    from .evidence import Pass

ROUNDS = 6
# Scalars of a table beyond which a cap that nobody declared is not searched for.
CAPPED = 1 << 16


@dataclass(frozen=True, eq=False)
class Law:
    """One map to try: logits = cap(token * h E^T + bias), up to one constant per position where it is normalized.

    ``bias`` is known, by column; where there is one that is not known, ``biased``.
    """

    cap: float | None
    normalized: bool
    biased: bool
    bias: Array | None
    token: Array | None

    def undone(self, logits: Array) -> Array | None:
        """What stands before the cap and the known bias; None where a cap would have let no such logits through."""
        if self.cap is not None:
            if np.abs(logits).max(initial=0.0) >= self.cap:
                return None
            logits = self.cap * np.arctanh(logits / self.cap)
        return logits if self.bias is None else logits - self.bias

    def table(self, table: Array) -> Array:
        """The rows that h meets, in float64."""
        rows = table.astype(np.float64)
        return rows if self.token is None else rows * self.token[:, None]

    def centred(self, left: Array, right: Array) -> tuple[Array, Array]:
        """Logits and rows without what a constant per position leaves open."""
        if not self.normalized:
            return left, right
        return left - left.mean(1, keepdims=True), right - right.mean(0)


def laws(seen: Pass, columns: int) -> list[Law]:
    """Maps to try, fewest departures from the declaration first."""
    declared = seen.declared
    caps = [declared.logit_softcap] + ([None] if declared.logit_softcap else [])
    # Up to a constant per position plain logits are log-probabilities, too: whether they add up to one says which.
    normalized = is_normalized(seen.logits[:, np.isfinite(seen.logits).all(0)], seen.dtype)
    if declared.log_probabilities:
        norms = [normalized, not normalized]
    else:
        norms = [False, True] if normalized else [False]
    if seen.bias is None:
        biases: list[tuple[Array | None, bool]] = [(None, bool(declared.output_bias)), (None, not declared.output_bias)]
    else:
        # What the named parameter holds may act, or nothing, or something else.
        biases = [(seen.bias[:columns], False), (None, False), (None, True)]
    tokens = [None] if seen.token_scale is None else [seen.token_scale[:columns], None]
    options = itertools.product(range(len(tokens)), range(len(caps)), range(len(biases)), range(len(norms)))
    out = []
    for t, k, j, m in sorted(options, key=lambda o: (sum(map(bool, o)), sum(o))):
        bias, biased = biases[j]
        out.append(Law(caps[k], norms[m], biased, bias, tokens[t]))
    return out


def _undeclared(seen: Pass, table: Array, logits: Array, columns: int) -> Iterator[Law]:
    """Maps with numbers in them that nobody declared and the logits say."""
    yield from _freed(seen, table, logits, columns)
    yield from _capped(seen, table, logits, columns)


def _capped(seen: Pass, table: Array, logits: Array, columns: int) -> list[Law]:
    """The declared map with a cap of another size: the one that leaves least of the logits, worked out to the last digit."""
    plain = laws(seen, columns)[0]
    if plain.biased or plain.normalized or table.size > CAPPED:
        return []
    read = [logits] + [w.after[:, :columns] for w in (*seen.units, *([seen.blank] if seen.blank else []))]
    top = max(float(np.abs(z).max()) for z in read)

    def law(excess: float) -> Law:
        return dataclasses.replace(plain, cap=top * (1 + float(np.exp(excess))))

    def left_over(excess: float) -> Array:
        attempt = _readings if seen.units else _solutions
        tried = next(attempt(seen, table, logits, [law(excess)]), None)
        if tried is None:
            return np.full(logits.size, np.inf)
        return np.asarray((tried.hidden @ tried.right.T - tried.left) / np.linalg.norm(tried.left)).ravel()

    grid = np.linspace(-16, 5, 85)
    sizes = [float((left_over(excess) ** 2).sum()) for excess in grid]
    best = float(grid[int(np.argmin(sizes))])
    if not np.isfinite(min(sizes)):
        return []
    for _ in range(2 * ROUNDS):
        rest = left_over(best)
        slope = (left_over(best + tolerances.RANK**0.5) - rest) / tolerances.RANK**0.5
        best -= float(np.clip((slope * rest).sum() / ((slope**2).sum() + tolerances.TINY), -0.25, 0.25))
        if not np.isfinite(best):
            return []
    return [law(best)]


def _freed(seen: Pass, table: Array, logits: Array, columns: int) -> list[Law]:
    """The declared map with a scale for each token that nobody declared, where the logits say which."""
    law = laws(seen, columns)[0]
    left = law.undone(logits)
    if left is None or law.biased or law.normalized or law.token is not None:
        return []
    rows = table.astype(np.float64)
    if seen.units:
        hidden = _hidden(seen, law, table.shape)
        token = None if hidden is None else scaled.read_back(left, hidden, rows, seen.units)
    else:
        token = scaled.solved(left, rows)
    return [] if token is None else [dataclasses.replace(law, token=token)]


def _dtype(seen: Pass) -> str:
    return seen.look.product_dtype if seen.look is not None and seen.look.product_dtype else seen.table_dtype


@dataclass(frozen=True, eq=False)
class _Tried:
    """A law with an h for it: how far the logits are from it, and how far rounding may take them."""

    law: Law
    hidden: Array
    left: Array
    right: Array
    offset: Array | float
    origin: str
    gap: Array
    bound: Array
    zero: Array | float = 0.0

    @property
    def fits(self) -> bool:
        """``zero`` is how far rows of zeros have another logit than the bias that was fitted, at most at a position."""
        allowed = tolerances.FITTED * (self.bound + self.bound.max())
        return bool((self.gap <= allowed).all() and (self.zero <= allowed.max(1)).all())

    def form(self, columns: int) -> Explained:
        """The map that was found."""
        law, bias = self.law, self.law.bias
        if law.biased:
            bias = np.broadcast_to(self.offset, (columns,))
        return Explained(
            True,
            hidden=self.hidden,
            origin=self.origin,
            token_scale=law.token,
            bias=bias,
            cap=law.cap,
            normalized=law.normalized,
            columns=columns,
            afloat=law.biased and self.origin == "solved",
        )

    def worst(self) -> dict[str, Any]:
        """The position and token that are farthest off."""
        position, column = np.unravel_index(int(np.argmax(self.gap - self.bound)), self.gap.shape)
        expected = self.hidden[position] @ self.right[column] + np.broadcast_to(self.offset, self.gap.shape[1:])[column]
        return {
            "position": int(position),
            "token": int(column),
            "expected": float(expected),
            "seen": float(self.left[position, column]),
        }


def _tried(
    seen: Pass, law: Law, hidden: Array, left: Array, right: Array, whole: Array, offset: Array | float, origin: str
) -> _Tried:
    """``whole`` are the rows before anything was taken off them, by which the rounding is measured."""
    gap = np.abs(hidden @ right.T - (left - offset))
    known = law.bias if law.bias is not None else offset
    size = np.abs(left) + np.abs(known)
    bound = tolerances.product(np.abs(hidden) @ np.abs(whole).T, right.shape[1], _dtype(seen), seen.dtype, size)
    return _Tried(law, hidden, left, right, offset, origin, gap, bound)


def solve(seen: Pass, table: Array, logits: Array, columns: int) -> Explained | None:
    """h = logits E (E^T E)^-1; the residual is the test. Needs D < C; None where it cannot be asked.

    What a named parameter holds for each token is put in. A bias that is not known leaves h open by one vector, the same for
    every position: here the mean of h is zero, and `shares.settle` finds the vector in a gradient.
    """
    if columns <= table.shape[1] or few(seen):
        return None
    first, fitting = _fitting(_solutions, seen, table[:columns], logits, columns)
    if first is None or fitting is not None:
        return None if fitting is None else fitting.form(columns)
    narrow = _narrower(seen, table[:columns], lambda rows: _solutions(seen, rows, logits, laws(seen, columns)[:1]))
    problem = "narrow" if narrow else _beside(first.left - first.offset, first.right, first.bound)
    return _unfound(first, columns, problem, narrow)


def _fitting(
    attempt: Callable[[Pass, Array, Array, Iterable[Law]], Iterator[_Tried]],
    seen: Pass,
    table: Array,
    logits: Array,
    columns: int,
) -> tuple[_Tried | None, _Tried | None]:
    """The first law that could be tried, and the first that fits: of those that are declared, then of those that are not."""
    first: _Tried | None = None
    for tried in attempt(seen, table, logits, laws(seen, columns)):
        first = first or tried
        if tried.fits:
            return first, tried
    if first is None:
        return None, None
    undeclared = attempt(seen, table, logits, _undeclared(seen, table, logits, columns))
    return first, next((tried for tried in undeclared if tried.fits), None)


def few(seen: Pass) -> bool:
    """Whether there are too few positions to tell a bias that is not known from anything else."""
    return bool(seen.declared.output_bias) and seen.bias is None and seen.logits.shape[0] < 3


def _unfound(first: _Tried, columns: int, problem: str, narrow: str) -> Explained:
    worst = first.worst() | ({"dtype": narrow} if narrow else {})
    return dataclasses.replace(first.form(columns), found=False, problem=problem, worst=worst)


def _solutions(seen: Pass, table: Array, logits: Array, tries: Iterable[Law]) -> Iterator[_Tried]:
    for law in tries:
        left = law.undone(logits)
        if left is None or (law.biased and logits.shape[0] < 3):
            continue
        whole = law.table(table)
        left, right = law.centred(left, whole)
        offset = left.mean(0) if law.biased else 0.0
        hidden = (left - offset) @ right @ np.linalg.pinv(right.T @ right)
        yield _tried(seen, law, hidden, left, right, whole, offset, "solved")


def read_back(seen: Pass, table: Array, logits: Array, columns: int) -> Explained | None:
    """h as rows that hold unit vectors gave it back, and the logits of all other rows as the test.

    None where no such rows were written, or where the projection did not follow: storage.write-through says so.
    """
    if seen.blank is None or not seen.units:
        return None
    first, fitting = _fitting(_readings, seen, table[:columns], logits, columns)
    if first is None or fitting is not None:
        return None if fitting is None else fitting.form(columns)
    problem, narrow = "", ""
    if not_transposed(table, seen.blank, seen.dtype):
        problem = "not-transposed"
    else:
        narrow = _narrower(seen, table[:columns], lambda rows: _readings(seen, rows, logits, laws(seen, columns)[:1]))
        problem = "narrow" if narrow else _departure(seen, first, table[:columns])
    return _unfound(first, columns, problem, narrow)


def _readings(seen: Pass, table: Array, logits: Array, tries: Iterable[Law]) -> Iterator[_Tried]:
    for law in tries:
        left, hidden = law.undone(logits), _hidden(seen, law, table.shape)
        if left is None or hidden is None:
            continue
        whole = law.table(table)
        left, right = law.centred(left, whole)
        offset = (left - hidden @ right.T).mean(0) if law.biased else 0.0
        tried = _tried(seen, law, hidden, left, right, whole, offset, "read back")
        yield dataclasses.replace(tried, zero=_zero(seen, law, offset)) if law.biased else tried


def _zero(seen: Pass, law: Law, offset: Array | float) -> Array:
    """How far the logits of rows of zeros are from a bias, at most at each position; any bias fits a few positions, not this."""
    assert seen.blank is not None
    left, bias = law.undone(seen.blank.after[:, : np.size(offset)]), np.asarray(offset)[seen.blank.rows]
    assert left is not None
    left = left[:, seen.blank.rows]
    if law.normalized:
        left, bias = left - left.mean(1, keepdims=True), bias - bias.mean()
    return np.asarray(np.abs(left - bias).max(1))


def _hidden(seen: Pass, law: Law, shape: tuple[int, ...]) -> Array | None:
    """(N, D): by how much a token's logit grew from a row of zeros to a unit vector, component by component."""
    assert seen.blank is not None
    columns, width = shape
    kept = np.setdiff1d(np.arange(columns), seen.blank.rows)

    def read(after: Array) -> Array | None:
        left = law.undone(after[:, :columns])
        if left is None or not law.normalized:
            return left
        # The constant of a position moves with every write: rows that keep their values say by how much.
        return left - left[:, kept].mean(1, keepdims=True) if kept.size else None

    zero = read(seen.blank.after)
    hidden = np.zeros((seen.logits.shape[0], width))
    for writing in seen.units:
        one = read(writing.after)
        if zero is None or one is None:
            return None
        filled = np.flatnonzero(np.any(writing.values != 0, axis=1))
        rows, places = writing.rows[filled], writing.values[filled].argmax(1)
        hidden[:, places] = (one[:, rows] - zero[:, rows]) / writing.values[filled, places]
        if law.token is not None:
            hidden[:, places] /= law.token[rows]
    return hidden if np.any(hidden) else None


def _departure(seen: Pass, tried: _Tried, table: Array) -> str:
    """What kind of departure it is where h was read back and the logits are something else."""
    products, absolutes = times_rows(tried.hidden, table, table.shape[0])
    data = Data(products, absolutes, tried.left, table.shape[1], _dtype(seen), seen.dtype, seen.table_dtype)
    misfit = tried.gap / (tolerances.FITTED * (tried.bound + tried.bound.max()))
    return problem_of(data, tried.hidden, table.astype(np.float64), misfit, tried.left.shape[0])


def _narrower(seen: Pass, table: Array, tries: Any) -> str:
    """The narrower dtype in which the table's rows explain the logits, "" where none does."""
    for dtype in tolerances.coarser(seen.table_dtype):
        rounded = tolerances.rounded(table, dtype)
        if np.isfinite(rounded).all() and any(tried.fits for tried in tries(rounded)):
            return dtype
    return ""


def _beside(logits: Array, table: Array, bound: Array) -> str:
    """What kind of departure it is where h had to be solved for: "part" where most columns are explained without the others,
    "delta" where what is left of all columns has a low rank, else "unknown"."""
    logits, table, bound = logits[:, :CHUNK], table[:CHUNK], bound[:, :CHUNK]
    columns, width = table.shape

    def left(kept: Array) -> Array:
        return logits - logits[:, kept] @ np.linalg.pinv(table[kept]).T @ table.T

    whole = rest = left(np.ones(columns, dtype=bool))
    for _ in range(ROUNDS):
        far = (np.abs(rest) / (bound + bound.max())).max(0)
        right = far <= tolerances.FITTED
        if right.sum() > max(2 * width, columns // 2):
            return "part"
        kept = far <= np.quantile(far, 0.75)  # the worst quarter is left out of the next fit
        if kept.sum() <= 2 * width:
            break
        rest = left(kept)
    return "delta" if low_rank(whole, width) else "unknown"
