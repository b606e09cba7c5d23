"""Writes `conformance/audit/transformers.json`: what the installed transformers makes of the tie flag, by type and by class.

    python docs/audit_facts.py [--check]

A class's ``_tied_weights_keys`` says which names it ties where the flag is on; a config class says what a missing flag
means, and what it makes of one that stands. How many rows the tables have, what they are called in a
file and whether there is a head at all is seen on tiny models on the meta device.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from tiecheck.adapters.huggingface_tiny import FLAG, FlagRejected, nested, set_flag, small_sizes
from tiecheck.conformance.audit import facts
from tiecheck.conformance.audit.installed import surveyed
from tiecheck.conformance.audit.tables import found
from tiecheck.conformance.audit.tensors import Tensor

FILE = Path(__file__).parents[1] / "conformance" / "audit" / "transformers.json"


# What else than the vocabulary decides how many rows a table has: sizes, and switches between one table and several.
SIZE = re.compile(r"vocab|codebook_size")
SWITCH = re.compile(r"share|tie|vocab|is_(encoder_)?decoder")


def sized(architecture: str) -> str | None:
    """The place in the config of the number of rows that every table of a class has; None where there is no one such."""
    cls = getattr(transformers, architecture)
    places: set[str] | None = None
    for config in varied(cls.config_class):
        rows = rows_of(cls, config)
        if rows is None:
            continue
        hits = {path for path, value in places_of(config.to_dict(), "") if {value} == rows}
        places = hits if places is None else places & hits
    return places.pop() if places is not None and len(places) == 1 else None


def varied(config_class: Any) -> Iterator[Any]:
    """Tiny configs in which no two sizes of a vocabulary are equal: the class's own switches, then each of them turned."""
    first = _apart(config_class, "")
    if first is None:
        return
    yield first
    for path, level in _by_path(first):
        for name, value in vars(level).items():
            if isinstance(value, bool) and SWITCH.search(name):
                turned = _apart(config_class, f"{path}{name}")
                if turned is not None:
                    yield turned


def _apart(config_class: Any, switch: str) -> Any:
    """A tiny config with every size another prime, read once more as it is stored, and with one switch turned."""
    try:
        config = config_class(**small_sizes(config_class, None))
        primes = iter(p for p in range(211, 2000) if all(p % q for q in range(2, 45)))
        for path, level in _by_path(config):
            for name, value in sorted(vars(level).items()):
                if SIZE.search(name) and "type" not in name and _is_size(value):
                    setattr(level, name, next(primes))
                if f"{path}{name}" == switch:
                    setattr(level, name, not value)
        return config_class.from_dict(config.to_dict())
    except Exception:  # the class refuses such sizes
        return None


