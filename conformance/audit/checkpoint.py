"""From a path to checkpoints: which files belong together, their tensors by name, and the config beside them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import safetensors_files, torch_files
from .safely import INDEX_LIMIT, check_link, inside, read_json, said
from .strays import is_model, strays, unseen
from .tables import Tables
from .tensors import Tensor, Unreadable

TORCH = (".bin", ".pt", ".pth", ".ckpt")
# What trainers put beside a model and is none.
_NO_MODEL = re.compile(r"^(training_args|optimizer|scheduler|rng_state|scaler|random_states|trainer_state)")
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.")
_FOLDERS, _DEEP = 10_000, 6


@dataclass(frozen=True)
class Checkpoint:
    """What is stored under one path.

    Attributes:
        format: of the files that a loader takes first.
        config: what config.json says; None where there is none.
        aliases: names that were left out in writing because another tensor is theirs (safetensors' ``save_model``).
        tables: the two tables where the format itself says which they are (ONNX); else they are looked for.
        rule: what the format itself makes of a file without a config ("" where it says nothing).
        apart: what an adapter does to one of the two uses alone.
        other: the same weights once more, in files of another format.
        files: every file of weights.
    """

    path: Path
    format: str
    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any] | None = None
    config_file: Path | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    tables: Tables | None = None
    rule: str = ""
    other: Checkpoint | None = None
    apart: str = ""
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unit:
    """One row to be: where it is, and how it is read (raises Unreadable)."""

    path: Path
    kind: str
    read: Callable[[], Checkpoint]


def units(path: Path) -> list[Unit]:
    """What there is to audit under a path. Raises Unreadable where there is nothing."""
    try:
        there, folder = path.exists(), path.is_dir()
    except (OSError, ValueError):  # a name that no file can have, or a link in a circle
        there = folder = False
    if not there:
        why = "is a symbolic link that leads nowhere" if _is_link(path) else "does not exist"
        raise Unreadable(f"{said(path)} {why}")
    if not folder:
        return [_file(path)]
    hits = _walked(path, 0, [0])
    if not hits:
        raise Unreadable(f"{said(path)} holds no checkpoint: no safetensors, torch, GGUF or ONNX file")
    return hits


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except (OSError, ValueError):
        return False


def _walked(folder: Path, depth: int, count: list[int]) -> list[Unit]:
    count[0] += 1
    if depth > _DEEP or count[0] > _FOLDERS:
        raise Unreadable(f"{said(folder)} lies in more folders than are searched ({_DEEP} deep, {_FOLDERS} in all)")
    names = _listed(folder)
    hits = _of_folder(folder, names)
    inner = [folder / name for name in names if not name.startswith(".")]
    inner = [path for path in inner if path.is_dir() and not path.is_symlink()]
    if hits and is_model(names):
        return [replace(hits[0], read=lambda: _told(hits[0].read(), unseen(inner, _holds))), *hits[1:]]
    for path in inner:
        hits += _walked(path, depth + 1, count)
    return hits


def _holds(folder: Path) -> bool:
    try:
        return bool(_of_folder(folder, _listed(folder)))
    except Unreadable:
        return False


def _told(checkpoint: Checkpoint, notes: list[str]) -> Checkpoint:
    return replace(checkpoint, notes=(*checkpoint.notes, *notes))


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise Unreadable(f"{said(folder)} cannot be listed: {error.strerror or error}") from None


def _of_folder(folder: Path, names: list[str]) -> list[Unit]:
    """A folder's own checkpoint, its adapter, and each GGUF and ONNX file by itself."""
    hits = []
    if "adapter_config.json" in names:
        from .adapters import read

        hits.append(Unit(folder, "peft", lambda: read(folder)))
        names = [name for name in names if not name.startswith("adapter_")]
    sets = _sets(names)
    if sets:
        hits.append(Unit(folder, "+".join(sets), lambda: _folder(folder, sets)))
    single = [name for name in names if name.endswith((".gguf", ".onnx")) and _is_first(name)]
    return hits + [_file(folder / name, folder) for name in single]


def _is_first(name: str) -> bool:
    """Not a later part of a GGUF that was split."""
    match = _SHARD.search(name)
    return match is None or int(match[1]) == 1


def _sets(names: list[str]) -> dict[str, list[str]]:
    """The files of weights of each format, an index alone where there is one."""
    sets = {}
    for kind, ends, first in (
        ("safetensors", (".safetensors",), "model.safetensors"),
        ("torch", TORCH, "pytorch_model.bin"),
    ):
        index = [name for name in names if name.endswith(tuple(f"{end}.index.json" for end in ends))]
        files = [name for name in names if _is_weights(name, kind)]
        preferred = [name for name in index if name == f"{first}.index.json"] or index[:1]
        if first in files and not preferred:
            preferred = [first]
        shards = [name for name in files if _SHARD.search(name)]
        chosen = preferred or shards or files
        if chosen:
            sets[kind] = chosen
    return sets


def _is_weights(name: str, kind: str) -> bool:
    return name.endswith(TORCH if kind == "torch" else ".safetensors") and not _NO_MODEL.match(name)


def _folder(folder: Path, sets: Mapping[str, list[str]]) -> Checkpoint:
    config_file = folder / "config.json"
    config = None
    if config_file.is_symlink() or config_file.exists():
        check_link(folder, config_file)
        config = read_json(config_file)
    made = [_set(folder, kind, names, config) for kind, names in sets.items()]
    first, *more = made
    if not more:
        return first
    return replace(first, other=more[0])


def _set(folder: Path, kind: str, names: list[str], config: Mapping[str, Any] | None) -> Checkpoint:
    notes: list[str] = []
    listed: Mapping[str, Any] | None = None
    if names[0].endswith(".index.json"):
        listed = _index(folder, names[0])
        files = [inside(folder, name, names[0]) for name in sorted(set(listed.values()))]
    else:
        files = [inside(folder, name, said(folder)) for name in names]
        _check_complete(folder, names)
    tensors: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    for file in files:
        held, metadata = _held(kind, file)
        for name, tensor in held.items():
            if name in tensors:
                raise Unreadable(
                    f"{said(name)} stands in two files of {said(folder)}: "
                    f"{said(tensors[name].file.name)} and {said(file.name)}"
                )
            tensors[name] = tensor
        aliases |= {name: kept for name, kept in metadata.items() if kept in held and name not in held}
    if listed is not None:
        notes += _check_index(folder, names[0], listed, tensors)
    notes += strays(folder, kind, files, [n for n in _listed(folder) if _is_weights(n, kind)])
    return Checkpoint(
        folder,
        kind,
        tensors,
        config,
        folder / "config.json" if config is not None else None,
        aliases,
        files=tuple(files),
        notes=tuple(notes),
    )


def _held(kind: str, file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if kind == "safetensors":
        return safetensors_files.tensors(file)
    return torch_files.tensors(file), {}


def _index(folder: Path, name: str) -> Mapping[str, Any]:
    check_link(folder, folder / name)
    listed = read_json(folder / name, INDEX_LIMIT).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise Unreadable(f"{said(folder / name)} has no weight_map")
    for shard in listed.values():
        inside(folder, shard, name)
    return listed


def _check_index(folder: Path, name: str, listed: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> list[str]:
    for key, shard in listed.items():
        tensor = tensors.get(key)
        if tensor is None or tensor.file != folder / shard:
            raise Unreadable(f"{said(name)} says that {said(shard)} holds {said(key)}, and it does not")
    more = sorted(set(tensors) - set(listed))
    return [f"{name} does not list {len(more)} tensors that its files hold: {', '.join(more[:4])}"] if more else []


def _check_complete(folder: Path, names: list[str]) -> None:
    """Shards without an index: all of them, by their numbers."""
    numbered = [match for match in map(_SHARD.search, names) if match]
    if not numbered:
        return
    total, there = int(numbered[0][2]), {int(match[1]) for match in numbered}
    if len(numbered) != len(names) or there != set(range(1, total + 1)):
        raise Unreadable(f"{said(folder)} holds {len(there)} of {total} shards, and no index")


def _file(path: Path, folder: Path | None = None) -> Unit:
    """A file by itself; the config.json beside it counts."""
    name = path.name.lower()
    if name.endswith(".gguf"):
        from .gguf_files import read as gguf

        return Unit(path, "gguf", lambda: _beside(gguf(_kept(path, folder)), path))
    if name.endswith(".onnx"):
        from .onnx_files import read as onnx

        return Unit(path, "onnx", lambda: _beside(onnx(_kept(path, folder)), path))
    if name.endswith(".safetensors") or name.endswith(TORCH):
        kind = "safetensors" if name.endswith(".safetensors") else "torch"
        return Unit(path, kind, lambda: _single(path, kind))
    if name.endswith(".index.json"):
        kind = "safetensors" if "safetensors" in name else "torch"
        return Unit(path.parent, kind, lambda: _folder(path.parent, {kind: [path.name]}))
    raise Unreadable(f"{said(path)} is none of safetensors, torch (.bin, .pt, .pth, .ckpt), GGUF and ONNX")


def _kept(path: Path, folder: Path | None) -> Path:
    if folder is not None:
        check_link(folder, path)
    return path


def _single(path: Path, kind: str) -> Checkpoint:
    tensors, metadata = _held(kind, path)
    aliases = {name: kept for name, kept in metadata.items() if kept in tensors and name not in tensors}
    return _beside(Checkpoint(path, kind, tensors, aliases=aliases, files=(path,)), path)


def _beside(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    config = path.parent / "config.json"
    if not (config.is_symlink() or config.exists()):
        return checkpoint
    check_link(path.parent, config)
    return replace(checkpoint, config=read_json(config), config_file=config)
