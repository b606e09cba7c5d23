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
from types import ModuleType, SimpleNamespace
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

MIXED = ["sliding_attention", "full_attention"]
YARN = {
    "rope_theta": 10000.0,
    "rope_type": "yarn",
    "factor": 2.0,
    "original_max_position_embeddings": 64,
    "beta_fast": 32,
}
YARN |= {"beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1, "type": "yarn"}
KDA = {"kda_layers": [1], "full_attn_layers": [2], "num_heads": 2, "head_dim": 16, "short_conv_kernel_size": 4}
MORE: dict[str, dict[str, Any]] = {
    "afm7": {"num_kv_reuse_layers": 1, "num_layers": 3},
    "baichuan_m1": {"sliding_window": 8, "sliding_window_layers": [], "conv_window": 2},
    "cohere2": {"sliding_window_pattern": 2},
    "dbrx": {
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
    },
    "deepseek_v2": {"rope_scaling": YARN, "topk_method": "greedy"},
    "exaone_moe": {"layer_types": MIXED, "is_moe_layer": [False, True]},
    "gear": {"layer_types": MIXED},
    "gemma3_text": {"sliding_window_pattern": 2},
    "gemma3n": {
        "num_hidden_layers": 4,
        "layer_types": [*MIXED, *MIXED],
        "num_kv_shared_layers": 2,
        "vocab_size_per_layer_input": V,
        "hidden_size_per_layer_input": 8,
        "activation_sparsity_pattern": [0.0] * 4,
        "intermediate_size": [64] * 4,
        "altup_num_inputs": 2,
        "altup_active_idx": 0,
        "altup_coef_clip": 120.0,
        "altup_correct_scale": True,
        "laurel_rank": 8,
    },
    "gemma4_text": {
        "num_hidden_layers": 4,
        "layer_types": [*MIXED, *MIXED],
        "num_kv_shared_layers": 2,
        "vocab_size_per_layer_input": V,
        "hidden_size_per_layer_input": 8,
        "global_head_dim": 16,
        "rope_parameters": {"full_attention": ROPE, "sliding_attention": ROPE},
    },
    "gpt_oss": {"layer_types": MIXED},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"], "position_embedding_type": "rope"},
    "hunyuan": {
        "num_experts": 1,
        "moe_topk": 1,
        "num_shared_expert": 1,
        "use_cla": False,
        "cla_share_factor": 1,
        "rope_scaling": {"alpha": 1000.0, "factor": 1.0, "type": "dynamic"},
    },
    "jamba": {"layers_block_type": ["mamba", "attention"], "expert_layer_offset": 1},
    "kimi_k3": {
        "hidden_act": "situ",
        "linear_attn_config": {**KDA, "gate_lower_bound": -5.0, "gate_low_rank_dim": 8},
        "attn_res_block_size": 2,
        "num_key_value_heads": 2,
    },
    "kimi_linear": {"linear_attn_config": KDA},
    "lfm2": {"layer_types": ["conv", "full_attention"], "full_attn_idxs": [1], "conv_bias": False},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "full_attn_idxs": [1], "conv_bias": False},
    "lille-130m": {"n_embd": 64},
    "llama4": {"num_experts_per_tok": 1, "num_hidden_layers": 4},
    "llama4_text": {"no_rope_layers": [1, 0]},
    "longcat_flash": {"mla_scale_q_lora": True, "mla_scale_kv_lora": True, "zero_expert_type": "identity"},
    "longcat_flash_ngram": {"mla_scale_q_lora": True, "mla_scale_kv_lora": True},
    "mellum": {"layer_types": MIXED, "rope_parameters": {"full_attention": ROPE, "sliding_attention": ROPE}},
    "mimo_v2_flash": {
        "moe_layer_freq": [0, 1],
        "hybrid_layer_pattern": [0, 1],
        "swa_head_dim": 16,
        "swa_v_head_dim": 16,
        "partial_rotary_factor": 0.5,
    },
    "minicpm3": {
        "rope_scaling": {"original_max_position_embeddings": 64, "short_factor": [1.0] * 4, "long_factor": [1.0] * 4},
    },
    "minimax_m3_vl": {"moe_layer_freq": [0, 1], "layer_types": FULL, "rotary_dim": 8},
    "ministral3": {"rope_parameters": YARN},
    "mistral4": {"rope_parameters": YARN},
    "muse_spark": {
        "mlp_layer_types": ["sparse", "sparse"],
        "num_shared_experts": 0,
        "layer_types": MIXED,
        "layer_rope_theta": [10000.0, 0.0],
    },
    "nemotron-nas": {
        "block_configs": [{"attention": {"n_heads_in_group": 1}, "ffn": {"ffn_mult": 1.0}} for _ in range(2)],
    },
    "nemotron_h": {"hybrid_override_pattern": ["M", "*", "-", "E"], "num_hidden_layers": 4},
    "olmo3": {"layer_types": MIXED},
    "openelm": {"num_query_heads": [2, 2], "num_kv_heads": [2, 2], "ffn_multipliers": [1.0, 2.0], "ffn_dim_divisor": 8},
    "plamo": {"n_shared_head": 2},
    "qwen3_5": {"full_attention_interval": 2},
    "qwen3_5_moe": {"full_attention_interval": 2},
    "qwen3_next": {"full_attention_interval": 2},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"], "conv1d_width": 4},
    "spark2_5": {
        "hidden_act": "gelu",
        "layer_types": MIXED,
        "rope_parameters": {"full_attention": ROPE, "sliding_attention": ROPE},
    },
    "step3p5": {"num_attention_groups": 2, "moe_top_k": 2, "layer_types": FULL, "moe_layers_enum": "1"},
}
"""What a type needs beside that, or otherwise."""


