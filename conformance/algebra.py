"""From h, the array that the projection read and the logits to the map between them, in NumPy float64 and without torch.

The declared law is logits = cap(s h E^T + b), up to one constant per position for log-probabilities. `explain` finds the
simplest such map that the numbers allow, the declared one first; what else it needed is what was not declared.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from . import tolerances
from .declaration import Declaration
from .evidence import After, Array

if TYPE_CHECKING:
    from .evidence import Pass, Region, Writing

ROWS = 4096
# Rows at a time: few enough to stay in the cache, and for a BLAS not to wake threads that wait for torch's.
CACHED = 64
CHUNK = 512


@dataclass(frozen=True, eq=False)
class Explained:
    """The map that was found, or why there is none.

    Attributes:
        found: a map of the declared kind explains every logit within rounding.
        asked: there was something to explain (h was seen or could be solved for).
        hidden: (N, D) h by position of the logits.
        scale, token_scale, bias, cap, normalized: the map.
        columns: how many columns it speaks of.
        product: h E^T (N, columns), kept for the gradient.
        origin: of h: "seen", or "solved" from the logits, or "read back" from rows that were written.
        problem: where none was found: "rows", "columns", "not-transposed", "part", "delta", "narrow" or "unknown"; "weak" where
            too few rows were seen to tell a bias or scale per token from anything else.
        worst: the position and token that are farthest off, with what was expected and seen.
        afloat: h was solved beside a bias that is not known, and is right up to one vector, the same for every position.
        shifted: h is what was seen and one vector more, which was fitted.
    """

    found: bool
    asked: bool = True
    hidden: Array | None = None
    origin: str = "seen"
    scale: float = 1.0
    token_scale: Array | None = None
    bias: Array | None = None
    cap: float | None = None
    normalized: bool = False
    columns: int = 0
    product: Array | None = None
    problem: str = ""
    worst: dict[str, Any] = field(default_factory=dict)
    afloat: bool = False
    shifted: bool = False

    def forward(self, product: Array) -> Array:
        """h E^T (N, C) to logits."""
        value = product * (self.scale if self.token_scale is None else self.token_scale)
        if self.bias is not None:
            value = value + self.bias
        if self.cap is not None:
            value = self.cap * np.tanh(value / self.cap)
        return value - log_sum_exp(value) if self.normalized else value

    def cotangent(self, product: Array, cotangent: Array) -> Array:
        """dL/d(h E^T) for dL/dlogits: the chain rule through normalization, cap and scale, in that order."""
        value = product * (self.scale if self.token_scale is None else self.token_scale)
        if self.bias is not None:
            value = value + self.bias
        capped = self.cap * np.tanh(value / self.cap) if self.cap is not None else value
        out = cotangent
        if self.normalized:
            out = out - np.exp(capped - log_sum_exp(capped)) * out.sum(1, keepdims=True)
        if self.cap is not None:
            out = out * (1 - (capped / self.cap) ** 2)
        return out * (self.scale if self.token_scale is None else self.token_scale)


def log_sum_exp(values: Array) -> Array:
    """log sum exp over columns, (N, 1)."""
    top = values.max(1, keepdims=True)
    result: Array = top + np.log(np.exp(values - top).sum(1, keepdims=True))
    return result


def is_normalized(logits: Array, dtype: str) -> bool:
    """Whether the exponentials of each position add up to one, up to the precision of ``dtype``, not beyond float32's."""
    coarse = max(dtype, "float32", key=tolerances.unit)
    return logits.size > 0 and bool(np.abs(log_sum_exp(logits)).max() <= tolerances.log_probabilities(logits, coarse))


def times_rows(left: Array, table: Array, columns: int) -> tuple[Array, Array]:
    """left (N, D) times table[:columns] (V, D) transposed, and the same of absolute values, both in float64 (N, columns);
    a few hundred rows at a time, each widened once."""
    product, absolute = np.empty((columns, left.shape[0])), np.empty((columns, left.shape[0]))
    right, size = left.T.copy(), np.abs(left).T.copy()
    room = np.empty((CACHED, table.shape[1]))  # one piece of memory for all chunks: fresh pages cost more than sums
    for start in range(0, columns, CACHED):
        stop = min(start + CACHED, columns)
        part = room[: stop - start]
        np.copyto(part, table[start:stop])
        np.matmul(part, right, out=product[start:stop])
        np.matmul(np.abs(part, out=part), size, out=absolute[start:stop])
    return product.T, absolute.T


