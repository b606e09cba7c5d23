"""GGUF: the header is walked with every length checked, and the library's tables say what its types are.

The library's own reader believes the counts of a header: one that lies keeps it busy for ever.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .checkpoint import _SHARD, Checkpoint
from .safely import inside, said
from .tensors import Tensor, Unreadable, opened

RULE = "a GGUF file claims nothing; llama.cpp reads output.weight where there is one, else token_embd.weight twice"
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a scalar by its type; 8 is a string, 9 an array."""
_MOST = 1 << 24


@dataclass
class _Walk:
    """A file that is read forwards, never past its end."""

    path: Path
    stream: BinaryIO
    size: int

    def take(self, count: int) -> bytes:
        """The next bytes. Raises Unreadable where there are not so many."""
        if count > self.size - self.stream.tell():
            raise Unreadable(f"{said(self.path)} has a header that says more than the file holds")
        return self.stream.read(count)

    def skip(self, count: int) -> None:
        """Past the next bytes."""
        if count > self.size - self.stream.tell():
            raise Unreadable(f"{said(self.path)} has a header that says more than the file holds")
        self.stream.seek(count, os.SEEK_CUR)

    def number(self, kind: str) -> int:
        """A number of a format of `struct`."""
        (value,) = struct.unpack("<" + kind, self.take(struct.calcsize(kind)))
        return int(value)

    def text(self) -> str:
        """A string, as names are."""
        length = self.number("Q")
        if length > 1 << 16:
            raise Unreadable(f"{said(self.path)} has a name of {length} bytes")
        return self.take(length).decode("utf-8", "replace")


def read(path: Path) -> Checkpoint:
    """A GGUF file, with the further parts of one that was split. Raises Unreadable."""
    files = [path]
    match = _SHARD.search(path.name)
    if match is not None and int(match[1]) == 1:
        for number in range(2, int(match[2]) + 1):
            name = path.name.replace(f"-{match[1]}-of-", f"-{number:05d}-of-")
            files.append(inside(path.parent, name, said(path.name)))
    tensors: dict[str, Tensor] = {}
    for file in files:
        for name, tensor in _tensors(file).items():
            if name in tensors:
                raise Unreadable(
                    f"{said(name)} stands in two files: {said(tensors[name].file.name)} and {said(file.name)}"
                )
            tensors[name] = tensor
    return Checkpoint(path, "gguf", tensors, rule=RULE, files=tuple(files))


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
    except ImportError:
        raise Unreadable(f"{said(path)} needs gguf to be read: pip install gguf") from None
    handle = opened(path)
    with os.fdopen(handle, "rb") as stream:
        walk = _Walk(path, stream, os.fstat(handle).st_size)
        if walk.take(4) != b"GGUF":
            raise Unreadable(f"{said(path)} is no GGUF file")
        version = walk.number("I")
        if version not in (2, 3):
            raise Unreadable(f"{said(path)} is GGUF of version {version}, and 2 and 3 are read")
        count, pairs = walk.number("Q"), walk.number("Q")
        alignment = _alignment(walk, pairs)
        infos = [_info(walk) for _ in range(_bounded(path, count))]
        start = -(-stream.tell() // alignment) * alignment
    types = {
        int(kind): (kind.name, *GGML_QUANT_SIZES[kind]) for kind in GGMLQuantizationType if kind in GGML_QUANT_SIZES
    }
    return _placed(path, infos, types, start, walk.size)


def _bounded(path: Path, count: int) -> int:
    if count > _MOST:
        raise Unreadable(f"{said(path)} says that it holds {count} tensors or keys")
    return count


def _alignment(walk: _Walk, pairs: int) -> int:
    """Past the keys and values; of these only the alignment counts."""
    alignment = 32
    seen: set[str] = set()
    for _ in range(_bounded(walk.path, pairs)):
        key, kind = walk.text(), walk.number("I")
        if key in seen:
            raise Unreadable(f"{said(walk.path)} has the key {said(key)} twice")
        seen.add(key)
        if key == "general.alignment" and kind == 4:
            alignment = walk.number("I")
            if alignment == 0 or alignment & (alignment - 1):
                raise Unreadable(f"{said(walk.path)} has an alignment of {alignment}")
        else:
            _skip(walk, kind, 0)
    return alignment


def _skip(walk: _Walk, kind: int, depth: int) -> None:
    """Past a value."""
    if kind in _SCALARS:
        walk.skip(_SCALARS[kind])
    elif kind == 8:
        walk.skip(walk.number("Q"))
    elif kind == 9 and depth < 4:
        inner, count = walk.number("I"), walk.number("Q")
        if inner in _SCALARS:
            walk.skip(_SCALARS[inner] * count)
            return
        for _ in range(_bounded(walk.path, count)):
            _skip(walk, inner, depth + 1)
    else:
        raise Unreadable(f"{said(walk.path)} has a value of the unknown type {kind}")


def _info(walk: _Walk) -> tuple[str, tuple[int, ...], int, int]:
    name, dimensions = walk.text(), walk.number("I")
    if dimensions > 8:
        raise Unreadable(f"{said(walk.path)} gives {said(name)} {dimensions} dimensions")
    shape = tuple(walk.number("Q") for _ in range(dimensions))[::-1]  # the fastest comes first in the file
    return name, shape, walk.number("I"), walk.number("Q")


def _placed(
    path: Path, infos: list[tuple[str, tuple[int, ...], int, int]], types: dict[int, Any], start: int, size: int
) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    end, last = 0, ""
    for name, shape, kind, offset in sorted(infos, key=lambda info: info[3]):
        if kind not in types:
            raise Unreadable(f"{said(path)} gives {said(name)} the unknown type {kind}")
        word, block, per_block = types[kind]
        count = 1
        for n in shape:
            count *= n
        if count % block or (shape and shape[-1] % block):
            raise Unreadable(f"{said(path)} gives {said(name)} a shape that is no whole number of blocks")
        nbytes = count // block * per_block
        if name in found:
            raise Unreadable(f"{said(path)} lists {said(name)} twice")
        if start + offset + nbytes > size:
            raise Unreadable(f"{said(path)} ends before {said(name)} does")
        if offset < end:
            raise Unreadable(f"{said(path)} lays {said(name)} over {said(last)}")
        end, last = offset + nbytes, name
        found[name] = Tensor(name, shape, word, path, start + offset, nbytes, quantized=block > 1)
    return found
