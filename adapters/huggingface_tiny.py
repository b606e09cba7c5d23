"""The language models of transformers by type, and a tiny legal config of each: every size lowered by its name."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tiecheck.conformance.errors import NotJudged

FLAG = "tie_word_embeddings"

# Sizes of the tiny configs by the name of the config field: the first pattern that matches the whole name; a size is
# only ever lowered. V = 101 is prime and no width, so that no product of other sizes is taken for a vocabulary.
VOCABULARY = 101
SIZES: tuple[tuple[str, int], ...] = (
    (r"type_vocab_size|segment_types|prompt_types|task_type_vocab_size", 2),
    (r"\w*vocab_size|vocab_size_\w+", VOCABULARY),
    (r"hidden_size|hidden_size_global|hidden_dim|d_model|dim_model|n_embd|emb_dim|embedding_dim|\w*embedding_size", 32),
    (r"\w+_embed_dim|word_embed_proj_dim|lru_width|out_hidden_size|backbone_hidden_size|encoder_hidden_size", 32),
    (r"input_size|output_dim|vision_output_dim|cross_attention_hidden_size", 32),
    (r"router_hidden_size|downsample_hidden_size|audio_hidden_size", 16),
    (r"hidden_size_per_layer_input", 8),
    (r"\w*intermediate_size\w*|\w*ffn_dim|\w*ffn_hidden_size|feed_forward_size|d_ff|dff|dim_ff|d_inner|mlp_dim", 64),
    (r"num_hidden_layers|num_layers|n_layers?|encoder_layers|decoder_layers|num_(en|de)coder_layers|depth", 2),
    (r"\w+_num_hidden_layers|num_global_layers|num_layers_per_stack|t2u_\w+_layers|speech_encoder_layers", 2),
    (r"\w*num_key_value_heads|num_kv_heads|kv_n_heads|num_query_groups", 2),
    (r"\w*attention_heads|n_heads?|\w*num_heads|\w+_n_heads|linear_num_\w+_heads", 4),
    (r"\w*head_dim|d_kv|d_head|dim_head|rotary_dim|kv_channels|attention_head_size|query_pre_attn_scalar", 8),
    (r"\w+_lora_rank", 16),
    (r"num_experts|n_routed_experts|num_local_experts|moe_num_experts", 4),
    (r"num_experts_per_tok(en)?|moe_topk|moe_top_k|moe_k|top_k_experts", 2),
    (r"n_group|num_expert_group|topk_group", 1),
    (r"\w*max_\w*position\w*|n_positions|n_ctx|max_seq_len|context_length|model_max_length", 128),
    (r"mamba_d_state|state_size|ssm_state_size", 8),
    (r"\w*chunk_size", 16),
)

_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}

# Where the sizes above are not enough to make a legal, small, deterministic model: config fields, nested ones too.
TINY: dict[str, dict[str, Any]] = {
    "big_bird": {"attention_type": "original_full"},  # block-sparse attention draws its blocks at random
    "bigbird_pegasus": {"attention_type": "original_full"},
    "blt": {"encoder_hash_byte_group_vocab": 64},
    "cohere_compass_text": {"rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE}},
    "cpmant": {"prompt_types": 4, "prompt_length": 4, "segment_types": 4},  # prompt 2 and segment 2 are hard-coded
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "clip_qkv": 8.0}},  # read by the class, without a usable default
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "dots3_note_text": {
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 4,
        "swa_q_lora_rank": 16,
        "swa_kv_lora_rank": 16,
        "swa_head_dim": 16,
        "swa_qk_nope_head_dim": 8,
        "swa_v_head_dim": 8,
    },
    "electra": {"embedding_size": 24},  # a table narrower than the network, as in the published models
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "got_ocr2": {"vision_config": {"output_channels": 16}},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "led": {"attention_window": 8},
    "inkling2_loop_text": {"unpadded_vocab_size": 97},
    "inkling2_text": {"unpadded_vocab_size": 97},
    "inkling_text": {"unpadded_vocab_size": 97},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv"], "num_hidden_layers": 3},
    "longcat_flash": {"zero_expert_num": 2, "expert_ffn_hidden_size": 64},
    "mamba2": {"head_dim": 16, "n_groups": 2},
    "ministral": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 2},
    "nemotron_h": {"mamba_head_dim": 16, "n_groups": 2},
    "phi4_multimodal": {
        "audio_config": {
            "num_blocks": 2,
            "nemo_conv_channels": 16,
            "ext_pw_out_channel": 16,
            "depthwise_separable_out_channel": 16,
        }
    },
    "qwen4_exp_text": {
        "hc_lowrank": 16,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 16,
        "indexer_compress_ratio": 4,
    },
    "reformer": {
        "is_decoder": True,
        "attn_layers": ["local", "lsh"],
        "num_hidden_layers": 2,
        "axial_pos_embds": False,  # axial positions allow one length only in train mode
        "hash_seed": 0,
        "hidden_dropout_prob": 0.0,  # its backward asserts train mode
        "local_attention_probs_dropout_prob": 0.0,
        "lsh_attention_probs_dropout_prob": 0.0,
    },
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["linear_attention", "hybrid", "hybrid"], "num_hidden_layers": 3},
}


class FlagRejected(NotJudged):
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
    sizes = small_sizes(config_class, tied)
    fields = {field.name: field.default for field in dataclasses.fields(config_class)}
    if fields.get("is_decoder") is False and not fields.get("is_encoder_decoder"):
        sizes.setdefault("is_decoder", True)  # or BERT and its kin look at the tokens to come, and warn of it
    try:
        config = config_class(**sizes)
    except Exception as error:
        if tied is not None and FLAG in str(error):
            raise FlagRejected(f"{model_type} refuses {FLAG}={tied}: {sentence(error)}") from error
        raise
    set_flag(config, tied, model_type)
    return config


def model_class(model_type: str) -> Any:
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


def known_types() -> frozenset[str]:
    from transformers.models.auto import modeling_auto as auto

    names = (auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)
    return frozenset(name for mapping in names for name in mapping)


def _config_class(model_type: str) -> Any:
    """The config class to shrink: the text config where the model class takes nothing else, as AutoModel does."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    own = CONFIG_MAPPING[model_type]
    obeyed = model_class(model_type).config_class
    if obeyed is own or issubclass(own, obeyed):
        return own
    return obeyed if obeyed in [type(inner) for inner in nested(own()).values()] else own


