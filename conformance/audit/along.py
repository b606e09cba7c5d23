"""What a class ties under the flag beside the two tables: with the flag false, each of these names is owed by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import facts
from .claims import architecture_of, type_of
from .tables import Tables, is_head, of_class, stem
from .tensors import Tensor


def alone(tensors: Mapping[str, Tensor], tables: Tables, config: Mapping[str, Any] | None) -> dict[str, str]:
    """Names that are not stored, each with the stored one that the class ties it to where the flag is on."""
    if "always" in facts.reads(type_of(config))[0]:
        return {}
    pairs = facts.along(architecture_of(config or {})) or {}
    ends = {stem(t.tensor.name): t.tensor.name for t in (tables.embedding, tables.head) if t}
    lookup, head = ("" if t is None else t.tensor.name for t in (tables.embedding, tables.head))
    stored = {name: held for name in (*pairs, *pairs.values()) if (held := _held(tensors, name, ends))}
    missing: dict[str, str] = {}
    for names in _groups(pairs):
        kept = {name: stored[name] for name in names if name in stored}
        if lookup not in stored.values() and any(map(is_head, names)):
            continue  # a table under a name that transformers renames: which of these it is, is not known
        # a name that the head shares is no source of the lookup's: where they differ, it is the table that was tied
        sources = sorted(kept, key=lambda name: (kept[name] == head, kept[name] != lookup, names.index(name)))
        owed = [name for name in names if name not in kept and not (head not in stored.values() and is_head(name))]
        if sources and kept[sources[0]] in tensors:
            missing |= dict.fromkeys(owed, kept[sources[0]])
    return missing


def depends(config: Mapping[str, Any] | None) -> bool:
    """Whether other fields of the config decide what the class ties beside the tables."""
    return facts.along(architecture_of(config or {})) is None


def _held(tensors: Mapping[str, Tensor], name: str, ends: Mapping[str, str]) -> str:
    """The stored tensor of a name of the class: a table that a quantizer packed has another last word."""
    if name in tensors:
        return name
    hits = of_class(tensors, [name])
    packed = [held for module, held in ends.items() if module == stem(name)]
    return next(iter([*hits, *packed]), "")


def _groups(pairs: Mapping[str, str]) -> Iterator[list[str]]:
    """The names that lead to one tensor, the source first."""
    for source in dict.fromkeys(pairs.values()):
        if source not in pairs:
            yield [source, *_led(pairs, source)]


def _led(pairs: Mapping[str, str], source: str) -> list[str]:
    direct = [target for target, found in pairs.items() if found == source and target != source]
    return [
        name for target in direct for name in (target, *_led({k: v for k, v in pairs.items() if k != target}, target))
    ]
