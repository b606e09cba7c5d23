"""Safetensors: the library says whether a file is sound, its header says where each tensor lies."""

from __future__ import annotations

import os
from pathlib import Path

from .safely import parsed_json, said
from .tensors import ITEM, Tensor, Unreadable, opened

HEADER_LIMIT = 100_000_000
"""What the library allows."""


def tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file by name, and what its metadata says. Raises Unreadable."""
    metadata = _checked(path)
    handle = opened(path)
    with os.fdopen(handle, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > HEADER_LIMIT:
            raise Unreadable(f"{said(path)} has a header of {length} bytes")
        header = parsed_json(stream.read(length), f"the header of {said(path)}")
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        dtype = {"F8_E4M3FN": "F8_E4M3"}.get(entry["dtype"], entry["dtype"])
        shape = tuple(entry["shape"])
        found[name] = Tensor(name, shape, dtype, path, 8 + length + start, stop - start, quantized=dtype not in ITEM)
    return found, metadata


def _checked(path: Path) -> dict[str, str]:
    """The library's own judgement: no header that lies, no gap and no overlap."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise Unreadable(f"{said(path)} needs safetensors to be read: pip install safetensors") from None
    os.close(opened(path))
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, OverflowError) as error:
        raise Unreadable(f"{said(path)} is no sound safetensors file: {said(str(error))[:200]}") from None
