"""Causal language models of Hugging Face transformers: built tiny, random and offline, and what their classes declare.

Nothing here judges. ``build`` makes the model of an ``hf:`` target with the tie flag set where its class reads it,
``declared`` states what the architecture adds to the plain tie (from the config, and from ``huggingface_facts`` for
what a class hard-codes), and ``call`` returns logits for token ids.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from tiecheck.adapters.huggingface_facts import (
    CLASS_BIAS,
    FACTS,
    NEVER_TIED,
    NOT_BY_IDS,
    NOT_PADDED,
    SIZES,
    TINY,
    VOCABULARY,
    Fact,
)
from tiecheck.conformance.declaration import Declaration

__all__ = ["NEVER_TIED", "NOT_BY_IDS", "FlagRejected", "build", "call", "declared", "model_types", "tiny_config"]

_FLAG = "tie_word_embeddings"


class FlagRejected(ValueError):
    """The model type refuses, loudly, the value of the tie flag that it was asked to be built with."""


def model_types() -> tuple[str, ...]:
    """Every model type of the installed transformers that has a causal language model class, in its order."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def tiny_config(model_type: str, tied: bool | None = None) -> Any:
    """A small legal config of ``model_type``, made offline: the class's defaults with every size lowered by its name.

    It has V = 101 tokens, width 32 and one layer of each kind that the default has, at least two. Where the causal
    class of a composite type takes the text config alone, that is what is returned.

    Args:
        model_type: a key of the causal or of the sequence-to-sequence mapping of transformers.
        tied: the flag, set at every level that has one; None leaves the class's own.

    Raises:
        LookupError: transformers has no such model type, or no language model class for it.
        FlagRejected: the config refuses this value of the flag, or has no flag to set.
    """
    config_class = _config_class(model_type)
    sizes = _small(config_class, tied)
    fields = {field.name: field.default for field in dataclasses.fields(config_class)}
    if fields.get("is_decoder") is False and not fields.get("is_encoder_decoder"):
        sizes.setdefault("is_decoder", True)  # or BERT and its kin look at the tokens to come, and warn of it
    try:
        config = config_class(**sizes)
    except Exception as error:
        if tied is not None and _FLAG in str(error):
            raise FlagRejected(f"{model_type} refuses {_FLAG}={tied}: {_sentence(error)}") from error
        raise
    _set_flag(config, tied, model_type)
    return config


def build(
    model_type_or_path: str, *, tied: bool | None, seed: int, trust_remote_code: bool = False
) -> tuple[torch.nn.Module, Declaration]:
    """The language model of an ``hf:`` target, in float32, with what it declares.

    Args:
        model_type_or_path: a model type (a tiny random model, offline); a folder, with a path prefix (``./x``, ``/x``);
            or ``OWNER/NAME`` on the Hub. The last two come with their real weights.
        tied: the tie flag, set at every level of the config that has one; None leaves the config's own value.
        seed: seeds the initialization; the caller's random state is left as it was.
        trust_remote_code: whether code that comes with the weights may run.

    Raises:
        LookupError: an unknown model type, or a repository that cannot be had.
        FlagRejected: the architecture refuses this value of the flag loudly, or has no flag.
        ValueError: a folder without config.json, a model that ids alone cannot judge, or one that needs a package
            that is not installed; one sentence that says which.
    """
    name = model_type_or_path
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if "/" in name:
            model = _pretrained(name, tied, trust_remote_code)
        else:
            if name in NOT_BY_IDS:
                raise ValueError(f"{name} cannot be judged with token ids alone: {NOT_BY_IDS[name]}")
            try:
                model = _model_class(name)._from_config(tiny_config(name, tied), dtype=torch.float32)
            except (LookupError, FlagRejected):
                raise
            except Exception as error:
                raise ValueError(f"{name} cannot be built here: {_sentence(error)}") from error
    model = model.float()
    return model, declared(model)


