"""Tiny models of mlx_lm.models, built from the fields of each module's own ``ModelArgs``."""

from __future__ import annotations

import dataclasses
import importlib
import math
import pkgutil
from typing import Any

import mlx.core as mx
import mlx_lm.models
from tiecheck.conformance.declaration import Declaration
from tiecheck.conformance.errors import NotJudged, line
from tiecheck.conformance.protocol import Built

SWITCH = "tie_word_embeddings"
V = 61
SIZES: dict[str, Any] = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-5,
    "layer_norm_eps": 1e-5,
    "layer_norm_epsilon": 1e-5,
    "norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 128,
    "n_ctx": 128,
    "n_positions": 128,
    "n_embd": 32,
    "n_head": 2,
    "n_layer": 2,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "attention_bias": False,
    "mlp_bias": False,
    "num_layers": 2,
    "ffn_hidden_size": 64,
    "rope_scaling": None,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "tie_word_embeddings": True,
    "use_qkv_bias": False,
    "use_bias": False,
    "n_inner": None,
    "attention_dropout": 0.0,
    "residual_multiplier": 1.0,
    "embedding_multiplier": 1.0,
    "attention_multiplier": 0.25,
    "logits_scaling": 1.0,
    "scale_emb": 1.0,
    "scale_depth": 1.0,
    "dim_model_base": 32,
    "conv_bias": True,
    "layer_types": ["full_attention", "full_attention"],
    "sliding_window": 64,
    "decoder_sparse_step": 1,
    "norm_topk_prob": True,
    "mlp_only_layers": [],
    "use_qk_norm": False,
    "first_k_dense_replace": 0,
}

MORE: dict[str, dict[str, Any]] = {
    "baichuan_m1": {"sliding_window": 8, "sliding_window_layers": [], "conv_window": 2},
    "glm4_moe": {
        "n_group": 1,
        "topk_group": 1,
        "n_shared_experts": 1,
        "routed_scaling_factor": 1.0,
        "first_k_dense_replace": 1,
        "use_qk_norm": False,
        "partial_rotary_factor": 0.5,
    },
    "hunyuan": {
        "moe_topk": 1,
        "num_experts": 1,
        "num_shared_expert": 1,
        "use_mixed_mlp_moe": False,
        "use_qk_norm": True,
        "use_cla": False,
        "cla_share_factor": 1,
        "rope_scaling": {"alpha": 1000.0, "factor": 1.0, "type": "dynamic"},
    },
    "step3p5": {
        "num_attention_groups": 2,
        "moe_num_experts": 2,
        "moe_top_k": 1,
        "share_expert_dim": 16,
        "layer_types": ["full_attention", "full_attention"],
        "moe_layers_enum": "5",
    },
}
"""What a type needs beside that, or otherwise."""


def switched() -> list[str]:
    """Every module whose ModelArgs takes the flag."""
    names = [module.name for module in pkgutil.iter_modules(mlx_lm.models.__path__)]
    return [name for name in names if SWITCH in _fields(name)]


def _fields(name: str) -> dict[str, Any]:
    try:
        module = importlib.import_module(f"mlx_lm.models.{name}")
    except (Exception, SystemExit):  # one of them ends the process where its own package is missing
        return {}
    found = getattr(module, "ModelArgs", None)
    return (
        {f.name: f for f in dataclasses.fields(found)} if found is not None and dataclasses.is_dataclass(found) else {}
    )


def tiny(name: str, tied: bool | None, seed: int) -> Built:
    """A tiny random model of that type. LookupError: no such type. NotJudged: it cannot be built so."""
    fields = _fields(name)
    if not fields:
        raise LookupError(f"mlx_lm.models has no model {name!r} with arguments")
    flag = SWITCH in fields
    if not flag and tied is False:
        raise NotJudged(f"mlx-lm:{name} has no tie flag: it always ties, or never does")
    module = importlib.import_module(f"mlx_lm.models.{name}")
    values = {key: value for key, value in SIZES.items() if key in fields} | {"model_type": name, **MORE.get(name, {})}
    if flag and tied is not None:
        values[SWITCH] = tied
    elif flag:
        values.pop(SWITCH)
    mx.random.seed(seed)
    try:
        arguments = module.ModelArgs.from_dict(values)
        model = module.Model(arguments)
        mx.eval(model.parameters())
    except Exception as error:
        raise NotJudged(f"mlx-lm:{name} cannot be built tiny from its ModelArgs: {line(error)}") from error
    wanted = bool(getattr(arguments, SWITCH, True))
    declared = Declaration(tied=wanted, **declared_of(name, arguments))
    return Built(model, declared, flag=flag, notes=("tiny and random",), untrained=False)


def declared_of(name: str, arguments: Any) -> dict[str, Any]:
    """What an architecture adds on purpose, from its own arguments or, where its class hard-codes it, by its name."""
    out: dict[str, Any] = {}
    if name in ("gemma", "gemma2", "gemma3_text"):  # gemma.py, gemma2.py: h = h * sqrt(hidden_size)
        out["input_scale"] = math.sqrt(arguments.hidden_size)
    for key in ("embedding_multiplier", "scale_emb"):  # granite.py, minicpm.py
        if getattr(arguments, key, 1.0) != 1.0:
            out["input_scale"] = float(getattr(arguments, key))
    for key in ("final_logit_softcapping",):  # gemma2.py
        if getattr(arguments, key, None):
            out["logit_softcap"] = float(getattr(arguments, key))
    if getattr(arguments, "logits_scaling", 1.0) != 1.0:  # granite.py: out / logits_scaling
        out["output_scale"] = 1.0 / float(arguments.logits_scaling)
    if getattr(arguments, "logit_scale", 1.0) not in (None, 1.0):  # cohere.py: out * logit_scale
        out["output_scale"] = float(arguments.logit_scale)
    return out