@dataclass(frozen=True, eq=False)
class Data:
    """Rows to explain: products, their absolute counterparts, logits; and how they were rounded. ``indirect``: what the logits go
    through is no tanh, so that a cap may be put together from numbers of its own size."""

    products: Array
    absolutes: Array
    logits: Array
    width: int
    product_dtype: str
    dtype: str
    table_dtype: str = ""
    indirect: bool = False

    @property
    def distinct(self) -> int:
        """How many different rows there are."""
        return int(np.unique(self.products[:, :8].round(6), axis=0).shape[0])

    def weights(self) -> Array:
        """One over the square of each row's rounding, (rows, 1): a row of large h must not blur a bias on the others."""
        size = self.absolutes.max(1, keepdims=True) + np.abs(self.logits).max(1, keepdims=True)
        size = np.maximum(
            size, tolerances.WEIGHT_FLOOR * size.max() + tolerances.TINY
        )  # a row of zeros is exact, but tells next to nothing
        return np.asarray((size.min() / size) ** 2)

    def misfit(self, form: Explained, slack: float = 1.0) -> Array:
        """|logits - form| as a multiple of what rounding allows, (rows, C)."""
        value = form.forward(self.products)
        raw = np.abs(self.products * (form.scale if form.token_scale is None else form.token_scale))
        magnitude = np.maximum(np.abs(self.logits), raw + (0 if form.bias is None else np.abs(form.bias)))
        if form.cap is not None and self.indirect:
            magnitude = np.maximum(magnitude, form.cap)
        gain = abs(form.scale) if form.token_scale is None else np.abs(form.token_scale)
        bound = tolerances.product(
            self.absolutes * gain, self.width, self.product_dtype, self.dtype, magnitude, self.table_dtype
        )
        weight = self.weights()
        # A fitted number carries the rounding of the rows that it was fitted on to all others.
        center = (weight * self.products).sum(0) / weight.sum() if form.bias is not None else 0.0
        level = (weight * bound).sum(0) / weight.sum() if form.bias is not None else 0.0
        slope = 0.0
        if form.token_scale is not None:
            size = np.abs(self.products - center)
            slope = (weight * size * bound).sum(0) / ((weight * size**2).sum(0) + tolerances.TINY)
        bound = bound + level + slope * (np.abs(self.products) + np.abs(center))
        delta = self.logits - value
        if form.normalized:
            delta = delta - np.median(delta, axis=1, keepdims=True)
            bound = bound + np.max(bound, axis=1, keepdims=True)
        result: Array = np.abs(delta) / (slack * bound + tolerances.TINY)
        return result


def projected(seen: Pass) -> Array:
    """The array that the projection is judged against: the table, or the projection's own where it is another memory."""
    look = seen.look
    if look is None and seen.head is not None:
        return seen.head
    if look is None or look.head is None:
        return seen.table
    if look.head.region is not None and look.table.region is not None:
        return look.head.values if separate(seen) else seen.table
    same = set(look.head.leaves) == set(look.table.leaves) or scaled_as_declared(seen)
    return seen.table if same and look.head.values.shape[1] == seen.table.shape[1] else look.head.values


def separate(seen: Pass) -> bool:
    """Whether the projection is known to read memory of its own, of which the lookup's table holds nothing."""
    look = seen.look
    if look is None or look.head is None:
        return look is None and seen.head is not None
    if look.head.region is None or look.table.region is None:
        return not set(look.head.leaves) & set(look.table.leaves)
    return look.head.region.storage != look.table.region.storage or not overlap(look.head.region, look.table.region)


