"""What lies in or under a model's folder and is no part of the checkpoint: it is told, and not judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from . import safetensors_files
from .safely import check_link, said
from .tables import names_a_table
from .tensors import Unreadable

_FIRST = ("config.json", "adapter_config.json", "model.safetensors", "pytorch_model.bin")
_SHOWN = 4


def is_model(names: Sequence[str]) -> bool:
    """Whether a folder with these files is one checkpoint, and no folder of checkpoints in which a file was left."""
    return any(name in _FIRST or name.endswith(".index.json") for name in names)


def unseen(folders: Sequence[Path], holds: Callable[[Path], bool]) -> list[str]:
    """Checkpoints in folders below a model's, as those of a training run."""
    found = [said(folder.name) for folder in folders[:100] if holds(folder)]
    if not found:
        return []
    return [f"not looked at, and to be audited by themselves: the checkpoints in {_listed(found)}"]


def strays(folder: Path, kind: str, taken: Sequence[Path], names: Sequence[str]) -> list[str]:
    """Files of weights beside those that make up the checkpoint, which a loader that takes every file would read."""
    known = {path.name for path in taken}
    notes = []
    for name in [name for name in names if name not in known and not name.startswith("adapter_")][:_SHOWN]:
        tables = _tables(folder / name, folder) if kind == "safetensors" else ""
        notes.append(f"{said(name)} is no part of the checkpoint, and is not looked at{tables}")
    return notes


def _tables(path: Path, folder: Path) -> str:
    try:
        check_link(folder, path)
        held = sorted(filter(names_a_table, safetensors_files.tensors(path)[0]))
    except Unreadable:
        return ""
    return f"; it holds {_listed([said(name) for name in held])}, which a loader of every file takes" if held else ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
