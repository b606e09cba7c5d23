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
    try:
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING

        with _quiet():
            if model_type not in CONFIG_MAPPING:
                return None
            made = CONFIG_MAPPING[model_type].from_dict({"model_type": model_type, **levels})
            value = getattr(made, FLAG, None)
    except Exception:  # a class may refuse a config without sizes
        return None
    return value if isinstance(value, bool) else None


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
    """Every language model's class and type: the table that is shipped."""
    import transformers
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    classes: set[str] = set()
    for name in MAPPINGS:
        for value in getattr(modeling_auto, name, {}).values():
            classes |= {value} if isinstance(value, str) else set(value)
    defaults = {name: default(name, {}) for name in sorted(CONFIG_MAPPING.keys())}
    tied = {name: ties(name) for name in sorted(classes)}
    return {
        "transformers": transformers.__version__,
        "defaults": {name: value for name, value in defaults.items() if value is not None},
        "classes": {name: value for name, value in tied.items() if value is not None},
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(level)
