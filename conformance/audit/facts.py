"""What loaders make of a checkpoint: a table of facts, each with its source, and the defaults of transformers."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, TypeAlias

from . import installed

State: TypeAlias = Literal["embedding only", "head only", "one table", "equal", "nearly", "different", "unknown"]
Outcome: TypeAlias = Literal["tied", "untied", "refuses", "broken", "not known"]

TRANSFORMERS = "transformers 5.24, modeling_utils.py: PreTrainedModel.tie_weights"
VLLM_OLD = "vllm-project/vllm pull request 6758: AutoWeightsLoader skips lm_head where tie_word_embeddings"
VLLM_NEW = "vllm-project/vllm pull request 51665: the head is kept where it differs, and tied where there is none"
LLAMA_CPP = (
    "llama.cpp, src/llama-model.cpp: output.weight is TENSOR_NOT_REQUIRED, else token_embd.weight (TENSOR_DUPLICATED)"
)
MLX = "mlx-lm 0.32, models/llama.py: sanitize drops lm_head.weight where tie_word_embeddings; utils.py: load_weights(strict=True)"

# mlx-lm 0.32.2, `tie_word_embeddings: bool = …` of ModelArgs in models/TYPE.py. A type that is in neither has no default.
MLX_TIED = frozenset(
    [
        "bitnet",
        "exaone",
        "falcon_h1",
        "gear",
        "gemma4_text",
        "glm",
        "gpt_bigcode",
        "granite",
        "granitemoe",
        "granitemoehybrid",
        "jamba",
        "lille-130m",
        "llama",
        "mamba",
        "ministral3",
        "olmo2",
        "olmoe",
        "plamo2",
        "plamo3",
        "qwen2",
        "seed_oss",
        "spark2_5",
        "starcoder2",
        "youtu_llm",
    ]
)
MLX_UNTIED = frozenset(
    [
        "afmoe",
        "baichuan_m1",
        "bailing_hybrid",
        "bailing_moe",
        "bailing_moe_linear",
        "bailing_moe_v3",
        "dots1",
        "exaone_moe",
        "glm4_moe_lite",
        "hunyuan",
        "hunyuan_v1_dense",
        "internlm2",
        "internlm3",
        "iquestloopcoder",
        "kimi_k3",
        "kimi_linear",
        "laguna",
        "mimo",
        "minicpm",
        "minicpm3",
        "minimax",
        "minimax_m3_vl",
        "mistral4",
        "mixtral",
        "muse_glimmer",
        "nanbeige",
        "nemotron-nas",
        "nemotron",
        "olmo3",
        "phi3",
        "qwen2_moe",
        "qwen3_5",
        "qwen3_next",
        "rwkv7",
        "step3p5",
        "telechat3",
    ]
)


@dataclass(frozen=True)
class Loader:
    """What one loader makes of a checkpoint."""

    name: str
    outcome: Outcome
    says: str
    source: str


@functools.cache
def shipped() -> Mapping[str, Any]:
    """What was read off a version of transformers: its defaults by type, and what each class ties."""
    text = files(__package__ or "").joinpath("transformers.json").read_text(encoding="utf-8")
    table: Mapping[str, Any] = json.loads(text)
    return table


def default(model_type: str, nested: Mapping[str, Any]) -> tuple[bool | None, str]:
    """What a missing flag means for a type, and who says so: the installed transformers, else the shipped table."""
    if not model_type:
        return None, ""
    here = installed.version()
    if here is not None and (here != shipped()["transformers"] or nested):
        value = installed.default(model_type, nested)
        if value is not None:
            return value, f"transformers {here}, installed"
    value = shipped()["defaults"].get(model_type)
    match = f"transformers {here}, installed" if here == shipped()["transformers"] else _from_table()
    return value, match


def ties(architecture: str) -> tuple[Mapping[str, str] | None, str]:
    """Which names a class ties where the flag is on (None: no such class is known), and who says so."""
    here = installed.version()
    known: Mapping[str, str] | None = shipped()["classes"].get(architecture)
    if known is not None and here == shipped()["transformers"]:
        return known, f"transformers {here}, installed"
    if here is not None and here != shipped()["transformers"]:
        asked = installed.ties(architecture)
        if asked is not None:
            return asked, f"transformers {here}, installed"
    return known, _from_table()


def _from_table() -> str:
    return f"transformers {shipped()['transformers']}, from the table of facts that comes with tiecheck"


def loaders(
    state: State, tied: bool | None, acts: bool, kind: str, model_type: str, missing: bool, resized: bool = False
) -> tuple[Loader, ...]:
    """What each loader makes of it.

    Args:
        state: what the file holds.
        tied: what the level that counts claims; ``acts``: whether the class ties at all.
        kind: the format; ``missing``: no flag stands in the config.
        resized: one table has more rows than the other, or lies transposed.
    """
    if kind == "gguf":
        return (_llama_cpp(state),)
    if kind not in ("safetensors", "torch") or tied is None or state == "unknown":
        return ()
    mlx = _mlx(state, _mlx_flag(model_type, tied, missing), model_type)
    if resized:
        return (Loader("transformers", "refuses", "a table has not the size that the config gives", TRANSFORMERS),)
    return (_transformers(state, tied and acts), *_vllm(state, tied, acts), mlx, _converted(state))


def _transformers(state: State, tied: bool) -> Loader:
    def made(outcome: Outcome, says: str) -> Loader:
        return Loader("transformers", outcome, says, TRANSFORMERS)

    match state, tied:
        case "different", True:
            return made("untied", "warns, and does not tie: the two tables stay apart")
        case "nearly", True:
            return made("untied", "warns, and does not tie, unless it loads both in the narrower dtype")
        case (_, True):
            return made("tied", "ties")
        case "embedding only", False:
            return made("broken", "warns of a missing head, and fills it at random")
        case "head only", False:
            return made("broken", "warns of a missing embedding, and fills it at random")
        case _:
            return made("untied", "loads both")


def _vllm(state: State, tied: bool, acts: bool) -> tuple[Loader, ...]:
    def made(name: str, outcome: Outcome, says: str, source: str) -> Loader:
        return Loader(name, outcome, says, source)

    old, new = "vLLM before August 2026", "vLLM"
    if tied and not acts:
        return (Loader(new, "not known", "its own class decides", VLLM_NEW),)
    match state, tied:
        case (("different" | "nearly"), True):
            return (
                made(old, "tied", "drops the head of the file without a word", VLLM_OLD),
                made(new, "untied", "warns, and keeps the head of the file", VLLM_NEW),
            )
        case "head only", True:
            return (made(new, "not known", "looks for the embedding under its own name", VLLM_NEW),)
        case _, True:
            return (made(new, "tied", "ties", VLLM_NEW),)
        case "embedding only", False:
            return (
                made(old, "refuses", "weights were not initialized from checkpoint", VLLM_OLD),
                made(new, "tied", "warns, and ties", VLLM_NEW),
            )
        case _:
            return (made(new, "untied", "loads both", VLLM_NEW),)


def _llama_cpp(state: State) -> Loader:
    if state == "embedding only":
        return Loader("llama.cpp", "tied", "no output.weight: reads token_embd.weight twice", LLAMA_CPP)
    if state == "head only":
        return Loader("llama.cpp", "refuses", "needs token_embd.weight", LLAMA_CPP)
    return Loader("llama.cpp", "untied", "reads output.weight, whatever a config says", LLAMA_CPP)


def _converted(state: State) -> Loader:
    source = LLAMA_CPP
    if state == "embedding only":
        return Loader("llama.cpp", "tied", "once converted: reads token_embd.weight twice", source)
    if state in ("one table", "equal"):
        return Loader("llama.cpp", "tied", "once converted: the same values, kept once or twice", source)
    if state == "head only":
        return Loader("llama.cpp", "not known", "the converter decides", source)
    return Loader("llama.cpp", "untied", "once converted: reads the head that the converter writes", source)


def _mlx_flag(model_type: str, tied: bool, missing: bool) -> bool | None:
    if not missing:
        return tied
    return True if model_type in MLX_TIED else False if model_type in MLX_UNTIED else None


def _mlx(state: State, tied: bool | None, model_type: str) -> Loader:
    def made(outcome: Outcome, says: str) -> Loader:
        return Loader("mlx-lm", outcome, says, MLX)

    if tied is None or (model_type not in MLX_TIED and model_type not in MLX_UNTIED):
        return made("not known", "its own class decides")
    if state == "head only":
        return made("refuses", "needs the embedding")
    if tied:
        more = ", and drops the head of the file without a word" if state in ("different", "nearly") else ""
        return made("tied", f"ties{more}")
    return made("refuses", "a parameter is missing") if state == "embedding only" else made("untied", "loads both")