def not_transposed(table: Array, writing: Writing, dtype: str) -> bool:
    """Whether a write to rows of a square table moved every logit as h E says: by a multiple of what was written, column by
    column, and not the written tokens' logits alone."""
    if table.shape[0] != table.shape[1] or writing.before.shape[1] != table.shape[1]:
        return False
    delta = np.nan_to_num(writing.after - writing.before)
    written = writing.values - table[writing.rows].astype(np.float64)
    beyond = delta - delta @ np.linalg.pinv(written) @ written
    others = np.delete(np.abs(delta), writing.rows, axis=1)
    top = float(np.abs(writing.before).max() + np.abs(delta).max())
    allowed = tolerances.same_numbers(dtype) * top
    return bool(np.abs(beyond).max(initial=0.0) <= allowed < others.max(initial=0.0))


def overlap(one: Region, other: Region) -> bool:
    """Whether two windows on one memory meet."""
    ends = [r.offset + sum((n - 1) * s for n, s in zip(r.shape, r.strides, strict=True)) for r in (one, other)]
    return one.offset <= ends[1] and other.offset <= ends[0]


def scaled_as_declared(seen: Pass) -> bool:
    """Whether the projection's array is the table with the declared scale per token multiplied into its rows."""
    look, name = seen.look, seen.declared.scale_parameter
    if look is None or look.head is None or name is None or set(look.head.leaves) ^ set(look.table.leaves) != {name}:
        return False
    rows = min(look.head.values.shape[0], look.table.values.shape[0])
    one, other = look.table.values[:rows].astype(np.float64), look.head.values[:rows].astype(np.float64)
    return tolerances.proportional(one, other, look.head.dtype, axis=1) is not None


def explain(seen: Pass) -> Explained:
    """The simplest map from h and the projection's array to the logits of a pass."""
    from .solving import read_back, solve

    table = projected(seen)
    declared = seen.declared
    columns = min(seen.logits.shape[1], table.shape[0], declared.vocabulary or table.shape[0])
    logits = seen.logits[:, :columns]
    finite: Array = np.asarray(np.isfinite(logits).all(0))
    if not finite.all():
        columns = int(np.argmin(finite)) if finite[0] else 0
        logits = logits[:, :columns]
    if columns == 0:
        return Explained(False, asked=False)
    look = seen.look
    pool = look.hidden if look is not None else None
    if pool is not None and pool.shape[1] == table.shape[1]:
        forms = []
        assert look is not None
        for order in orders(pool.astype(np.float64), table, logits, seen.probe.ids.shape, look.pieces):
            forms.append(_explain_with(seen, table, pool[order].astype(np.float64), logits, columns, order))
            if forms[-1].found or not forms[-1].asked:
                return forms[-1]
        if forms:
            solved = solve(seen, table, logits, columns) if forms[0].problem == "unknown" else None
            trusted = pool.shape[0] == logits.shape[0]
            return solved if solved is not None and solved.found and not trusted else forms[0]
    solved = solve(seen, table, logits, columns) or read_back(seen, table, logits, columns)
    return solved if solved is not None else Explained(False, asked=False, columns=columns)


