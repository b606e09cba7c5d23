"""What loaders make of a checkpoint: a table of facts, each with its source, and the defaults of transformers."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
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


def reads(model_type: str) -> tuple[Mapping[str, Any], str]:
    """How a type's config class reads the flag where not simply off the top level (`installed.reads`), and who says so."""
    return _asked("reads", model_type, installed.reads)


def moved(model_type: str) -> Mapping[str, Mapping[str, Any]]:
    """Fields beside the flag that a type's config class takes from it (`installed.moved`)."""
    table: Mapping[str, Mapping[str, Any]] = _asked("moved", model_type, installed.moved)[0]
    return table


def computes(architecture: str) -> bool:
    """Whether the forward of a class reads the flag (`installed.computes`)."""
    if _another() and installed.ties(architecture) is not None:
        return installed.computes(architecture)
    return architecture in shipped()["computes"]


def taken(model_type: str, stored: Mapping[str, Any]) -> bool | None:
    """What a type's config class makes of a flag that stands, of a type that `reads` knows.

    Args:
        stored: types and flags alone, as `installed.taken` has it.
    """
    how = reads(model_type)[0]
    plain = all(key == installed.FLAG or isinstance(value, Mapping) for key, value in stored.items())
    stated = all(isinstance(stored.get(part, {}).get(installed.FLAG), bool) for part in how.get("nested", ()))
    if installed.version() is not None and not (how and plain and stated):
        value = installed.taken(model_type, stored)
        if value is not None or not how:
            return value
    if "always" in how:
        return bool(how["always"])
    nested = any(stored.get(part, {}).get(installed.FLAG) is True for part in how.get("nested", ()))
    return nested or (stored.get(installed.FLAG) is True and bool(how.get("top", True)))


def sized(architecture: str) -> str:
    """Where the config gives the rows of every table of a class, as it was seen on tiny models; "" where it is not known."""
    place: str = shipped()["sized"].get(architecture, "")
    return place


def along(architecture: str) -> Mapping[str, str] | None:
    """Every pair of names that a class and the models in it tie under the flag alone; None where other fields decide too."""
    told: Mapping[str, str] | None = shipped()["along"].get(architecture, ties(architecture)[0] or {})
    return told


def inner(architecture: str) -> str | None:
    """The level of the config by which a model in a class ties, where the class itself names nothing ("" is the top)."""
    level: str | None = shipped()["inner"].get(architecture)
    return level


def ends(architecture: str) -> tuple[str, str] | None:
    """What a class calls its lookup's table and its head in a file, "" what it has not; None where names tell or nothing does.

    As it was seen on tiny models: a class without a head is one in which nothing projects over a vocabulary.
    """
    if architecture in shipped()["headless"]:
        return shipped()["headless"][architecture], ""
    lookup, head = shipped()["ends"].get(architecture, ("", ""))
    return (lookup, head) if lookup else None


def idle(architecture: str) -> str:
    """Why the flag can mean no one head of a class that ties nothing: "shapes" of its tables, or "several" heads; else ""."""
    why: str = shipped()["idle"].get(architecture, "")
    return why


def roots(architecture: str) -> frozenset[str]:
    """The first words of the names that a class has or reads; none where they are not known, or it renames some."""
    return frozenset(shipped()["roots"].get(architecture, ()))


def _another() -> bool:
    """Whether a transformers is installed of which the table does not tell."""
    return installed.version() not in (None, shipped()["transformers"])


def _asked(name: str, model_type: str, ask: Callable[[str], dict[str, Any]]) -> tuple[Mapping[str, Any], str]:
    here = installed.version()
    if not model_type:
        return {}, ""
    if _another():
        return ask(model_type), f"transformers {here}, installed"
    return shipped()[name].get(model_type, {}), f"transformers {here}, installed" if here else _from_table()


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
    state: State, tied: bool | None, takes: bool | None, kind: str, model_type: str, missing: bool, refused: str = ""
) -> tuple[Loader, ...]:
    """What each loader makes of it.

    Args:
        state: what the file holds.
        tied: what the level that counts claims; ``takes``: what transformers makes of that.
        kind: the format; ``missing``: no flag stands in the config.
        refused: why transformers does not load it.
    """
    if kind == "gguf":
        return (_llama_cpp(state),)
    if kind not in ("safetensors", "torch") or tied is None or state == "unknown":
        return ()
    mlx = _mlx(state, _mlx_flag(model_type, tied, missing), model_type)
    if refused:
        return (Loader("transformers", "refuses", refused, TRANSFORMERS),)
    vllm = map(_where_known, _vllm(state, tied, takes is tied))
    return (_transformers(state, bool(takes)), *vllm, mlx, _where_known(_converted(state)))


def _where_known(loader: Loader) -> Loader:
    """An engine that lacks many types of transformers, and no table here says which."""
    if loader.outcome == "not known":
        return loader
    return dataclasses.replace(loader, says=f"{loader.says} (if it has the type)")


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


def beside_hidden(state: State, takes: bool, name: str) -> Loader:
    """Transformers, of a file in which a table stands under a wrapper's name."""
    if state == "unknown":
        return Loader("transformers", "broken", f"does not know {name}, and fills the tables at random", TRANSFORMERS)
    made = _transformers(state, takes)
    return dataclasses.replace(made, says=f"does not know {name}, and {made.says}")


def beside_none(takes: bool) -> Loader:
    """Transformers, of a file in which no name is of the class."""
    how = ", and ties them" if takes else ""
    says = f"knows no name in the file, fills both tables at random{how}"
    return Loader("transformers", "broken", says, TRANSFORMERS)


def beside_twins(name: str) -> Loader:
    """Transformers, where a further name of the table leads to another one."""
    return Loader("transformers", "untied", f"warns, and leaves {name} a table of its own", TRANSFORMERS)


def _vllm(state: State, tied: bool, alike: bool) -> tuple[Loader, ...]:
    def made(name: str, outcome: Outcome, says: str, source: str) -> Loader:
        return Loader(name, outcome, says, source)

    old, new = "vLLM before August 2026", "vLLM"
    if not alike:
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