TEXT = {
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
    "lfm2-vl": "lfm2",
    "mistral3": "llama",
    "pixtral": "llama",
    "prism_hadamard_qwen35": "qwen3_5",
    "qwen2_vl": "qwen2",
    "qwen3_vl": "qwen3",
    "qwen3_vl_moe": "qwen3_moe",
    "qwen3_5_moe": "qwen3_5",
}
"""Wrappers of another module's language model, by the module; those with arguments of their own for it are found by these."""

ALWAYS = ("afm7", "cohere", "cohere2", "gemma", "gemma2", "gemma3n", "gpt2", "lfm2", "lfm2-vl", "lfm2_moe")
"""Modules that take no flag, and call ``as_linear`` of their embedding whatever their config says."""

NEVER = (
    *("Klear", "dbrx", "deepseek", "deepseek_v2", "deepseek_v3", "deepseek_v32", "deepseek_v41", "glm4", "glm_moe_dsa"),
    *("gpt_neox", "gpt_oss", "gptj", "kimi_k25", "kimi_vl", "llama4", "longcat_flash", "longcat_flash_ngram"),
    *("mimo_v2_flash", "muse_spark", "nanochat", "nemotron_h", "phi", "phimoe", "phixtral", "pixtral", "plamo", "qwen"),
    *("stablelm", "talkie"),
)
"""Modules that take no flag (pixtral sets it to False whatever it is given), and always build a head of their own."""

REFUSED = {
    "phi3small": "it writes -inf to columns 100256 to 100351 of its logits, which past the end of a tiny vocabulary is memory "
    "of something else",
}
"""Modules that can be built and must not be run."""

UNDIFFERENTIABLE = ("deepseek_v41",)
"""``nn.value_and_grad`` raises: the experts' ``gather_axis`` is differentiated with respect to its indices."""

