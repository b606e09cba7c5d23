"""Writes `conformance/audit/transformers.json`: what the installed transformers makes of the tie flag, by type and by class.

    python docs/audit_facts.py [--check]

A class's ``_tied_weights_keys`` says which names it ties where the flag is on; a config class says what a missing flag
means, and what it makes of one that stands. How many rows the tables have is seen on tiny models on the meta device.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from tiecheck.adapters.huggingface_tiny import FLAG, nested, set_flag, small_sizes
from tiecheck.conformance.audit.installed import surveyed

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
        found = {path for path, value in places_of(config.to_dict(), "") if {value} == rows}
        places = found if places is None else places & found
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


def places_of(config: dict[str, Any], path: str) -> list[tuple[str, Any]]:
    """Every size of a vocabulary, with where it stands."""
    found = [
        (f"{path}{name}", value) for name, value in config.items() if SIZE.search(str(name)) and isinstance(value, int)
    ]
    for name, inner in config.items():
        if isinstance(inner, dict):
            found += places_of(inner, f"{path}{name}.")
    return found


def main() -> int:
    """Write the file, or with ``--check`` say whether it is current (exit status 1 where it is not)."""
    transformers.logging.set_verbosity(50)
    facts = surveyed()
    facts["along"] = {name: pairs for name in facts["classes"] if (pairs := along(name)) != {}}
    facts["inner"] = {name: told for name in facts["classes"] if (told := inner(name)) is not None}
    facts["roots"] = {name: words for name in facts["classes"] if (words := roots(name))}
    facts["sized"] = {name: place for name in facts["classes"] if (place := sized(name))}
    text = json.dumps(facts, indent=0, sort_keys=True) + "\n"
    if "--check" in sys.argv[1:]:
        return int(FILE.read_text(encoding="utf-8") != text)
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
