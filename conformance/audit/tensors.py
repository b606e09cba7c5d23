"""A tensor in a file: where its bytes lie, and how they are read a block at a time. Nothing is mapped or kept."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import NotJudged, clean

Bytes: TypeAlias = NDArray[np.uint8]

ITEM = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
"""Bytes of one element, by the word that safetensors has for its dtype."""

FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
BLOCK = 1 << 20
"""Bytes that are read at once."""


class Unreadable(NotJudged):
    """A file is not what it says it is, or leads elsewhere; one sentence says what is wrong."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a checkpoint.

    Attributes:
        file: where its bytes lie, from ``offset`` on; ``inline`` holds them instead where a format packs them up.
        dtype: the word of safetensors, or of GGUF for what is quantized there.
        transposed: the bytes are those of the transposed matrix, row by row.
        quantized: of a block format or packed: a row has ``row_bytes`` bytes and no elements of its own.
        scattered: a view that is neither whole nor transposed; it is listed and not read.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    file: Path
    offset: int
    nbytes: int
    transposed: bool = False
    quantized: bool = False
    scattered: bool = False
    inline: bytes | None = None

    @property
    def place(self) -> tuple[str, str, int, int, bool]:
        """What two names of one region of a file have in common."""
        alone = self.name if self.inline is not None else ""
        return str(self.file), alone, self.offset, self.nbytes, self.transposed

    @cached_property
    def item(self) -> int:
        """Bytes of one element; 0 where it has none of its own."""
        return 0 if self.quantized else ITEM.get(self.dtype, 0)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.nbytes // self.shape[0] if self.shape and self.shape[0] else 0

    @property
    def turned(self) -> Tensor:
        """The same bytes as the transposed matrix."""
        import dataclasses

        return dataclasses.replace(self, shape=self.shape[::-1], transposed=not self.transposed)


class Rows:
    """Reads rows of one tensor into memory of its own. Raises Unreadable where the file ends early."""

    def __init__(self, tensor: Tensor, handle: int, rows: int) -> None:
        self.tensor, self._handle = tensor, handle
        self._memory = bytearray(max(1, rows * tensor.row_bytes))

    def read(self, start: int, stop: int) -> memoryview:
        """The bytes of rows ``start`` to ``stop``, row by row; good until the next call."""
        t = self.tensor
        view = memoryview(self._memory)[: (stop - start) * t.row_bytes]
        if t.transposed:
            self._columns(view, start, stop)
        else:
            self._fill(view, start * t.row_bytes)
        return view

    def _columns(self, view: memoryview, start: int, stop: int) -> None:
        """Each stored row holds one column: a piece of each, put upright."""
        rows, width = self.tensor.shape
        item, count = self.tensor.item, stop - start
        pieces = np.empty((width, count, item), np.uint8)
        for column in range(width):
            self._fill(memoryview(pieces[column]).cast("B"), (column * rows + start) * item)
        np.frombuffer(view, np.uint8).reshape(count, width, item)[:] = pieces.transpose(1, 0, 2)

    def _fill(self, view: memoryview, offset: int) -> None:
        t = self.tensor
        if t.inline is not None:
            view[:] = t.inline[t.offset + offset : t.offset + offset + len(view)]
            return
        done = 0
        while done < len(view):
            count = os.preadv(self._handle, [view[done:]], t.offset + offset + done)
            if not count:
                raise Unreadable(f"{clean(str(t.file))} ends in the middle of {clean(t.name)}")
            done += count


@contextmanager
def reading(tensor: Tensor, rows: int) -> Iterator[Rows]:
    """Rows of a tensor, up to ``rows`` at once. Raises Unreadable."""
    if tensor.inline is not None:
        yield Rows(tensor, -1, rows)
        return
    handle = opened(tensor.file)
    try:
        yield Rows(tensor, handle, rows)
    finally:
        os.close(handle)


def opened(path: Path) -> int:
    """A descriptor of a regular file, opened without waiting on what is none. Raises Unreadable."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Unreadable(f"{clean(str(path))} cannot be opened: {why}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Unreadable(f"{clean(str(path))} is no regular file")
    return handle


def floats(raw: Any, tensor: Tensor, rows: int) -> NDArray[np.float32] | None:
    """Raw rows as numbers; None for a dtype that has none here."""
    if tensor.quantized:
        return _dequantized(raw, tensor, rows)
    shape = (rows, tensor.shape[1])
    if tensor.dtype == "BF16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if tensor.dtype in ("F32", "F16", "F64"):
        kind = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}[tensor.dtype]
        with np.errstate(over="ignore"):
            return np.frombuffer(raw, kind).astype(np.float32).reshape(shape)
    if tensor.dtype in ("F8_E4M3", "F8_E5M2"):
        return _eighths(tensor.dtype)[np.frombuffer(raw, np.uint8)].reshape(shape)
    return None


def _dequantized(raw: Any, tensor: Tensor, rows: int) -> NDArray[np.float32] | None:
    try:
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize

        blocks = np.frombuffer(raw, np.uint8).reshape(rows, -1)
        with np.errstate(all="ignore"):
            values = dequantize(blocks, GGMLQuantizationType[tensor.dtype])
        return np.asarray(values, np.float32).reshape(rows, -1)
    except (ImportError, KeyError, NotImplementedError, ValueError):
        return None


def _eighths(dtype: str) -> NDArray[np.float32]:
    """The 256 numbers of a float of eight bits, as the OCP specification has them."""
    codes = np.arange(256)
    bits, bias = (3, 7) if dtype == "F8_E4M3" else (2, 15)
    exponent, fraction = (codes >> bits) & ((1 << (7 - bits)) - 1), codes & ((1 << bits) - 1)
    normal = np.ldexp(1 + fraction / (1 << bits), exponent - bias)
    values = np.where(exponent == 0, np.ldexp(fraction / (1 << bits), 1 - bias), normal)
    if dtype == "F8_E4M3":
        values[(codes & 0x7F) == 0x7F] = np.nan
    else:
        values[exponent == 31] = np.nan
        values[(exponent == 31) & (fraction == 0)] = np.inf
    return np.where(codes & 0x80, -values, values).astype(np.float32)