def orders(
    pool: Array, table: Array, logits: Array, shape: tuple[int, ...], pieces: tuple[int, ...] = ()
) -> Iterator[Array]:
    """In which order the rows of what the projection read may stand for the logits' positions: as they are, time-major, in
    stretches of positions, or each position with the row whose products it resembles most (chunks, repeats)."""
    count = logits.shape[0]
    if pool.shape[0] == count:
        yield np.arange(count)
        if count == int(np.prod(shape)) and min(shape) > 1:
            yield np.arange(count).reshape(shape[::-1]).T.ravel()
            if len(pieces) > 1 and sum(pieces) == count and not any(rows % shape[0] for rows in pieces):
                stretches = np.split(np.arange(count), np.cumsum(pieces)[:-1])
                yield np.concatenate([rows.reshape(shape[0], -1) for rows in stretches], 1).ravel()
    step = max(1, logits.shape[1] // 2048)
    picked = np.arange(0, logits.shape[1], step)
    best = _correlation(logits[:, picked], pool @ table[picked].astype(np.float64).T).argmax(1)
    if not np.array_equal(best, np.arange(pool.shape[0])):
        yield best


def _correlation(one: Array, other: Array) -> Array:
    one = one - one.mean(1, keepdims=True)
    other = other - other.mean(1, keepdims=True)
    one = one / (np.linalg.norm(one, axis=1, keepdims=True) + tolerances.TINY)
    other = other / (np.linalg.norm(other, axis=1, keepdims=True) + tolerances.TINY)
    result: Array = one @ other.T
    return result


def _explain_with(seen: Pass, table: Array, hidden: Array, logits: Array, columns: int, order: Array) -> Explained:
    look = seen.look
    dtype = look.product_dtype if look is not None and look.product_dtype else seen.table_dtype
    rows, target = hidden, logits
    if seen.injected is not None:
        # Blocks were put in as the projection reads, and came back as the logits stand.
        blocks = seen.injected[0].reshape(-1, *hidden.shape).astype(np.float64)[:, order]
        rows = np.concatenate([hidden, blocks.reshape(-1, hidden.shape[1])])
        target = np.concatenate([logits, seen.injected[1][:, :columns]])
    if rows.shape[0] < 2 * declared_free(seen):
        return Explained(False, asked=False, hidden=hidden, columns=columns)
    data = Data(
        *times_rows(rows, table, columns),
        target,
        table.shape[1],
        dtype,
        seen.dtype,
        seen.table_dtype,
        indirect=look is not None and "tanh" not in look.trail,
    )
    factors = look.factors if look is not None else ()
    for form, slack, weak in candidates(data, seen.declared, table.shape[1], factors):
        if data.misfit(form, slack).max() <= 1:
            if weak:
                return Explained(False, asked=False, hidden=hidden, columns=columns, problem="weak")
            return _with(form, hidden=hidden, columns=columns, product=data.products[: hidden.shape[0]])
    plain = Explained(False, scale=seen.declared.output_factor(table.shape[1]), cap=seen.declared.logit_softcap)
    misfit = data.misfit(plain)
    position, token = np.unravel_index(int(np.argmax(misfit)), misfit.shape)
    worst = {
        "position": int(position),
        "token": int(token),
        "expected": float(plain.forward(data.products)[position, token]),
        "seen": float(target[position, token]),
    }
    problem = problem_of(
        data, rows, table[:columns].astype(np.float64) if table.size < 1 << 24 else None, misfit, hidden.shape[0]
    )
    return _with(plain, hidden=hidden, columns=columns, problem=problem, worst=worst)


def declared_free(seen: Pass) -> int:
    """How many numbers per token the declaration leaves free: a bias, a scale."""
    return bool(seen.declared.output_bias) + bool(seen.declared.scale_parameter)


def _with(form: Explained, **changes: Any) -> Explained:
    return dataclasses.replace(form, **changes)


def candidates(
    data: Data, declared: Declaration, width: int, factors: tuple[float, ...]
) -> Iterator[tuple[Explained, float, bool]]:
    """Maps to try, fewest departures from the declaration first; each with the slack that its fitted numbers need, and
    whether it is too weak to be believed."""
    wanted = declared.output_factor(width)
    scales: list[Any] = [wanted]
    if declared.scale_parameter:
        scales = ["token", 1.0]
    elif wanted != 1.0:
        scales.append(1.0)
    scales += [s for s in ("free", "token") if s not in scales]
    biases = [bool(declared.output_bias), not declared.output_bias]
    caps: list[Any] = [declared.logit_softcap] + ([None] if declared.logit_softcap else []) + ["free"]
    norms = [declared.log_probabilities, not declared.log_probabilities]
    options = list(itertools.product(range(len(scales)), range(2), range(len(caps)), range(2)))
    options.sort(key=lambda o: (sum(map(bool, o)), sum(o)))
    for i, j, k, m in options:
        if bool(i) + bool(j) + bool(k) + bool(m) > 2:
            return  # with three extras that nobody declared anything can be explained
        # Few rows are explained by any number per token: then nothing is known.
        weak = bool((i and scales[i] == "token") or (j and biases[j])) and data.distinct < 4
        form = _fit(data, scales[i], biases[j], caps[k], norms[m])
        if form is not None:
            # Numbers that were fitted carry the rounding of the rows that they were fitted on to the others.
            exact = (i, j, k, m) == (0, 0, 0, 0) and not biases[0] and not declared.scale_parameter
            yield form, 1.0 if exact else tolerances.FITTED, weak


def _fit(data: Data, scale: Any, biased: bool, cap: Any, normalized: bool) -> Explained | None:
    """Least squares for what is free in a map; None where there are too few rows for it."""
    if cap == "free":
        return _fit_cap(data, scale, biased, normalized)
    logits, product = data.logits, data.products
    weight = np.broadcast_to(data.weights(), logits.shape)
    if normalized and (
        cap is not None or np.abs(log_sum_exp(logits)).max() > tolerances.log_probabilities(logits, data.dtype)
    ):
        return None
    if cap is not None:
        ratio = logits / cap
        if np.abs(ratio).max() > tolerances.beyond_cap(data.dtype):
            return None
        ratio = np.clip(ratio, -tolerances.ALMOST_CAP, tolerances.ALMOST_CAP)
        logits, weight = cap * np.arctanh(ratio), weight * (1 - ratio**2) ** 2
    if normalized and scale == "token":
        return _fit_normalized(data, biased)
    if normalized:
        logits, product = logits - logits.mean(1, keepdims=True), product - product.mean(1, keepdims=True)
    count = logits.shape[0]
    if count < 1 + biased + (scale == "token"):
        return None
    mean_l, mean_p = np.zeros(logits.shape[1]), np.zeros(logits.shape[1])
    if biased:
        total = weight.sum(0) + tolerances.TINY
        mean_l, mean_p = (weight * logits).sum(0) / total, (weight * product).sum(0) / total
    left, right = logits - mean_l, product - mean_p
    token: Array | None = None
    if scale == "token":
        token = (weight * left * right).sum(0) / ((weight * right * right).sum(0) + tolerances.TINY)
        number = 1.0
    elif scale == "free":
        number = float((weight * left * right).sum() / ((weight * right * right).sum() + tolerances.TINY))
    else:
        number = float(scale)
    bias = mean_l - (number if token is None else token) * mean_p if biased else None
    return Explained(True, scale=number, token_scale=token, bias=bias, cap=cap, normalized=normalized)


def _fit_normalized(data: Data, biased: bool) -> Explained | None:
    """Log-probabilities with a scale per token: l + c = a z + b, with a constant c for each position (N) and a and b for each
    token. What the tokens' own numbers leave of l + c is linear in c, so that c solves N equations; a and b follow."""
    z, logits = data.products, data.logits
    if z.shape[0] < 4 or z.size > 1 << 22:
        return None
    s = np.sqrt(data.weights())
    one, target, right = np.broadcast_to(s, z.shape), s * logits, s * z
    length = np.linalg.norm(one, axis=0) + tolerances.TINY
    basis = [one / length] if biased else []
    rest = right - (basis[0] * (basis[0] * right).sum(0) if biased else 0.0)
    basis.append(rest / (np.linalg.norm(rest, axis=0) + tolerances.TINY))
    left = target - sum(q * (q * target).sum(0) for q in basis)
    matrix = z.shape[1] * np.eye(z.shape[0]) - sum(q @ q.T for q in basis)
    constant = np.linalg.lstsq(matrix, -left.sum(1, keepdims=True), rcond=tolerances.RANK)[0] / s
    whole = s * (logits + constant)
    token = (rest * whole).sum(0) / ((rest * right).sum(0) + tolerances.TINY)
    bias = (basis[0] * (whole - token * right)).sum(0) / length if biased else None
    return Explained(True, token_scale=token, bias=bias, normalized=True)


def _fit_cap(data: Data, scale: Any, biased: bool, normalized: bool) -> Explained | None:
    """A cap c that is not known: search log c for the least misfit of the rest."""
    top = float(np.abs(data.logits).max())
    if top == 0 or normalized:
        return None

    def loss(exponent: float) -> float:
        form = _fit(data, scale, biased, top * (1 + np.exp(exponent)), False)
        if form is None:
            return np.inf
        return float(np.mean((form.forward(data.products) - data.logits) ** 2))

    grid = np.linspace(-16, 5, 85)
    values = [loss(e) for e in grid]
    best = int(np.argmin(values))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    for _ in range(60):
        third = (high - low) / 3
        if loss(low + third) < loss(high - third):
            high -= third
        else:
            low += third
    return _fit(data, scale, biased, top * (1 + float(np.exp((low + high) / 2))), False)


def problem_of(data: Data, rows: Array, table: Array | None, misfit: Array, natural: int) -> str:
    """What kind of departure it is where no map of the declared kind fits."""
    right: Array = np.asarray((misfit <= 1).all(0))
    if table is None:
        return "part" if right.any() and not right.all() else "unknown"
    columns, width = table.shape
    sample = np.unique(np.linspace(0, columns - 1, min(columns, 32)).astype(int))
    bound = tolerances.product(data.absolutes, width, data.product_dtype, data.dtype, np.abs(data.logits))
    elsewhere = 0
    for token in sample:
        gap = np.abs(data.products - data.logits[:, [token]])
        fits: Array = np.asarray((gap <= bound + bound[:, [token]]).all(0))
        elsewhere += bool(fits.any() and not fits[token])
    if elsewhere and elsewhere >= 0.5 * (~right[sample]).sum():
        return "rows"
    if columns == width and (np.abs(rows @ table - data.logits) <= 2 * bound).all():
        return "not-transposed"
    if 0 < right.sum() < columns:
        return "part"
    if columns > width:
        solved = data.logits @ table @ np.linalg.pinv(table.T @ table)
        residual = np.abs(solved @ table.T - data.logits).max()
        top = np.abs(data.logits).max() + tolerances.TINY
        if residual < tolerances.NEAR * top:
            same = (
                np.abs(np.sort(np.abs(solved), 1) - np.sort(np.abs(rows), 1)).max()
                < 10 * tolerances.NEAR * np.abs(rows).max()
            )
            return "columns" if same else "unknown"
    # A chosen h goes into the product alone; what stands beside it still reads the pass's own.
    own = slice(0, natural)
    return "delta" if low_rank((data.logits - data.products)[own, :CHUNK]) else "unknown"


def low_rank(delta: Array, width: int | None = None) -> bool:
    """Whether what the logits have beside h E^T (N, C) has at most half the rank that it could have: a low-rank adapter."""
    most = min(*delta.shape, width or delta.shape[1])
    if most < 4:
        return False
    sizes = np.linalg.svd(delta, compute_uv=False)
    rank = int((sizes > tolerances.NEAR * sizes[0]).sum())
    return bool(rank <= most // 2)


def through(form: Explained, table: Array, cotangent: Array) -> Array:
    """dL/d(h E^T) by the chain rule, transposed (columns, N): its rows times h are the projection's share."""
    R = cotangent[:, : form.columns]
    if form.cap is None and form.token_scale is None and not form.normalized:
        return np.ascontiguousarray(R.T) * form.scale
    product = form.product if form.product is not None else times_rows(form.hidden, table, form.columns)[0]  # type: ignore[arg-type]
    return np.ascontiguousarray(form.cotangent(product, R).T)


def share_of_head(
    form: Explained, table: Array, cotangent: Array, rows: Array | slice, absolute: bool = False
) -> Array:
    """The projection's share of dL/dE, R^T h by the chain rule, on some rows; (rows, D) float64.

    With ``absolute``: |R|^T |h| times the largest gain, the scale of its rounding.
    """
    assert form.hidden is not None
    if not absolute:
        return np.asarray(through(form, table, cotangent)[rows] @ form.hidden)
    gain = np.abs(form.scale) if form.token_scale is None else np.abs(form.token_scale[rows])
    size = np.abs(cotangent[:, : form.columns][:, rows]) * gain
    if form.normalized:
        product = form.product if form.product is not None else times_rows(form.hidden, table, form.columns)[0]
        size = size + (np.abs(cotangent).sum(1, keepdims=True) * np.exp(form.forward(product)))[:, rows]
    return np.asarray(size.T @ np.abs(form.hidden))


def moved(after: After) -> float:
    """By how much the logits changed where an operation promised the same values; 0 within rounding."""
    one, other = after.before, after.after
    if not after.exact or one is None or other is None:
        return 0.0
    if one.shape != other.shape:
        return float("inf")
    gap = float(np.nanmax(np.abs(np.nan_to_num(one) - np.nan_to_num(other)), initial=0.0))
    return gap if gap > tolerances.returned(np.nan_to_num(one), after.dtype) else 0.0