BY_WEIGHTS = ("gemma3", "gemma3_text", "recurrent_gemma")
"""``sanitize`` drops the head where the weights have none: such a model is built untied, and tied by its loading."""


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
        return _text_fields(TEXT[name])
    for own in ("TextModelArgs", "TextArgs", "TextConfig"):
        found = getattr(_module(name), own, None)
        if found is not None and "text_config" in _fields(name):
            return {f.name: f for f in dataclasses.fields(found)}
    return _fields(name)


def switch_of(name: str) -> str | None:
    """The field that turns the tie on and off."""
    if name in (*ALWAYS, *NEVER):
        return None
    return next((word for word in SWITCHES if word in _text_fields(name)), None)


def _filled(name: str, tied: bool | None) -> dict[str, Any]:
    """A value for every field that has none of its own. Raises NotJudged where a field is of a type that no value is known for."""
    more = {**MORE.get(TEXT.get(name, ""), {}), **MORE.get(name, {})}
    known = {**SIZES, **more}
    switch = switch_of(name)
    if switch is not None and tied is not None:
        known[switch] = tied
    known["model_type"] = more.get("model_type", name)
    out: dict[str, Any] = {}
    for key in _fields(name):
        if key == "text_config":
            out[key] = {**known, **_blanks(_text_fields(name), known, name)}
        elif key in known:
            out[key] = known[key]
    out.update(_blanks(_fields(name), {**known, **out}, name))
    return copy.deepcopy(out)


