"""A file of torch.save: a zip whose entries are stored, and whose pickle is read by `torch_pickles`."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from ..errors import NotJudged
from .safely import said, size
from .tensors import ITEM, Tensor, Unreadable, opened
from .torch_pickles import View, views

PICKLE_LIMIT = 256 << 20
_LOCAL = 30
"""Bytes of a local header before its name."""


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name. Raises Unreadable."""
    handle = opened(path)
    with os.fdopen(handle, "rb") as stream:
        length = os.fstat(handle).st_size
        if stream.read(4) != b"PK\x03\x04":
            raise Unreadable(
                f"{said(path)} is no zip of torch.save; files older than torch 1.6 and other pickles are not read"
            )
        try:
            with zipfile.ZipFile(stream) as archive:
                entries = _entries(path, archive, length)
                pickle, root = _pickle(path, archive, entries)
                _little(path, archive, entries, root)
        except NotJudged:
            raise
        except Exception as error:  # a mangled directory raises of all kinds
            raise Unreadable(f"{said(path)} is a damaged zip: {said(str(error))[:200]}") from None
        try:
            found = views(pickle)
        except Unreadable as error:
            raise Unreadable(f"{said(path)} is not read: {error}") from None
        starts: dict[str, int] = {}
        return {name: _tensor(path, stream, length, entries, root, name, view, starts) for name, view in found.items()}


def _entries(path: Path, archive: zipfile.ZipFile, length: int) -> dict[str, zipfile.ZipInfo]:
    """Entries by name: stored, inside the file, and none over another."""
    found: dict[str, zipfile.ZipInfo] = {}
    end = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
            raise Unreadable(
                f"{said(path)} has a compressed entry, {said(info.filename)}: torch.save stores them as they are"
            )
        if info.filename in found:
            raise Unreadable(f"{said(path)} has the entry {said(info.filename)} twice")
        if info.header_offset < end or info.header_offset + _LOCAL + info.file_size > length:
            raise Unreadable(f"{said(path)} has entries that overlap or lie outside it: {said(info.filename)}")
        end = info.header_offset + _LOCAL + info.file_size
        found[info.filename] = info
    return found


def _pickle(path: Path, archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> tuple[bytes, str]:
    names = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(names) != 1:
        raise Unreadable(f"{said(path)} holds {len(names)} entries data.pkl, where torch.save writes one")
    if any(name.endswith("constants.pkl") for name in entries):
        raise Unreadable(f"{said(path)} is a TorchScript program and no checkpoint; it is not run")
    info = entries[names[0]]
    if info.file_size > PICKLE_LIMIT:
        raise Unreadable(f"{said(path)} has a pickle of {size(info.file_size)}")
    return archive.read(info), names[0].removesuffix("data.pkl")


def _little(path: Path, archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], root: str) -> None:
    order = entries.get(f"{root}byteorder")
    if order is not None and (order.file_size > 16 or archive.read(order).strip() != b"little"):
        raise Unreadable(f"{said(path)} is not in little-endian order")


def _tensor(
    path: Path,
    stream: object,
    length: int,
    entries: dict[str, zipfile.ZipInfo],
    root: str,
    name: str,
    view: View,
    starts: dict[str, int],
) -> Tensor:
    storage = view.storage
    info = entries.get(f"{root}data/{storage.key}")
    item = ITEM[storage.dtype]
    if info is None or info.file_size < storage.count * item:
        raise Unreadable(f"{said(path)} holds less than {said(name)} needs")
    reach = view.offset + sum((n - 1) * s for n, s in zip(view.shape, view.strides, strict=True)) + 1
    count = 1
    for n in view.shape:
        count *= n
    if count and reach > storage.count:
        raise Unreadable(f"{said(path)} gives {said(name)} more elements than its storage has")
    if storage.key not in starts:
        starts[storage.key] = _start(path, stream, info, length)
    offset = starts[storage.key] + view.offset * item
    shape, strides = view.shape, view.strides
    whole = _contiguous(shape, strides)
    turned = len(shape) == 2 and _contiguous(shape[::-1], strides[::-1])
    return Tensor(
        name,
        shape,
        storage.dtype,
        path,
        offset,
        count * item,
        transposed=turned and not whole,
        scattered=not (whole or turned),
    )


def _start(path: Path, stream: object, info: zipfile.ZipInfo, length: int) -> int:
    """Where an entry's bytes begin: its own header says so, and may be longer than the directory's."""
    head = os.pread(stream.fileno(), _LOCAL, info.header_offset)  # type: ignore[attr-defined]
    if len(head) < _LOCAL or head[:4] != b"PK\x03\x04":
        raise Unreadable(f"{said(path)} has no entry where its directory names {said(info.filename)}")
    start = info.header_offset + _LOCAL + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    if start + info.file_size > length:
        raise Unreadable(f"{said(path)} ends before {said(info.filename)} does")
    return start


def _contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    step = 1
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1 and stride != step:
            return False
        step *= n
    return True
