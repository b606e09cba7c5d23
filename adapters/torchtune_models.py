"""torchtune: its model builders in small. Llama 3.2 and both Gemmas are always tied, the others have a switch or no tie."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from tiecheck.conformance.errors import NotJudged

from .torch_library import Builder, Library, adapter_of

FLAG = True
FLAG_NAME = "tie_word_embeddings"
_SMALL = {"vocab_size": 101, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "embed_dim": 32, "max_seq_len": 64}


def _model(
    builder: str, *, only: bool | None = None, sizes: Mapping[str, Any] | None = None, **declared: Any
) -> Builder:
    """A tiny model by its builder; ``only``: the one value of the tie flag that it knows."""

    def build(tied: bool) -> tuple[Any, Mapping[str, Any]]:
        if only is not None and tied is not only:
            raise NotJudged(f"torchtune's {builder} is always {'tied' if only else 'untied'}")
        made = getattr(import_module(f"torchtune.models.{builder}"), builder)
        options = {**_SMALL, "intermediate_dim": 64, **(sizes or {})}
        return made(**options, **({} if only is not None else {"tie_word_embeddings": tied})), declared

    return build


_GEMMA = {"head_dim": 16}

backend, accepts, build, subject_of = adapter_of(
    Library(
        "torchtune",
        "torchtune",
        "torchtune's model builders in small",
        {
            "llama3_2": _model("llama3_2", only=True),
            "qwen2": _model("qwen2"),
            "gemma": _model("gemma", only=True, sizes=_GEMMA, input_scale="sqrt(D)"),
            "gemma2": _model("gemma2", only=True, sizes=_GEMMA, input_scale="sqrt(D)", logit_softcap=30.0),
            "mistral": _model("mistral", only=False),
            "phi3": _model("phi3", only=False),
        },
        tied=("llama3_2", "gemma", "gemma2"),
    )
)
