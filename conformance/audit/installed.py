"""What the installed transformers makes of the tie flag. Only its own classes are asked, never code of a checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

FLAG = "tie_word_embeddings"
MAPPINGS = (
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "MODEL_FOR_PRETRAINING_MAPPING_NAMES",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
)


def version() -> str | None:
    """The version of transformers that is installed here, or None."""
    if find_spec("transformers") is None:
        return None
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as of

    try:
        return of("transformers")
    except PackageNotFoundError:
        return None


def default(model_type: str, levels: Mapping[str, Any]) -> bool | None:
    """What the config class of a type makes of a config without the flag at its top level; None where it cannot be said.

    Args:
        levels: the nested configs, as nothing but ``model_type`` and the flag: no number of a checkpoint gets that far.
    """
    return taken(model_type, levels)


def taken(model_type: str, stored: Mapping[str, Any]) -> bool | None:
    """What the config class makes of the flag; None where it cannot be said.

    Args:
        stored: a config of which nothing is left but types and flags, at the top and in the nested configs.
    """
    value = getattr(_made(model_type, stored), FLAG, None)
    return value if isinstance(value, bool) else None


def _made(model_type: str, stored: Mapping[str, Any]) -> Any:
    try:
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING

        with _quiet():
            if model_type not in CONFIG_MAPPING:
                return None
            return CONFIG_MAPPING[model_type].from_dict({"model_type": model_type, **stored})
    except Exception:  # a class may refuse a config without sizes, or one value of the flag
        return None


def reads(model_type: str) -> dict[str, Any]:
    """How a config class reads the flag where it does more than to take what the top level says; else empty.

    ``always``: the value that it has whatever is said; ``nested``: the configs whose true ties though the top level says
    false; ``absent``: those that decide where the top level says nothing; ``top``: whether true at the top alone ties.
    """
    parts = sorted(_parts(model_type))
    false = {part: {FLAG: False} for part in parts}
    low, high = taken(model_type, {FLAG: False, **false}), taken(model_type, {FLAG: True, **false})
    if low is None or high is None:
        return {}
    full = taken(model_type, {FLAG: True, **{part: {FLAG: True} for part in parts}})
    if low or not full:
        return {"always": low}
    nested = [part for part in parts if taken(model_type, {**false, FLAG: False, part: {FLAG: True}})]
    bare = taken(model_type, false)
    absent = [part for part in parts if taken(model_type, {**false, part: {FLAG: True}}) is not bare]
    if high and not nested and not absent:
        return {}
    return {"top": high, "nested": nested, "absent": absent}


def _parts(model_type: str) -> tuple[str, ...]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return tuple(getattr(CONFIG_MAPPING[model_type], "sub_configs", None) or ()) if model_type in CONFIG_MAPPING else ()


def moved(model_type: str) -> dict[str, dict[str, Any]]:
    """Fields beside the flag whose value a config class takes from it where they do not stand: by what the flag says."""
    said = {"true": {FLAG: True}, "false": {FLAG: False}, "absent": {}}
    made = {word: _made(model_type, stored) for word, stored in said.items()}
    if any(config is None for config in made.values()):
        return {}
    plain = {word: config.to_dict() for word, config in made.items()}
    fields = plain["true"].keys() & plain["false"].keys() & plain["absent"].keys() - {FLAG}
    values = {field: {word: plain[word][field] for word in said} for field in sorted(fields)}
    return {
        field: by
        for field, by in values.items()
        if by["true"] != by["false"] and all(isinstance(v, bool | int | float | str | None) for v in by.values())
    }


def computes(architecture: str) -> bool:
    """Whether the forward of a class reads the flag, so that turning it changes more than the tie."""
    import inspect

    try:
        import transformers

        with _quiet():
            forward = inspect.getsource(getattr(transformers, architecture).forward)
    except Exception:
        return False
    return f".{FLAG}" in forward


def ties(architecture: str) -> dict[str, str] | None:
    """Which names a class ties to which where the flag is on; None where there is no such class."""
    try:
        import transformers

        with _quiet():
            found = getattr(transformers, architecture, None)
            if not isinstance(found, type):
                return None
            keys = getattr(found, "_tied_weights_keys", None)
    except Exception:
        return None
    if not keys:
        return {}
    items = keys.items() if isinstance(keys, Mapping) else ((key, "") for key in keys)
    return {str(target): str(source) for target, source in items}


def surveyed() -> dict[str, Any]:
    """Every language model's class and type: what the table that is shipped says without building one."""
    import transformers
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    classes: set[str] = set()
    for name in MAPPINGS:
        for value in getattr(modeling_auto, name, {}).values():
            classes |= {value} if isinstance(value, str) else set(value)
    types = sorted(CONFIG_MAPPING.keys())
    defaults = {name: default(name, {}) for name in types}
    tied = {name: ties(name) for name in sorted(classes)}
    return {
        "transformers": transformers.__version__,
        "defaults": {name: value for name, value in defaults.items() if value is not None},
        "classes": {name: value for name, value in tied.items() if value is not None},
        "reads": _kept({name: reads(name) for name in types}),
        "moved": _kept({name: moved(name) for name in types}),
        "computes": sorted(name for name, value in tied.items() if value is not None and computes(name)),
    }


def _kept(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in sorted(table.items()) if value}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(level)