def nested(config: Any) -> dict[str, Any]:
    """The configs inside a composite one, by name."""
    inner = {name: getattr(config, name, None) for name in getattr(config, "sub_configs", {})}
    return {name: config for name, config in inner.items() if config is not None}


def small_sizes(config_class: Any, tied: bool | None) -> dict[str, Any]:
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
    for name, inner in nested(default).items():
        kind = {"model_type": inner.model_type} if inner.model_type else {}
        sizes[name] = kind | small_sizes(type(inner), tied)
    if tied is not None and FLAG in fields:
        sizes[FLAG] = tied
    return _merged(sizes, TINY.get(config_class.model_type, {}))


def _merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in more.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = _merged(out[key], value) if both else copy.deepcopy(value)
    return out


def levels(config: Any) -> Iterator[Any]:
    yield config
    for inner in nested(config).values():
        yield from levels(inner)


def set_flag(config: Any, tied: bool | None, name: str) -> None:
    """Sets the flag after construction too: the T5 family takes it for a scale there, and keeps True."""
    if tied is None:
        return
    flagged = [level for level in levels(config) if hasattr(level, FLAG)]
    if not flagged and tied:
        raise FlagRejected(f"the config of {name} has no {FLAG}, so that the model cannot be asked to tie")
    for level in flagged:
        setattr(level, FLAG, tied)
    if flagged:
        # modeling_utils.py, get_expanded_tied_weights_keys: the flag is read off the config of the class itself
        setattr(config, FLAG, tied)


def sentence(error: BaseException) -> str:
    """The first sentence of an error of transformers, which may run over many lines; a validator's is on its last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0].split(". ")[0] if lines else type(error).__name__
    return (lines[-1] if first.endswith(":") else first).removeprefix("ValueError: ").removesuffix(".")
