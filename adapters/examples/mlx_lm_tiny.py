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

from .mlx_lm_fields import BLANK, MORE, SIZES

LARGEST = 20_000_000
SWITCHES = ("tie_word_embeddings", "tie_embedding", "share_input_output_layers", "weight_tying")
"""How the flag is spelt, the usual spelling first."""

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
