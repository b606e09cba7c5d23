"""A model saved while PEFT still wraps it: the tables under the wrapper's names, and what it does to one of them alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from .adapters import LORA, apart_of, plain
from .checkpoint import Checkpoint
from .tables import found, stem
from .tensors import Tensor

_WITHIN = r"\.(base_layer|modules_to_save|original_module)\."
_WRAPPED = re.compile(rf"^base_model\.model\.|{_WITHIN}|\.lora_(embedding_)?[AB]\b")
_SAVED = re.compile(r"\.modules_to_save\.[^.]+\.")
# Names that a wrapper puts before or into those of a class, and that no class has itself.
_FOREIGN = re.compile(rf"^(base_model\.model|module|_orig_mod)\.|{_WITHIN}")


@dataclass(frozen=True)
class Inside:
    """The tensors by the names that they have without the wrapper; ``apart`` says what it does to one use alone."""

    tensors: Mapping[str, Tensor]
    apart: str = ""


def foreign(name: str) -> bool:
    """Whether a tensor's name is a wrapper's, under which no loader of the class looks."""
    return _FOREIGN.search(name) is not None


def within(name: str) -> bool:
    """Whether PEFT has put a module of its own in the place of this one."""
    return re.search(_WITHIN, name) is not None


def unwrapped(checkpoint: Checkpoint, ties: Mapping[str, str] | None) -> Inside:
    """What a checkpoint holds; as it is, where no wrapper of PEFT is in it."""
    held = checkpoint.tensors
    if checkpoint.format not in ("safetensors", "torch") or not any(map(_WRAPPED.search, held)):
        return Inside(held)
    saved = {plain(name): t for name, t in held.items() if _SAVED.search(name)}
    base = {
        plain(name).replace(".original_module.", "."): t
        for name, t in held.items()
        if not LORA.search(name) and not _SAVED.search(name)
    }
    modules = {"modules_to_save": sorted({stem(name) for name in saved})}
    named = {name: replace(tensor, name=name) for name, tensor in base.items()}
    apart = apart_of(modules, held, saved, found(named, ties), ties)
    return Inside({**base, **saved}, apart.replace("the adapter", "the adapter left in the file"))