def _blanks(fields: dict[str, dataclasses.Field[Any]], known: dict[str, Any], name: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
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
        model.eval().trainable_parameters()
    except Exception as error:
        raise NotJudged(f"mlx-lm:{name} cannot be built tiny from its ModelArgs: {line(error)}") from error
    own = getattr(arguments, "text_config", None)
    if isinstance(own, dict):
        own = SimpleNamespace(**{**vars(arguments), **own})
        return model, getattr(getattr(model, "language_model", None), "args", own)
    return model, own or arguments


def tiny(name: str, tied: bool | None, seed: int) -> Built:
    """A tiny random model of that type. LookupError: no such type. NotJudged: it cannot be built so."""
    if name not in every():
        raise LookupError(f"mlx_lm.models has no model {name!r} with arguments")
    module = _module(name)
    if isinstance(module, str):
        raise NotJudged(f"mlx_lm.models.{name} cannot be imported: {module}")
    if name in REFUSED:
        raise NotJudged(f"mlx-lm:{name} cannot be judged tiny: {REFUSED[name]}")
    switch = switch_of(name)
    flag = switch is not None or name in BY_WEIGHTS
    if not flag and name not in (*ALWAYS, *NEVER):
        raise NotJudged(f"mlx-lm:{name} has no tie flag, and whether it ties is not known here")
    if not flag and tied not in (None, name in ALWAYS):
        raise NotJudged(f"mlx-lm:{name} has no tie flag: it {'always' if name in ALWAYS else 'never'} ties")
    model, arguments = _made(name, tied, seed)
    if tied is None:
        tied = bool(getattr(arguments, switch)) if switch else name in ALWAYS
    does = tied

    def twin() -> int | None:
        try:
            other, _ = _made(name, not does, seed)
        except NotJudged:
            return None
        return sum(int(leaf.size) for _, leaf in tree_flatten(other.trainable_parameters()))

    declared = Declaration(tied=tied, **declared_of(name, arguments, tied))
    extra = {"differentiable": name not in UNDIFFERENTIABLE}
    return Built(model, declared, True, ("tiny and random",), twin=twin if flag else None, extra=extra)


def declared_of(name: str, arguments: Any, tied: bool) -> dict[str, Any]:
    """What an architecture adds on purpose."""
    own = SCALES.get(name) or SCALES.get(TEXT.get(name, ""))
    return own(arguments, tied) if own else {}


def _root(a: Any) -> float:
    return math.sqrt(a.hidden_size)


SCALES: dict[str, Callable[[Any, bool], dict[str, Any]]] = {
    # if self.mup_enabled: h = h * math.sqrt(self.hidden_size)
    "afmoe": lambda a, tied: {"input_scale": _root(a) if a.mup_enabled else 1.0},
    # out = out * self.model.args.logit_scale
    "cohere": lambda a, tied: {"output_scale": a.logit_scale},
    "cohere2": lambda a, tied: {"output_scale": a.logit_scale},
    # tied: out * (lm_head_multiplier / embedding_multiplier), for the table holds the one that sanitize folded in
    "falcon_h1": lambda a, tied: {"output_scale": a.lm_head_multiplier / a.embedding_multiplier if tied else 1.0},
    # h = self.embed_tokens(inputs) * self.embed_scale; out = mx.tanh(out / cap) * cap
    "gear": lambda a, tied: {"input_scale": _root(a), "logit_softcap": a.final_logit_softcapping},
    # h = h * (self.args.hidden_size**0.5)
    "gemma": lambda a, tied: {"input_scale": _root(a)},
    # the same; out = mx.tanh(out / self.final_logit_softcapping) * self.final_logit_softcapping
    "gemma2": lambda a, tied: {"input_scale": _root(a), "logit_softcap": a.final_logit_softcapping},
    # h *= mx.array(self.args.hidden_size**0.5, mx.bfloat16): sqrt(D), rounded
    "gemma3_text": lambda a, tied: {"input_scale": float(mx.array(_root(a), mx.bfloat16).item())},
    # h = self.embed_tokens(inputs) * (self.hidden_size**0.5); logit_softcap(self.final_logit_softcapping, out)
    "gemma3n": lambda a, tied: {"input_scale": _root(a), "logit_softcap": a.final_logit_softcapping},
    # self.embed_scale = config.hidden_size**0.5; logit_softcap(self.final_logit_softcapping, out)
    "gemma4_text": lambda a, tied: {"input_scale": _root(a), "logit_softcap": a.final_logit_softcapping},
    # self.lm_head = nn.Linear(args.n_embd, args.vocab_size, bias=True)
    "gptj": lambda a, tied: {"output_bias": True},
    # self.embed_tokens(inputs) * self.embedding_multiplier; out / self.logits_scaling
    **dict.fromkeys(
        ("granite", "granitemoe", "granitemoehybrid"),
        lambda a, tied: {"input_scale": a.embedding_multiplier, "output_scale": 1 / a.logits_scaling},
    ),
    # self.embed_tokens(inputs) * scale_emb; untied alone: self.lm_head(out / (hidden_size / dim_model_base))
    **dict.fromkeys(
        ("minicpm", "minicpm3"),
        lambda a, tied: {
            "input_scale": a.scale_emb,
            "output_scale": 1.0 if tied else a.dim_model_base / a.hidden_size,
        },
    ),
    # out = out * self.args.output_multiplier; mx.tanh(out / cap) * cap
    "muse_glimmer": lambda a, tied: {
        "output_scale": a.output_multiplier,
        "logit_softcap": a.final_logit_softcapping,
    },
    # the same, of self.args.text
    "muse_spark": lambda a, tied: {
        "output_scale": a.text.output_multiplier,
        "logit_softcap": a.text.final_logit_softcapping,
    },
    # def softcap(logits, cap=15.0)
    "nanochat": lambda a, tied: {"logit_softcap": 15.0},
    # self.lm_head = nn.Linear(..., bias=True); phixtral: OutputHead.linear
    **dict.fromkeys(("phi", "phimoe", "phixtral"), lambda a, tied: {"output_bias": True}),
    # if self.scale_by_sqrt_dim: x = x * math.sqrt(x.shape[-1]); logits = mx.tanh(logits / c) * c
    "recurrent_gemma": lambda a, tied: {
        "input_scale": _root(a) if a.embeddings_scale_by_sqrt_dim else 1.0,
        "logit_softcap": a.logits_soft_cap,
    },
}
"""By module, with what its source says."""
