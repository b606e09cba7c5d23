"""Tiny causal language models of KerasHub, of every architecture that is built over a `ReversibleEmbedding`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tiecheck.conformance.declaration import Declaration
from tiecheck.conformance.errors import NotJudged
from tiecheck.conformance.protocol import Built, unknown

V, D, T = 61, 16, 64


@dataclass(frozen=True)
class Architecture:
    """A KerasHub architecture: the prefix of its classes, a tiny config, and what it does beside the tie.

    Attributes:
        prefix: of ``PREFIXBackbone`` and ``PREFIXCausalLM``.
        config: arguments of the Backbone.
        tied: where it has no switch, what it always is; None where ``tie_word_embeddings`` decides.
        declared: fields of the declaration beside ``tied``.
        then: what is done to the model before it is judged.
    """

    prefix: str
    config: Mapping[str, Any]
    tied: bool | None = None
    declared: Mapping[str, Any] = field(default_factory=dict)
    then: Callable[[Any], Any] = field(default=lambda model: model, repr=False)


def _cloned(model: Any) -> Any:
    import keras

    return keras.models.clone_model(model)


_DEEP = {"num_layers": 2, "hidden_dim": D, "intermediate_dim": 2 * D}
_HEADS = {**_DEEP, "num_heads": 2}
_GROUPED = {**_DEEP, "num_query_heads": 2, "num_key_value_heads": 1}
_EXPERTS = {**_GROUPED, "num_experts": 4, "top_k": 2}
_GEMMA = {**_GROUPED, "head_dim": 8}
# GemmaBackbone multiplies what was looked up by sqrt(hidden_dim), and its ReversibleEmbedding caps the logits.
_SCALED = {"input_scale": "sqrt(D)"}
MODELS: Mapping[str, Architecture] = {
    "gpt2": Architecture("GPT2", {**_HEADS, "max_sequence_length": T}, tied=True),
    "gemma": Architecture("Gemma", _GEMMA, tied=True, declared=_SCALED),
    "gemma2": Architecture(
        "Gemma",
        {
            **_GEMMA,
            "query_head_dim_normalize": False,
            "use_post_ffw_norm": True,
            "use_post_attention_norm": True,
            "attention_logit_soft_cap": 50.0,
            "final_logit_soft_cap": 30.0,
            "use_sliding_window_attention": True,
            "sliding_window_size": 8,
        },
        tied=True,
        declared={**_SCALED, "logit_softcap": 30.0},
    ),
    "gemma3": Architecture("Gemma3", {**_GEMMA, "image_size": 16}, tied=True, declared=_SCALED),
    "llama": Architecture("Llama", _GROUPED),
    "llama3": Architecture("Llama3", _GROUPED),
    "qwen": Architecture("Qwen", _GROUPED),
    "qwen-bfloat16": Architecture("Qwen", {**_GROUPED, "dtype": "bfloat16"}),
    "qwen-cloned": Architecture("Qwen", _GROUPED, then=_cloned),
    "qwen-moe": Architecture("QwenMoe", {**_EXPERTS, "moe_intermediate_dim": D, "shared_expert_intermediate_dim": D}),
    "qwen3": Architecture("Qwen3", {**_GROUPED, "head_dim": 8}),
    "qwen3-moe": Architecture("Qwen3Moe", {**_EXPERTS, "head_dim": 8, "moe_intermediate_dim": D}),
    "bloom": Architecture("Bloom", _HEADS, tied=True),
    "falcon": Architecture("Falcon", {**_DEEP, "num_attention_heads": 2}, tied=True),
    "gpt-neo-x": Architecture("GPTNeoX", {**_HEADS, "rotary_percentage": 0.5, "max_sequence_length": T}, tied=True),
    "opt": Architecture("OPT", {**_HEADS, "max_sequence_length": T}, tied=True),
    "mistral": Architecture("Mistral", _GROUPED, tied=False),
    "mixtral": Architecture("Mixtral", _EXPERTS, tied=False),
    "phi3": Architecture("Phi3", {**_GROUPED, "max_sequence_length": T, "pretraining_sequence_length": T}, tied=False),
}


def tiny(name: str, tied: bool | None, seed: int) -> Built:
    """See ``build`` of the adapter."""
    found = MODELS.get(name)
    if found is None:
        raise unknown("keras-hub", name, MODELS)
    if found.tied is not None and tied not in (None, found.tied):
        always = "always ties" if found.tied else "never ties"
        raise NotJudged(f"{found.prefix}Backbone {always}: it has no tie_word_embeddings to ask for the other")
    import keras_hub

    from ..keras_hub_models import drawn

    does = found.tied is not False if tied is None else tied
    classes = [getattr(keras_hub.models, found.prefix + suffix) for suffix in ("Backbone", "CausalLM")]

    def make(tied: bool) -> Any:
        switch = {"tie_word_embeddings": tied} if found.tied is None else {}
        backbone = classes[0](vocabulary_size=V, **found.config, **switch)
        return found.then(classes[1](backbone=backbone, preprocessor=None))

    def twin() -> int:
        return sum(int(np.prod(weight.shape)) for weight in make(not does).trainable_weights)

    model = drawn(lambda: make(does), seed)
    declared = Declaration(tied=does, **found.declared)
    return Built(model, declared, True, ("tiny and random",), twin=twin if found.tied is None else None)