def _by_path(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    yield path, config
    for name, inner in nested(config).items():
        yield from _by_path(inner, f"{path}{name}.")


def _is_size(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def rows_of(cls: Any, config: Any) -> set[int] | None:
    """The rows of every table that a class looks up, projects with or ties; None where no model can be made so."""
    try:
        with torch.device("meta"):
            model = cls(config)
        ends = [end for end in (model.get_input_embeddings(), model.get_output_embeddings()) if end is not None]
        rows = {end.weight.shape[0] for end in ends}
        held = dict(model.named_parameters(remove_duplicate=False))
        for pair in (cls._tied_weights_keys or {}).items():
            rows |= {held[name].shape[0] for name in pair if held[name].ndim == 2}
    except Exception:  # or its tables go by other names
        return None
    return rows


def along(architecture: str) -> dict[str, str] | None:
    """Every pair that a class ties under the flag alone, itself or by a model in it; None where its config decides which."""
    cls = getattr(transformers, architecture)
    seen = []
    for config in varied(cls.config_class):
        try:
            set_flag(config, False, "")
            with torch.device("meta"):
                held = dict(cls(config).named_parameters(remove_duplicate=False))
                set_flag(config, True, "")
                pairs = dict(cls(config).all_tied_weights_keys)
        except Exception:  # no tiny model can be made so
            continue
        seen.append({one: two for one, two in pairs.items() if held.get(one, one) is not held.get(two, two)})
    layers = (name for pairs in seen for name in pairs if name not in (cls._tied_weights_keys or {}))
    if any(pairs != seen[0] for pairs in seen) or any(re.search(r"\.\d+\.", name) for name in layers):
        return None
    return seen[0] if seen else {}


def inner(architecture: str) -> str | None:
    """Of a class that names no table itself: the level of the config by which a model in it ties its own ("": the top)."""
    cls = getattr(transformers, architecture)
    if any(name.endswith("weight") for name in cls._tied_weights_keys or {}):
        return None
    try:
        config = cls.config_class(**small_sizes(cls.config_class, None))
        places = [path for path, level in _by_path(config) if hasattr(level, FLAG)]
        acting = [path for path in places if _ties_at(cls, config, path)]
    except Exception:  # no tiny model can be made so
        return None
    return acting[0].rstrip(".") if len(acting) == 1 else None


def _ties_at(cls: Any, config: Any, path: str) -> bool:
    """Whether a table is tied where one level alone says true, as it is read once more from what is stored."""
    for place, level in _by_path(config):
        if hasattr(level, FLAG):
            setattr(level, FLAG, place == path)
    with torch.device("meta"):
        pairs = cls(cls.config_class.from_dict(config.to_dict())).all_tied_weights_keys
    return any(name.endswith("weight") for name in pairs)


def roots(architecture: str) -> list[str]:
    """The first words of a class's names, with and without its base model's; none where transformers renames what it reads."""
    from transformers.conversion_mapping import get_model_conversion_mapping

    cls = getattr(transformers, architecture)
    config = next(varied(cls.config_class), None)
    try:
        with torch.device("meta"):
            model = cls(config)
        if get_model_conversion_mapping(model, add_legacy=False):
            return []
        names = [*model.state_dict(), *model.base_model.state_dict()]
    except Exception:  # no tiny model can be made so
        return []
    return sorted({name.partition(".")[0] for name in names})


class Ends(NamedTuple):
    """A tiny model's two tables as they are stored (name and shape), whether it has more such heads, and whether it ties."""

    lookup: tuple[str, tuple[int, ...]] | None
    head: tuple[str, tuple[int, ...]] | None
    several: bool
    ties: bool
    stored: dict[str, tuple[int, ...]]


def ends(architecture: str) -> list[Ends]:
    """The tables of every tiny model of a class; none where none can be made, or one renames what it stores beyond that."""
    cls = getattr(transformers, architecture)
    seen = []
    for config in varied(cls.config_class):
        try:
            ties = _ties_weights(cls, config)
            set_flag(config, False, "")
            with torch.device("meta"):
                seen.append(_ends(cls(config), {value for _, value in places_of(config.to_dict(), "")}, ties))
        except Exception:  # no tiny model can be made so
            continue
    return seen


def _ties_weights(cls: Any, config: Any) -> bool:
    try:
        set_flag(config, True, "")
    except FlagRejected:
        return False
    with torch.device("meta"):
        return any(name.endswith("weight") for name in cls(config).all_tied_weights_keys)


def _ends(model: Any, sizes: set[int], ties: bool) -> Ends:
    from transformers.core_model_loading import revert_weight_conversion

    held = {name: tensor for name, tensor in model.state_dict(keep_vars=True).items() if tensor.ndim == 2}
    kept = revert_weight_conversion(model, model.state_dict(keep_vars=True))
    named = {id(tensor): name for name, tensor in reversed(kept.items())}
    looked = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    primes = {
        size for size in sizes if size > 200
    }  # what `varied` gave to vocabularies; a head may have several of one
    wide = [tensor for tensor in held.values() if any(tensor.shape[0] % size == 0 for size in primes)]
    lookup = _weight(model.get_input_embeddings)
    if lookup is None or id(lookup) not in looked:
        lookup = next((tensor for tensor in wide if id(tensor) in looked), None)
    heads = [tensor for tensor in wide if id(tensor) not in looked]
    like = [tensor for tensor in heads if lookup is not None and tensor.shape == lookup.shape]
    head = _weight(model.get_output_embeddings)
    head = next(iter([*like, *heads]), None) if head is None else head
    several = head is not None and sum(tensor.shape == head.shape for tensor in heads) > 1
    one, two = (None if t is None else (named.get(id(t), ""), tuple(t.shape)) for t in (lookup, head))
    return Ends(one, two, several, ties, {name: tuple(tensor.shape) for name, tensor in kept.items()})


def _weight(ask: Any) -> Any:
    """The table that a model says it has, of several the first; None where it says nothing."""
    try:
        end = ask()
    except NotImplementedError:
        return None
    end = end[0] if isinstance(end, torch.nn.ModuleList) else end
    return getattr(end, "weight", None)


def headless(seen: list[Ends]) -> str | None:
    """The lookup's name of a class in which nothing projects over a vocabulary ("": it has none); None of another class."""
    names = {end.lookup[0] if end.lookup else "" for end in seen if end.head is None and not end.ties}
    return names.pop() if len(names) == 1 and all(end.head is None and not end.ties for end in seen) else None


def unnamed(architecture: str, seen: list[Ends]) -> list[str] | None:
    """The names of a class's two tables where its ties and the names of frameworks find them not (or others, if it ties none)."""
    pairs = {(end.lookup[0], end.head[0]) for end in seen if end.lookup and end.head}
    if len(pairs) != 1 or not all(next(iter(pairs))) or not all(end.lookup and end.head for end in seen):
        return None
    (pair,) = pairs
    for end in seen:
        tensors = {name: Tensor(name, shape, "F32", FILE, 0, 0) for name, shape in end.stored.items()}
        tables = found(tensors, facts.ties(architecture)[0])
        names = [t.tensor.name if t else "" for t in (tables.embedding, tables.head)]
        other = [name for name, told in zip(names, pair, strict=True) if name != told]
        if other and (not end.ties or not any(other)):
            return list(pair)
    return None


def idle(seen: list[Ends]) -> str | None:
    """Why the flag can mean no one head of a class that ties nothing: "shapes" of the two tables, or "several" heads."""
    if not seen or any(end.ties or not end.lookup or not end.head for end in seen):
        return None
    if all(end.lookup and end.head and end.lookup[1] != end.head[1] for end in seen):
        return "shapes"
    return "several" if all(end.several for end in seen) else None


def places_of(config: dict[str, Any], path: str) -> list[tuple[str, Any]]:
    """Every size of a vocabulary, with where it stands."""
    hits = [
        (f"{path}{name}", value) for name, value in config.items() if SIZE.search(str(name)) and isinstance(value, int)
    ]
    for name, inner in config.items():
        if isinstance(inner, dict):
            hits += places_of(inner, f"{path}{name}.")
    return hits


def main() -> int:
    """Write the file, or with ``--check`` say whether it is current (exit status 1 where it is not)."""
    transformers.logging.set_verbosity(50)
    table = surveyed()
    table["along"] = {name: pairs for name in table["classes"] if (pairs := along(name)) != {}}
    table["inner"] = {name: told for name in table["classes"] if (told := inner(name)) is not None}
    table["roots"] = {name: words for name in table["classes"] if (words := roots(name))}
    table["sized"] = {name: place for name in table["classes"] if (place := sized(name))}
    seen = {name: ends(name) for name in table["classes"]}
    for key, told in (("headless", headless), ("idle", idle)):
        table[key] = {name: word for name, tables in seen.items() if (word := told(tables)) is not None}
    table["ends"] = {name: pair for name, tables in seen.items() if (pair := unnamed(name, tables))}
    text = json.dumps(table, indent=0, sort_keys=True) + "\n"
    if "--check" in sys.argv[1:]:
        return int(FILE.read_text(encoding="utf-8") != text)
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
