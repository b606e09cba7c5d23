"""Two tables, compared as they are streamed: bit for bit, up to rounding, up to rows that one has more, or different."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from ..tolerances import QUANTIZED, STORED
from .tensors import BLOCK, FLOATS, Rows, Tensor, floats, reading

Result: TypeAlias = Literal["one table", "equal", "nearly", "different", "unknown"]
SHOWN = 8
SAMPLED = 256
"""So many rows that differ are looked at for how far they do."""


@dataclass(frozen=True)
class Comparison:
    """What two tables are to each other.

    Attributes:
        kind: of ``nearly`` and ``different``: "dtype", "rows", "quantized", "values", "shape".
        rows_different: rows that differ, of those that both have; ``first_rows`` are the first of them.
        largest_difference: among the first rows that differ; None where it was not asked.
        nan: the first row that holds NaN in either.
    """

    result: Result
    detail: str
    kind: str = ""
    rows_compared: int = 0
    rows_different: int = 0
    first_rows: tuple[int, ...] = ()
    largest_difference: float | None = None
    nan: int | None = None


def compared(one: Tensor, two: Tensor) -> Comparison:
    """The two as tables of shape V x D; a head that lies transposed is to be turned first. Raises Unreadable."""
    reason = _apart(one, two)
    if reason:
        return reason
    rows = min(one.shape[0], two.shape[0])
    if one.place == two.place and one.shape == two.shape:
        nan = _first_nan(one)
        return Comparison("one table", "both names lead to the same bytes of the file", rows_compared=rows, nan=nan)
    if one.dtype == two.dtype:
        return _bitwise(one, two, rows)
    return _by_value(one, two, rows)


def _apart(one: Tensor, two: Tensor) -> Comparison | None:
    """What can be said, or cannot, before a byte is read."""
    for t in (one, two):
        if t.scattered:
            return Comparison("unknown", f"{t.name} is a scattered view of its storage, which is not read", "layout")
        if t.transposed and not t.item:
            return Comparison("unknown", f"{t.name} is packed and transposed, which is not read", "layout")
    if one.shape[1:] != two.shape[1:]:
        packed = one.dtype not in FLOATS or two.dtype not in FLOATS
        if packed and (one.dtype != two.dtype or one.quantized != two.quantized):
            return Comparison("unknown", "one of them is packed: its values cannot be compared", "quantized")
        return Comparison("different", f"their rows have {one.shape[1]} and {two.shape[1]} elements", "shape")
    return None


def first_nan(table: Tensor) -> int | None:
    """The first row of a table that holds NaN; None where none does or it cannot be read as numbers. Raises Unreadable."""
    return None if table.scattered or len(table.shape) != 2 else _first_nan(table)


def _blocks(rows: int, *tables: Tensor) -> Iterator[tuple[int, int, list[Any]]]:
    """Rows ``start`` to ``stop`` of each table, block by block."""
    # A transposed table is read in pieces of its rows: few long ones.
    step = max(1, BLOCK // max(t.row_bytes for t in tables))
    step = max(step, 4096) if any(t.transposed for t in tables) else step
    step = min(step, max(1, 32 * BLOCK // max(t.row_bytes for t in tables)))
    with ExitStack() as stack:
        readers: list[Rows] = [stack.enter_context(reading(t, min(step, rows))) for t in tables]
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            yield start, stop, [reader.read(start, stop) for reader in readers]


def _first_nan(table: Tensor) -> int | None:
    if table.dtype not in FLOATS or table.quantized:
        return None
    check = _NanCheck(table)
    for start, _stop, (raw,) in _blocks(table.shape[0], table):
        if check(raw):
            return start + check.row(raw)
    return None


_INFINITE = {
    "F64": ("8", 0x7FF0_0000_0000_0000),
    "F32": ("4", 0x7F80_0000),
    "F16": ("2", 0x7C00),
    "BF16": ("2", 0x7F80),
    "F8_E4M3": ("1", 0x7E),
    "F8_E5M2": ("1", 0x7C),
}
"""Bytes of a float, and the bits above which those of NaN lie, the sign apart."""


class _NanCheck:
    """Whether raw rows hold NaN, by their bits, without a copy as numbers: with the sign taken for a number's, NaN are the
    largest; without, the negative ones are."""

    def __init__(self, table: Tensor) -> None:
        width, self._limit = _INFINITE.get("" if table.quantized else table.dtype, ("", 0))
        self._signed, self._unsigned = f"<i{width}", f"<u{width}"
        self._negative = self._limit | (1 << (8 * int(width) - 1)) if width else 0
        self._columns = table.shape[1]

    def __call__(self, raw: Any) -> bool:
        if not self._limit or not len(raw):
            return False
        if int(np.frombuffer(raw, self._signed).max()) > self._limit:
            return True
        return int(np.frombuffer(raw, self._unsigned).max()) > self._negative

    def row(self, raw: Any) -> int:
        """The first row of ``raw`` that does."""
        bits = np.frombuffer(raw, self._unsigned)
        found = (bits > bits.dtype.type(self._limit)) & (bits < bits.dtype.type(self._negative & ~self._limit))
        return int(np.argmax(found | (bits > bits.dtype.type(self._negative)))) // self._columns


def _bitwise(one: Tensor, two: Tensor, rows: int) -> Comparison:
    """One dtype: the bytes are compared, NaN and all."""
    seen = _Seen()
    checks = [_NanCheck(one), _NanCheck(two)]
    nan: int | None = None
    for start, stop, (a, b) in _blocks(rows, one, two):
        same = a.obj[: len(a)] == b.obj[: len(b)] if len(a) < len(a.obj) or len(b) < len(b.obj) else a.obj == b.obj
        if nan is None:
            hit = next(
                (check.row(raw) for check, raw in zip(checks[: 1 if same else 2], (a, b), strict=False) if check(raw)),
                None,
            )
            nan = None if hit is None else start + hit
        if not same:
            apart = np.frombuffer(a, np.uint8).reshape(stop - start, -1) != np.frombuffer(b, np.uint8).reshape(
                stop - start, -1
            )
            seen.add(start, np.flatnonzero(apart.any(axis=1)), a, b, one, two, stop - start)
    if seen.count:
        return seen.told("different", "values", rows, nan)
    if one.shape[0] != two.shape[0]:
        return _more_rows(one, two, rows, nan)
    return Comparison("equal", f"equal bit for bit, {rows} rows", rows_compared=rows, nan=nan)


def _more_rows(one: Tensor, two: Tensor, rows: int, nan: int | None) -> Comparison:
    detail = f"the first {rows} rows are equal, but one has {one.shape[0]} rows and the other {two.shape[0]}"
    return Comparison("nearly", detail, "rows", rows, nan=nan)


class _Seen:
    """Rows that differ, as they come."""

    def __init__(self) -> None:
        self.count, self._looked = 0, 0
        self.first: list[int] = []
        self.largest: float | None = None

    def add(self, start: int, found: Any, a: Any, b: Any, one: Tensor, two: Tensor, rows: int) -> None:
        """Rows of a block that differ; the first of all are looked at as numbers."""
        self.count += len(found)
        self.first += [start + int(row) for row in found[: SHOWN - len(self.first)]]
        if self._looked >= SAMPLED or not len(found):
            return
        some = found[: SAMPLED - self._looked]
        self._looked += len(some)
        left = floats(_picked(a, some, rows), one, len(some))
        right = floats(_picked(b, some, rows), two, len(some))
        if left is None or right is None:
            return
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.abs(left - right)
        apart = apart[np.isfinite(apart)]
        if apart.size:
            self.largest = max(self.largest or 0.0, float(apart.max()))

    def told(self, result: Result, kind: str, rows: int, nan: int | None) -> Comparison:
        """The sum of it."""
        where = ", ".join(map(str, self.first)) + (", …" if self.count > len(self.first) else "")
        far = (
            f"; {'by' if self.count == 1 else 'the first of them by'} up to {self.largest:.3g}"
            if self.largest is not None
            else ""
        )
        verb, noun = ("differs", "row") if self.count == 1 else ("differ", "rows")
        detail = f"{self.count} of {rows} rows {verb} ({noun} {where}){far}"
        return Comparison(result, detail, kind, rows, self.count, tuple(self.first), self.largest, nan)


def _picked(raw: Any, some: Any, rows: int) -> bytes:
    return bytes(np.frombuffer(raw, np.uint8).reshape(rows, -1)[some])


def _by_value(one: Tensor, two: Tensor, rows: int) -> Comparison:
    """Two dtypes: equal up to the rounding of the coarser, or up to what its quantization loses."""
    exact = one.dtype in FLOATS and two.dtype in FLOATS and not (one.quantized or two.quantized)
    seen, nan = _Seen(), None
    relative, smallest = _rounding(one.dtype, two.dtype)
    error = size = 0.0
    for start, stop, (a, b) in _blocks(rows, one, two):
        left, right = floats(a, one, stop - start), floats(b, two, stop - start)
        if left is None or right is None:
            dtypes = f"{one.dtype} and {two.dtype}"
            return Comparison("unknown", f"{dtypes} cannot be compared as numbers here", "quantized", rows)
        bad = np.isnan(left).any(axis=1) | np.isnan(right).any(axis=1)
        if nan is None and bad.any():
            nan = start + int(np.argmax(bad))
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.abs(left - right)
            far = apart > relative * np.maximum(np.abs(left), np.abs(right)) + smallest
            error += float(np.square(apart, dtype=np.float64).sum())
            size += float(np.square(left, dtype=np.float64).sum())
        seen.add(start, np.flatnonzero(far.any(axis=1)), a, b, one, two, stop - start)
    return _judged(one, two, rows, exact, seen, nan, (error / size) ** 0.5 if size else error**0.5)


def _judged(
    one: Tensor, two: Tensor, rows: int, exact: bool, seen: _Seen, nan: int | None, relative: float
) -> Comparison:
    names = f"{one.dtype} and {two.dtype}"
    if exact and not seen.count:
        if one.shape[0] != two.shape[0]:
            return _more_rows(one, two, rows, nan)
        if not relative:  # a number in two dtypes, and none that one of them rounded
            return Comparison("equal", f"equal number for number, in {names}", "dtype", rows, nan=nan)
        return Comparison("nearly", f"equal up to rounding, in {names}", "dtype", rows, nan=nan)
    if not exact and relative <= _loose(one) + _loose(two):
        detail = f"equal up to what quantization loses ({100 * relative:.2g} %), in {names}"
        return Comparison("nearly", detail, "quantized", rows, nan=nan)
    if not exact:
        detail = f"{100 * relative:.3g} % apart, more than quantization to {names} loses"
        return Comparison("different", detail, "values", rows, nan=nan)
    return seen.told("different", "values", rows, nan)


def _rounding(*dtypes: str) -> tuple[float, float]:
    """How far rounding to the coarser of two dtypes moves a number: in parts of it, and at least."""
    bits = {
        "F64": (52, 1022),
        "F32": (23, 126),
        "F16": (10, 14),
        "BF16": (7, 126),
        "F8_E4M3": (3, 6),
        "F8_E5M2": (2, 14),
    }
    fraction, exponent = min(bits.get(dtype, (23, 126)) for dtype in dtypes)
    return 2.0 ** -(fraction + 1) * 1.01, 2.0 ** -(min(exponent, 100) + fraction + 1) * 1.01


def _loose(table: Tensor) -> float:
    if not table.quantized:
        return STORED
    digits = next((char for char in table.dtype if char.isdigit()), "2")
    return QUANTIZED.get(digits, QUANTIZED["2"])
