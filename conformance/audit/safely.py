"""Reading what others wrote: bounded JSON, and names that stay inside their folder."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import clean
from .tensors import Unreadable, opened

CONFIG_LIMIT = 16 << 20
INDEX_LIMIT = 256 << 20
DEEPEST = 64


def said(path: Path | str) -> str:
    """A name, as it can stand in a sentence."""
    return clean(str(path))


def size(number: float) -> str:
    """``number`` bytes in words: ``1.5 GB``."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def read_json(path: Path, limit: int = CONFIG_LIMIT) -> dict[str, Any]:
    """An object of JSON. Raises Unreadable: too large, too deep, a key twice, or no object."""
    handle = opened(path)
    with os.fdopen(handle, "rb") as stream:
        length = os.fstat(handle).st_size
        if length > limit:
            raise Unreadable(f"{said(path)} has {size(length)}, and no such file needs more than {size(limit)}")
        raw = stream.read(limit + 1)
    return parsed_json(raw, said(path))


def parsed_json(raw: bytes, name: str) -> dict[str, Any]:
    """The same of bytes that were read already."""
    _check_depth(raw, name)
    try:
        value = json.loads(raw, object_pairs_hook=_once)
    except _Twice as error:
        raise Unreadable(f"{name} has the key {error} twice") from None
    except RecursionError:
        raise Unreadable(f"{name} is nested more than {DEEPEST} deep") from None
    except ValueError as error:
        raise Unreadable(f"{name} is no JSON: {clean(str(error))[:200]}") from None
    if not isinstance(value, dict):
        raise Unreadable(f"{name} holds no JSON object")
    return value


class _Twice(Exception):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Twice(repr(clean(key[:100])))
            seen.add(key)
    return made


def _check_depth(raw: bytes, name: str) -> None:
    """Nesting is counted before anything recurses; brackets inside strings are none."""
    depth, inside, escaped = 0, False, False
    if raw.count(b"{") + raw.count(b"[") <= DEEPEST:
        return
    for code in raw if len(raw) < 1 << 20 else _brackets(raw):
        if inside:
            if escaped:
                escaped = False
            elif code == 0x5C:
                escaped = True
            elif code == 0x22:
                inside = False
        elif code == 0x22:
            inside = True
        elif code in b"{[":
            depth += 1
            if depth > DEEPEST:
                raise Unreadable(f"{name} is nested more than {DEEPEST} deep")
        elif code in b"}]":
            depth -= 1


def _brackets(raw: bytes) -> bytes:
    """Only what nesting is counted by: quotes, backslashes with what they escape, and brackets."""
    import re

    return b"".join(re.findall(rb'\\.|["{}\[\]]', raw, re.DOTALL))


def inside(folder: Path, name: Any, what: str) -> Path:
    """The file of that name in a folder. Raises Unreadable where it is missing, or leads out of the folder."""
    if not isinstance(name, str) or not name or "\0" in name or "\\" in name:
        raise Unreadable(f"{what} names {clean(repr(name)[:100])}, which is no name of a file")
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        raise Unreadable(f"{what} names {said(name)}, which lies outside the folder")
    path = folder / name
    if not path.exists():
        raise Unreadable(f"{what} names {said(name)}, and {said(folder)} has no such file")
    check_link(folder, path)
    return path


def check_link(folder: Path, path: Path) -> None:
    """Raises Unreadable where a symbolic link leads out of the folder.

    The cache of the Hugging Face hub is known: a snapshot there is made of links to ``../../blobs``.
    """
    try:
        target, root = path.resolve(strict=True), folder.resolve(strict=True)
    except (OSError, RuntimeError):
        raise Unreadable(f"{said(path)} is a symbolic link that leads nowhere") from None
    if target.is_relative_to(root):
        return
    blobs = root.parent.parent / "blobs"
    if root.parent.name == "snapshots" and target.is_relative_to(blobs):
        return
    raise Unreadable(f"{said(path)} is a symbolic link that leads out of the folder, to {said(target)}")
