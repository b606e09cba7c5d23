"""Tiny models of mlx_lm.models, built from the fields of each module's own ``ModelArgs``."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib
import io
import math
import pkgutil
import typing
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import mlx.core as mx
import mlx_lm.models
from mlx.utils import tree_flatten
from tiecheck.conformance.declaration import Declaration
from tiecheck.conformance.errors import NotJudged, line
from tiecheck.conformance.protocol import Built

V = 61
D = 32
LARGEST = 20_000_000
SWITCHES = ("tie_word_embeddings", "tie_embedding", "share_input_output_layers", "weight_tying")
"""How the flag is spelt, the usual spelling first."""

FULL = ["full_attention", "full_attention"]
ROPE = {"rope_theta": 10000.0, "rope_type": "default"}
SIZES: dict[str, Any] = {
    # the table and the width
    "vocab_size": V,
    "num_vocab": V,
    "embedding_size": V,
    "hidden_size": D,
    "hidden_dim": D,
    "model_dim": D,
    "d_model": D,
    "n_embd": D,
    # layers
    "num_hidden_layers": 2,
    "num_layers": 2,
    "num_transformer_layers": 2,
    "n_layer": 2,
    "n_layers": 2,
    "layer_types": FULL,
    # heads
    "num_attention_heads": 2,
    "num_heads": 2,
    "n_head": 2,
    "n_heads": 2,
    "num_key_value_heads": 2,
    "num_kv_heads": 2,
    "n_kv_heads": 2,
    "head_dim": 16,
    "kv_channels": 16,
    "hidden_size_per_head": 16,
    "rotary_dim": 8,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
    "index_head_dim": 16,
    "index_n_heads": 2,
    "index_topk": 8,
    "sliding_window": 64,
    "sliding_window_size": 64,
    "window_size": 64,
    "attention_window_size": 64,
    "attention_chunk_size": 64,
    "max_position_embeddings": 128,
    "model_max_length": 128,
    "n_ctx": 128,
    "n_positions": 128,
    "block_size": 128,
    # feed-forward
    "intermediate_size": 64,
    "intermediate_size_mlp": 64,
    "dense_intermediate_size": 64,
    "shared_intermediate_size": 64,
    "ff_intermediate_size": 64,
    "ffn_hidden_size": 64,
    "expert_ffn_hidden_size": 32,
    "mlp_hidden_size": 64,
    "block_dim": D,
    "block_multiple_of": 8,
    "block_ffn_dim_multiplier": 1.0,
    "n_inner": 64,
    # experts
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "num_experts_per_token": 2,
    "moe_topk": 2,
    "moe_k": 2,
    "num_shared_experts": 1,
    "n_shared_experts": 1,
    "moe_intermediate_size": 32,
    "moe_hidden_size": D,
    "shared_expert_intermediate_size": 32,
    "moe_shared_expert_intermediate_size": 32,
    "share_expert_dim": 32,
    "expert_dim": 32,
    "n_group": 1,
    "topk_group": 1,
    "zero_expert_num": 1,
    "first_k_dense_replace": 1,
    "num_dense_layers": 1,
    "decoder_sparse_step": 1,
    "interleave_moe_layer_step": 1,
    "moe_layer_freq": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    "routed_scaling_factor": 1.0,
    # state spaces and convolutions
    "state_size": 8,
    "ssm_state_size": 8,
    "conv_kernel": 4,
    "conv_L_cache": 3,
    "n_groups": 1,
    "time_step_rank": 4,
    "time_step_limit": (0.001, 100.0),
    "mamba_d_conv": 4,
    "mamba_d_state": 8,
    "mamba_expand": 2,
    "mamba_num_heads": 2,
    "mamba_n_heads": 2,
    "mamba_d_head": 16,
    "mamba_head_dim": 16,
    "mamba_n_groups": 1,
    "mamba_d_ssm": 32,
    "mamba_proj_bias": False,
    "mamba_conv_bias": True,
    "mamba_chunk_size": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_conv_kernel_dim": 4,
    "short_conv_kernel_size": 4,
    "layer_group_size": 2,
    "group_norm_size": 1,
    # numbers
    "rms_norm_eps": 1e-5,
    "layer_norm_eps": 1e-5,
    "layer_norm_epsilon": 1e-5,
    "layernorm_epsilon": 1e-5,
    "norm_eps": 1e-5,
    "post_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "swa_rope_theta": 10000.0,
    "rope_local_base_freq": 10000.0,
    "partial_rotary_factor": 0.5,
    "rope_scaling": None,
    "rope_parameters": ROPE,
    "attention_multiplier": 0.25,
    # what scales the lookup, the hidden state and the logits: none is neutral, so that none can be forgotten
    "residual_multiplier": 0.8,
    "embedding_multiplier": 1.75,
    "lm_head_multiplier": 0.6,
    "logits_scaling": 1.25,
    "logit_scale": 0.6,
    "scale_emb": 1.75,
    "scale_depth": 1.4,
    "dim_model_base": 20,
    "output_multiplier": 0.7,
    "final_logit_softcapping": 3.0,
    "logits_soft_cap": 3.0,
    "mup_embedding_multiplier": 1.75,
    "mup_width_multiplier": 1.25,
    # choices
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "use_bias": False,
    "use_qkv_bias": False,
    "use_qk_norm": True,
}
"""What a field of this name is given, in every module that has it."""

BLANK: dict[type, Any] = {int: 2, float: 1.0, bool: False, str: "", list: [], dict: {}}
"""What a field that has neither a name of SIZES nor a default is given, by its type; others are missing."""

MORE: dict[str, dict[str, Any]] = {
}
"""What a type needs beside that, or otherwise; None: the field's own default."""


