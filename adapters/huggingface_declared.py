"""What the architecture of a transformers model adds to the plain tie on purpose, from its config and the facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiecheck.conformance.declaration import Declaration

from .huggingface_facts import CLASS_BIAS, FACTS, NOT_PADDED, Fact
from .huggingface_tiny import FLAG, known_types, model_class

if TYPE_CHECKING:
    import torch


def declared(model_or_config: Any) -> Declaration:
    """What the architecture of a transformers model, or of a config, adds to the plain tie on purpose.

    The tie flag, the padding row and generic scales are read off the config; what the class hard-codes comes from
    ``huggingface_facts.FACTS``. With a config alone the class is the one that ``build`` would take.

    Args:
        model_or_config: a ``PreTrainedModel`` (wrappers such as ``torch.compile``'s are looked through) or a
            ``PreTrainedConfig``.

    Returns:
        The declaration; the plain tie for what is not of transformers. A bias or scale that a parameter holds is given
        by that parameter's name, the first of its names where a model is given.
    """
    model = model_or_config if callable(getattr(model_or_config, "named_parameters", None)) else None
    inside = None if model is None else unwrapped(model)
    config = model_or_config if model is None else getattr(inside, "config", None)
    if not hasattr(config, "model_type"):
        return Declaration()
    text = _text_config(config)
    kinds = [getattr(config, "model_type", ""), getattr(text, "model_type", "")]
    if kinds[0] == "encoder-decoder":
        kinds[0] = kinds[1]  # it projects with the head of the decoder that it wraps
    fact = FACTS.get(kinds[0], Fact(source=""))
    lookup = fact if fact.input_scale is not None else FACTS.get(kinds[1], fact)
    class_name = _class_name(inside, kinds[0])
    bias = _read(CLASS_BIAS[class_name].output_bias if class_name in CLASS_BIAS else fact.output_bias, text)
    scale = _read(fact.output_scale, text)
    # a composite class has a head of its own, which need not do what the head of its text model does
    capped = text if text is config or kinds[0] in FACTS else None
    cap = _read(fact.softcap, text) if fact.softcap else getattr(capped, "final_logit_softcapping", None)
    return Declaration(
        tied=_flag(config),
        input_scale=_scale(_input_scale(text) if lookup.input_scale is None else _read(lookup.input_scale, text)),
        output_scale=(_named(model, scale) or 1.0) if _is_name(scale) else _scale(scale),
        output_bias=(_named(model, bias) or False) if isinstance(bias, str) else bool(bias),
        logit_softcap=float(cap) if cap else None,
        padding_row=_padding_row(kinds, text),
        vocabulary=_read(fact.vocabulary, text) if fact.vocabulary else None,
    )


def unwrapped(model: Any) -> Any:
    """The model inside the wrappers that keep its forward: ``torch.compile``'s, data parallelism's, PEFT's."""
    while True:
        peft = getattr(model, "get_base_model", None)
        inner = getattr(model, "_orig_mod", None) or (peft() if callable(peft) else None)
        if inner is None and not hasattr(model, "config"):
            inner = getattr(model, "module", None)
        if inner is None:
            return model
        model = inner


def _text_config(config: Any) -> Any:
    """The config of the part that embeds and projects tokens: ``text_config`` or ``decoder`` where it is nested."""
    for name in ("text_config", "decoder"):
        inner = getattr(config, name, None)
        if inner is not None and hasattr(inner, "model_type"):
            return inner
    return config


def _class_name(model: torch.nn.Module | None, kind: str) -> str:
    if model is not None:
        return type(model).__name__
    return str(model_class(kind).__name__) if kind in known_types() else ""


def _flag(config: Any) -> bool:
    """The tie flag as modeling_utils.py reads it: off the class's config, and where that has none, the decoder's."""
    value = getattr(config, FLAG, None)
    return bool(getattr(_text_config(config), FLAG, False) if value is None else value)


def _read(fact: Any, text: Any) -> Any:
    return fact(text) if callable(fact) else fact


def _input_scale(text: Any) -> Any:
    """The generic rules. A field counts, an alias does not: ``attribute_map`` gives these names to other things."""
    fields = vars(text)
    if fields.get("scale_embedding"):
        return "sqrt(D)"
    return fields.get("embedding_multiplier")


def _scale(value: Any) -> float | str:
    return value if isinstance(value, str) else 1.0 if value is None else float(value)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and "sqrt" not in value


def _named(model: torch.nn.Module | None, name: str) -> str | None:
    """``name`` as ``named_parameters`` of ``model`` spells it: with its prefix, and the first of several names.

    None where the model has none such: the class of another version of transformers may not have it.
    """
    if model is None:
        return name
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    held = next((tensor for full, tensor in tensors if full == name or full.endswith(f".{name}")), None)
    return next((full for full, tensor in tensors if tensor is held), None)


def _padding_row(kinds: list[str], text: Any) -> int | None:
    """The row whose lookup gradient ``nn.Embedding(padding_idx=config.pad_token_id)`` masks, counted from the start.

    Of a class that transformers does not have, nothing is known and nothing declared.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    row = getattr(text, "pad_token_id", None)
    if not isinstance(row, int) or not NOT_PADDED.isdisjoint(kinds) or kinds[1] not in CONFIG_MAPPING:
        return None
    rows = getattr(text, "vocab_size", None)
    if row < 0 and isinstance(rows, int):
        row += rows
    return row if row >= 0 else None
