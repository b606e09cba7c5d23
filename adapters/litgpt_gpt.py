"""litgpt: ``GPT.from_name`` in small. It has no tie switch; tied is what ``litgpt pretrain --train.tie_embeddings`` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .torch_library import Builder, Library, adapter_of

FLAG = True


def _gpt(name: str, **sizes: Any) -> Builder:
    """A tiny model of that name; what it adds to the plain tie is read off its own config."""

    def build(tied: bool) -> tuple[Any, Mapping[str, Any]]:
        from litgpt import GPT, Config

        small = {"block_size": 64, "vocab_size": 101, "padded_vocab_size": 101, "n_layer": 2, "n_head": 2, "n_embd": 32}
        config = Config.from_name(name, **{**small, **sizes})
        model = GPT(config)
        model.apply(model._init_weights)
        if tied:
            model.transformer.wte.weight = model.lm_head.weight
        return model, {
            "input_scale": "sqrt(D)" if config.scale_embeddings else 1.0,
            "logit_softcap": config.final_logit_softcapping,
            "output_bias": config.lm_head_bias,
        }

    return build


_GROUPED = {"n_query_groups": 1, "head_size": 16, "intermediate_size": 64}

backend, accepts, build, subject_of = adapter_of(
    Library(
        "litgpt",
        "litgpt",
        "GPT.from_name in small, tied as litgpt's pretraining does",
        {
            "pythia-14m": _gpt("pythia-14m", intermediate_size=64),
            "phi-2": _gpt("phi-2", intermediate_size=64),
            "Llama-3.2-1B": _gpt("Llama-3.2-1B", **_GROUPED),
            "Qwen2.5-0.5B": _gpt("Qwen2.5-0.5B", **_GROUPED),
            "OLMo-2-1124-7B": _gpt("OLMo-2-1124-7B", **_GROUPED),
            "Gemma-2b": _gpt("Gemma-2b", **_GROUPED),
            "Gemma-2-2b": _gpt("Gemma-2-2b", **_GROUPED),
        },
    )
)