TEXT: dict[str, str] = {}
"""Wrappers of another module's language model, by the module; those with arguments of their own for it are found by these."""

FLAGLESS: dict[str, bool] = {}
"""Whether a module without a flag ties, as its source says."""

BY_WEIGHTS = ("gemma3", "gemma3_text", "recurrent_gemma")
"""``sanitize`` drops the head where the weights have none: such a model is built untied, and tied by its loading."""


def _root(arguments: Any, tied: bool) -> dict[str, Any]:
    return {"input_scale": math.sqrt(arguments.hidden_size)}


@cache
def every() -> tuple[str, ...]:
    """Every module of mlx_lm.models that has a model with arguments, and those that cannot be imported here."""
    names = [module.name for module in pkgutil.iter_modules(mlx_lm.models.__path__)]
    return tuple(name for name in names if isinstance(_module(name), str) or _fields(name))


@cache
def _module(name: str) -> ModuleType | str:
    """The module, or why it cannot be imported."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):  # one of them prints what it misses, and ends the process
            return importlib.import_module(f"mlx_lm.models.{name}")
    except (Exception, SystemExit) as error:
        return said.getvalue().strip() or line(error)


def _fields(name: str) -> dict[str, dataclasses.Field[Any]]:
    found = getattr(_module(name), "ModelArgs", None)
    return {f.name: f for f in dataclasses.fields(found)} if dataclasses.is_dataclass(found) else {}


def _text_fields(name: str) -> dict[str, dataclasses.Field[Any]]:
    """Of the arguments that the language model is built from."""
    if name in TEXT:
        return _fields(TEXT[name])
    for own in ("TextArgs", "TextConfig"):
        found = getattr(_module(name), own, None)
        if found is not None and "text_config" in _fields(name):
            return {f.name: f for f in dataclasses.fields(found)}
    return _fields(name)


def switch_of(name: str) -> str | None:
    """The field that turns the tie on and off."""
    return next((word for word in SWITCHES if word in _text_fields(name)), None)


def _filled(name: str, tied: bool | None) -> dict[str, Any]:
    """A value for every field that has none of its own. Raises NotJudged where a field is of a type that no value is known for."""
    more = {**MORE.get(TEXT.get(name, ""), {}), **MORE.get(name, {})}
    known = {**SIZES, **more}
    switch = switch_of(name)
    if switch is not None and tied is not None:
        known[switch] = tied
    known = {key: value for key, value in known.items() if key not in more or value is not ...}
    known["model_type"] = more.get("model_type", name)
    out: dict[str, Any] = {}
    for key, field in _fields(name).items():
        if key == "text_config":
            out[key] = {**known, **_blanks(_text_fields(name), known, name)}
        elif key in known:
            out[key] = known[key]
    out.update(_blanks(_fields(name), {**known, **out}, name))
    return copy.deepcopy(out)


def _blanks(fields: dict[str, dataclasses.Field[Any]], known: dict[str, Any], name: str) -> dict[str, Any]:
    out = {}
    for key, field in fields.items():
        none = (field.default, field.default_factory) == (dataclasses.MISSING, dataclasses.MISSING)
        if key in known or not none:
            continue
        kind = typing.get_origin(field.type) or field.type
        choices = typing.get_args(field.type)
        if type(None) in choices:
            out[key] = None
        elif kind in BLANK:
            out[key] = BLANK[kind]
        else:
            raise NotJudged(f"mlx-lm:{name} cannot be built tiny: no value is known for its field {key}: {field.type}")
    return out


def _made(name: str, tied: bool | None, seed: int) -> tuple[Any, Any]:
    """A model and the arguments of its language model."""
    module = _module(name)
    assert isinstance(module, ModuleType)
    values = _filled(name, tied)
    mx.random.seed(seed)
    try:
        arguments = module.ModelArgs.from_dict(values)
        model = module.Model(arguments)
        size = sum(leaf.size for _, leaf in tree_flatten(model.parameters()))
        if size > LARGEST:
            raise ValueError(f"a field is large that no tiny value is known for: it has {size} numbers")
        if name in BY_WEIGHTS and tied:
            getattr(model, "language_model", model).sanitize({})
        mx.eval(model.parameters())
    except Exception as error:
        raise NotJudged(f"mlx-lm:{name} cannot be built tiny from its ModelArgs: {line(error)}") from error
    return model, getattr(getattr(model, "language_model", model), "args", arguments)


def tiny(name: str, tied: bool | None, seed: int) -> Built:
    """A tiny random model of that type. LookupError: no such type. NotJudged: it cannot be built so."""
    if name not in every():
        raise LookupError(f"mlx_lm.models has no model {name!r} with arguments")
    module = _module(name)
    if isinstance(module, str):
        raise NotJudged(f"mlx_lm.models.{name} cannot be imported: {module}")
    switch = switch_of(name)
    flag = switch is not None or name in BY_WEIGHTS
    if not flag and tied is not None:
        if name not in FLAGLESS:
            raise NotJudged(f"mlx-lm:{name} has no tie flag, and whether it ties is not known here")
        if tied is not FLAGLESS[name]:
            raise NotJudged(f"mlx-lm:{name} has no tie flag: it {'always' if FLAGLESS[name] else 'never'} ties")
    model, arguments = _made(name, tied, seed)
    if tied is None:
        tied = bool(getattr(arguments, switch)) if switch else FLAGLESS.get(name, False)
    does = tied

    def twin() -> int | None:
        try:
            other, _ = _made(name, not does, seed)
        except NotJudged:
            return None
        return sum(int(leaf.size) for _, leaf in tree_flatten(other.trainable_parameters()))

    declared = Declaration(tied=tied, **declared_of(TEXT.get(name, name), arguments, tied))
    return Built(model, declared, flag, ("tiny and random",), twin=twin if flag else None)


def declared_of(name: str, arguments: Any, tied: bool) -> dict[str, Any]:
    """What an architecture adds on purpose."""
    return SCALES[name](arguments, tied) if name in SCALES else {}


SCALES: dict[str, Callable[[Any, bool], dict[str, Any]]] = {}
