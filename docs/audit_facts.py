"""Writes `conformance/audit/transformers.json`: what the installed transformers makes of the tie flag, by type and by class.

    python docs/audit_facts.py [--check]

A class's ``_tied_weights_keys`` says which names it ties where the flag is on; a config class says what a missing flag
means, and what it makes of one that stands. How many rows the tables have is seen on tiny models on the meta device.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from tiecheck.adapters.huggingface_tiny import levels, small_sizes
from tiecheck.conformance.audit.installed import surveyed

FILE = Path(__file__).parents[1] / "conformance" / "audit" / "transformers.json"


PRIMES = (211, 223, 227, 229, 233, 239, 241, 251)


def sized(architecture: str) -> str | None:
    """The place in the config of the number of rows that every table of a class has; None where there is no one such."""
    cls = getattr(transformers, architecture)
    try:
        config = cls.config_class(**small_sizes(cls.config_class, None))
        for prime, level in zip(
            PRIMES, filter(lambda level: hasattr(level, "vocab_size"), levels(config)), strict=False
        ):
            level.vocab_size = prime
        with torch.device("meta"):
            model = cls(config)
        ends = [end for end in (model.get_input_embeddings(), model.get_output_embeddings()) if end is not None]
        rows = {end.weight.shape[0] for end in ends}
        held = dict(model.named_parameters(remove_duplicate=False))
        for pair in (cls._tied_weights_keys or {}).items():
            rows |= {held[name].shape[0] for name in pair if held[name].ndim == 2}
    except Exception:  # no tiny model can be made so, or its tables go by other names
        return None
    places = [path for path, value in places_of(config.to_dict(), "") if {value} == rows]
    return places[0] if len(places) == 1 else None


def places_of(config: dict[str, Any], path: str) -> list[tuple[str, Any]]:
    """Every ``vocab_size``, with where it stands."""
    found = [(f"{path}vocab_size", config["vocab_size"])] if "vocab_size" in config else []
    for name, inner in config.items():
        if isinstance(inner, dict):
            found += places_of(inner, f"{path}{name}.")
    return found


def main() -> int:
    """Write the file, or with ``--check`` say whether it is current (exit status 1 where it is not)."""
    transformers.logging.set_verbosity(50)
    facts = surveyed()
    facts["sized"] = {name: place for name in facts["classes"] if (place := sized(name))}
    text = json.dumps(facts, indent=0, sort_keys=True) + "\n"
    if "--check" in sys.argv[1:]:
        return int(FILE.read_text(encoding="utf-8") != text)
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
