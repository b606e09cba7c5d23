"""A PEFT adapter beside its base: the base's tables, with what the adapter puts in their place or adds to one of them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..tolerances import FACTORS
from . import torch_files
from .checkpoint import Checkpoint, units
from .claims import claimed
from .safely import check_link, inside, read_json, said
from .safetensors_files import tensors as safetensors_of
from .tables import Tables, found, stem
from .tensors import Tensor, Unreadable, floats, reading

_WRAP = re.compile(r"(^base_model\.model\.)|(\.modules_to_save(\.[^.]+)?(?=\.))|(\.base_layer(?=\.))")
LORA = re.compile(r"\.lora_(?:embedding_)?[AB](\.[^.]+)?(\.weight)?$")
_LARGEST = 1 << 30


def read(folder: Path) -> Checkpoint:
    """The base as the adapter leaves it. Raises Unreadable: no base here, or a damaged adapter."""
    config_file = folder / "adapter_config.json"
    check_link(folder, config_file)
    config = read_json(config_file)
    held = _held(folder)
    base = _base(folder, config.get("base_model_name_or_path"))
    stored = {plain(name): tensor for name, tensor in held.items() if not LORA.search(name)}
    tensors = {**base.tensors, **{name: t for name, t in stored.items() if len(t.shape) == 2}}
    claim = claimed(base.config)
    tables = found(base.tensors, claim.ties, ends=claim.ends)
    notes = (f"the adapter's base is {said(base.path)}",)
    apart = "" if config.get("ensure_weight_tying") is True else apart_of(config, held, stored, tables, claim.ties)
    return dataclasses.replace(base, path=folder, format="peft", tensors=tensors, notes=notes, apart=apart, other=None)


def plain(name: str) -> str:
    """A tensor's name in the base."""
    return _WRAP.sub("", name)


def _held(folder: Path) -> Mapping[str, Tensor]:
    for name in ("adapter_model.safetensors", "adapter_model.bin"):
        if (folder / name).exists():
            path = inside(folder, name, said(folder))
            return safetensors_of(path)[0] if name.endswith(".safetensors") else torch_files.tensors(path)
    raise Unreadable(f"{said(folder)} has an adapter_config.json and no adapter_model.safetensors or .bin")


def _base(folder: Path, name: Any) -> Checkpoint:
    """The base that the adapter names: as a path, from the adapter's folder, beside it, or around it."""
    places = [folder.parent]
    if isinstance(name, str) and name and "\0" not in name:
        places = [Path(name), folder / name, folder.parent / Path(name).name, *places]
    for place in places:
        if place.is_dir() and (place / "config.json").exists() and place.resolve() != folder.resolve():
            for unit in units(place):
                if unit.kind not in ("peft", "gguf", "onnx"):
                    return unit.read()
    raise Unreadable(
        f"{said(folder)} is an adapter, and its base {said(repr(name))[:200]} is not here: put it beside it"
    )


def apart_of(
    config: Mapping[str, Any],
    held: Mapping[str, Tensor],
    stored: Mapping[str, Tensor],
    tables: Tables,
    ties: Mapping[str, str] | None,
) -> str:
    """What the adapter does to one use alone, in a sentence; "" where it treats both alike."""
    lookup = stem(tables.embedding.tensor.name) if tables.embedding else ""
    head = stem(tables.head.tensor.name) if tables.head else ""
    head = head or next(
        (stem(target) for target in ties or {} if "bias" not in target and target not in (lookup,)), "lm_head"
    )
    saved = config.get("modules_to_save")
    words = [word for word in saved if isinstance(word, str)] if isinstance(saved, list) else []
    lora = {plain(LORA.sub("", name)): True for name in held if LORA.search(name)}
    sides = {}
    for side, module in (("lookup", lookup), ("head", head)):
        trained = any(module == word or module.endswith(f".{word}") for word in words)
        whole = trained and any(stem(name) == module for name in stored)
        sides[side] = "a copy of its own" if whole else "a low-rank update" if module in lora else ""
    one, two = sides["lookup"], sides["head"]
    if not one and not two:
        return ""
    if one == two == "a low-rank update":
        return (
            ""
            if _equal_updates(held, lookup, head)
            else "the adapter updates the lookup and the head in different ways"
        )
    if one == two:
        return ""  # both are stored whole, and are compared as tables
    side, what = ("lookup", one) if one else ("head", two)
    if one and two:
        return f"the adapter gives the lookup {one} and the head {two}"
    return f"the adapter gives the {side} alone {what}: the other use keeps the table of the base"


def _equal_updates(held: Mapping[str, Tensor], lookup: str, head: str) -> bool:
    """Whether both low-rank products are the same V x D matrix."""
    try:
        a, b = (_read(_factor(held, lookup, letter)) for letter in "AB")
        c, d = (_read(_factor(held, head, letter)) for letter in "AB")
    except (LookupError, StopIteration, ValueError):
        return False
    left = (a.T, b.T) if a.shape[0] == b.shape[1] else (b, a)
    right = (d, c)
    if left[0].shape[0] != right[0].shape[0] or left[1].shape[1] != right[1].shape[1]:
        return False
    for start in range(0, left[0].shape[0], 4096):
        one = left[0][start : start + 4096] @ left[1]
        two = right[0][start : start + 4096] @ right[1]
        if not np.allclose(one, two, rtol=FACTORS[0], atol=FACTORS[1]):
            return False
    return True


def _factor(held: Mapping[str, Tensor], module: str, letter: str) -> Tensor:
    return next(
        t for n, t in held.items() if plain(LORA.sub("", n)) == module and re.search(rf"lora_(embedding_)?{letter}", n)
    )


def _read(tensor: Tensor) -> Any:
    if tensor.nbytes > _LARGEST or len(tensor.shape) != 2:
        raise LookupError(tensor.name)
    with reading(tensor, tensor.shape[0]) as rows:
        values = floats(rows.read(0, tensor.shape[0]), tensor, tensor.shape[0])
    if values is None:
        raise LookupError(tensor.name)
    return values