def call(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """The logits of ``model`` for ``ids``.

    Ids go in positionally, and as ``decoder_input_ids`` too where the model is an encoder-decoder. No cache is asked
    for: it costs memory, and a hybrid without an attention layer refuses one.

    Args:
        ids: LongTensor of shape (B, T).

    Returns:
        Logits of shape (B, T, columns).
    """
    parameters = inspect.signature(model.forward).parameters
    config = getattr(model, "config", None)
    more: dict[str, Any] = {}
    if "use_cache" in parameters:
        more["use_cache"] = False
    if "decoder_input_ids" in parameters and getattr(config, "is_encoder_decoder", False):
        more["decoder_input_ids"] = ids
    out = model(ids, **more)
    if isinstance(out, torch.Tensor):
        return out
    logits = out["logits"] if isinstance(out, Mapping) else out[0]
    assert isinstance(logits, torch.Tensor)
    return logits


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
    model = model_or_config if isinstance(model_or_config, torch.nn.Module) else None
    inside = model
    while inside is not None and not hasattr(inside, "config"):
        inside = getattr(inside, "_orig_mod", getattr(inside, "module", None))
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


# building


def _model_class(model_type: str) -> Any:
    import transformers
    from transformers.models.auto import modeling_auto as auto

    for names in (auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES):
        name = names.get(model_type)
        if name is not None:
            return getattr(transformers, name if isinstance(name, str) else name[0])
    known = [*auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES]
    near = difflib.get_close_matches(model_type, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise LookupError(f"transformers {transformers.__version__} has no language model of type {model_type!r}{hint}")


def _config_class(model_type: str) -> Any:
    """The config class to shrink: the text config where the model class takes nothing else, as AutoModel does."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    own = CONFIG_MAPPING[model_type]
    obeyed = _model_class(model_type).config_class
    if obeyed is own or issubclass(own, obeyed):
        return own
    return obeyed if obeyed in [type(inner) for inner in _nested(own()).values()] else own


def _nested(config: Any) -> dict[str, Any]:
    """The configs inside a composite one, by name."""
    inner = {name: getattr(config, name, None) for name in getattr(config, "sub_configs", {})}
    return {name: config for name, config in inner.items() if config is not None}


def _small(config_class: Any, tied: bool | None) -> dict[str, Any]:
    """Arguments that make ``config_class`` small: integers by name, one layer of each kind, nested configs too."""
    fields = {field.name: field.default for field in dataclasses.fields(config_class)}
    sizes: dict[str, Any] = {}
    for name, value in fields.items():
        # a default of None is derived from other sizes by the class
        if isinstance(value, bool) or not isinstance(value, int):
            continue
        small = next((number for pattern, number in SIZES if re.fullmatch(pattern, name)), None)
        if small is not None:
            sizes[name] = min(value, small)
        elif re.fullmatch(r"(pad|bos|eos|sep|cls|decoder_start|forced_eos)_token_id", name) and value >= VOCABULARY:
            # an image or audio token is left where it is, beyond the vocabulary, so that no drawn id is one
            sizes[name] = {"pad": 0, "bos": 1}.get(name.split("_")[0], 2)
    if "num_key_value_heads" in sizes and fields["num_key_value_heads"] == fields.get("num_attention_heads"):
        sizes["num_key_value_heads"] = sizes["num_attention_heads"]
    default = config_class()
    for name in ("layer_types", "layers_block_type", "mlp_layer_types"):
        if name in fields and fields[name] is None:
            kinds = list(dict.fromkeys(getattr(default, name, None) or ()))
            if len(kinds) > 1:
                sizes[name] = kinds
                sizes["num_hidden_layers"] = len(kinds)
    for name, inner in _nested(default).items():
        kind = {"model_type": inner.model_type} if inner.model_type else {}
        sizes[name] = kind | _small(type(inner), tied)
    if tied is not None and _FLAG in fields:
        sizes[_FLAG] = tied
    return _merged(sizes, TINY.get(config_class.model_type, {}))


def _merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in more.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = _merged(out[key], value) if both else copy.deepcopy(value)
    return out


def _levels(config: Any) -> Iterator[Any]:
    yield config
    for inner in _nested(config).values():
        yield from _levels(inner)


def _set_flag(config: Any, tied: bool | None, name: str) -> None:
    """Sets the flag after construction too: the T5 family takes it for a scale there, and keeps True."""
    if tied is None:
        return
    levels = [level for level in _levels(config) if hasattr(level, _FLAG)]
    if not levels and tied:
        raise FlagRejected(f"the config of {name} has no {_FLAG}, so that the model cannot be asked to tie")
    for level in levels:
        setattr(level, _FLAG, tied)
    if levels:
        # modeling_utils.py, get_expanded_tied_weights_keys: the flag is read off the config of the class itself
        setattr(config, _FLAG, tied)


def _pretrained(name: str, tied: bool | None, trust_remote_code: bool) -> Any:
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    local = name.startswith(("./", "../", "/"))
    failure = ValueError if local else LookupError
    if local and not (Path(name) / "config.json").is_file():
        raise ValueError(f"{name} is no folder with a config.json in it")
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
    except Exception as error:
        raise failure(f"the config of {name} cannot be read: {_sentence(error)}") from error
    model_class = AutoModelForCausalLM
    more: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if config.model_type in _known_types():
        model_class, more = _stored_class(config), {}
        for level in _levels(config):
            if isinstance(level, model_class.config_class):
                config = level
                break
    elif "AutoModelForCausalLM" not in (getattr(config, "auto_map", None) or {}):
        raise LookupError(
            f"transformers {transformers.__version__} has no language model of type {config.model_type!r} for {name}"
        )
    _set_flag(config, tied, name)
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        try:
            return model_class.from_pretrained(name, config=config, dtype=torch.float32, use_safetensors=True, **more)
        except OSError:
            # pickled weights only where there are no others, and then without a conversion in the background
            return model_class.from_pretrained(name, config=config, dtype=torch.float32, use_safetensors=False, **more)
    except Exception as error:
        raise failure(f"the weights of {name} cannot be read: {_sentence(error)}") from error
    finally:
        if shown:
            logging.enable_progress_bar()


def _known_types() -> frozenset[str]:
    from transformers.models.auto import modeling_auto as auto

    names = (auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)
    return frozenset(name for mapping in names for name in mapping)


def _stored_class(config: Any) -> Any:
    """The class that a checkpoint names, where it is a language model class; else the one of its type.

    BART is a causal type as well, but a stored BartForConditionalGeneration has an encoder and a bias.
    """
    import transformers
    from transformers.models.auto import modeling_auto as auto

    mapped = auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    if mapped is not None and mapped in (config.architectures or ()):
        return getattr(transformers, mapped)
    return _model_class(config.model_type)


def _sentence(error: BaseException) -> str:
    """The first sentence of an error of transformers, which may run over many lines; a validator's is on its last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0].split(". ")[0] if lines else type(error).__name__
    return (lines[-1] if first.endswith(":") else first).removeprefix("ValueError: ").removesuffix(".")


# declaring


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
    return str(_model_class(kind).__name__) if kind in _known_types() else ""


def _flag(config: Any) -> bool:
    """The tie flag as modeling_utils.py reads it: off the class's config, and where that has none, the decoder's."""
    value = getattr(config, _FLAG, None)
    return bool(getattr(_text_config(config), _FLAG, False) if value is None else value)


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
