"""Causal language models of Hugging Face transformers as targets: ``hf:MODEL_TYPE``, ``hf:PATH`` and ``hf:OWNER/NAME``.

A model type is built tiny, random and offline, with the tie flag set where its class reads it. What the architecture
adds to the plain tie is in ``huggingface_declared``, the sizes in ``huggingface_tiny``. Neither torch nor transformers
is imported before something is built.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiecheck.conformance.declaration import Declaration
from tiecheck.conformance.errors import NotJudged
from tiecheck.conformance.protocol import Backend, Built

from . import huggingface_tiny, pytorch
from .huggingface_declared import declared, unwrapped
from .huggingface_facts import NEVER_TIED, NOT_BY_IDS
from .huggingface_reference import mapped
from .huggingface_tiny import (
    FlagRejected,
    known_types,
    levels,
    model_class,
    model_types,
    sentence,
    set_flag,
    tiny_config,
)

if TYPE_CHECKING:
    import torch

    from .pytorch.ends import TorchEnds
    from .pytorch.subject import TorchSubject

__all__ = [
    "FLAG",
    "FLAG_NAME",
    "NEVER_TIED",
    "NOT_BY_IDS",
    "FlagRejected",
    "about_flag",
    "accepts",
    "backend",
    "behaving",
    "build",
    "call",
    "declared",
    "ends_of",
    "model_types",
    "shares_of",
    "steps_of",
    "subject_of",
    "tiny_config",
]

FLAG = True
"""Whether the tie flag can be asked for."""


FLAG_NAME = huggingface_tiny.FLAG
"""The field of the config."""

SHOWN = ("gpt2", "llama", "gemma2", "qwen2", "mistral", "gpt_neox")
"""What a matrix of all backends judges of them."""


def every() -> tuple[str, ...]:
    """Every causal language model of the installed transformers, by model type."""
    from .huggingface_tiny import model_types

    return model_types()


def backend() -> Backend:
    """See `tiecheck.conformance.protocol.Adapter`."""
    asks = (
        "all that a torch.nn.Module can be asked",
        "what its config and class declare",
        "its twin with the flag turned",
    )
    names = ("MODEL_TYPE (tiny, random, offline), ./PATH or OWNER/NAME (the real weights)",)
    there = find_spec("torch") is not None and find_spec("transformers") is not None
    return Backend("hf", "language models of Hugging Face transformers", there, asks, names)


def accepts(model: object) -> bool:
    """A model of transformers, wrapped or not; the package is not imported to find out."""
    torch, loaded = sys.modules.get("torch"), sys.modules.get("transformers.modeling_utils")
    if torch is None or loaded is None or not isinstance(model, torch.nn.Module):
        return False
    return isinstance(unwrapped(model), loaded.PreTrainedModel)


def build(name: str, *, tied: bool | None, seed: int, trust_remote_code: bool = False) -> Built:
    """The language model of an ``hf:`` target, in float32, with what it declares.

    Args:
        name: a model type (a tiny random model, offline); a folder, with a path prefix (``./x``, ``/x``);
            or ``OWNER/NAME`` on the Hub. The last two come with their real weights.
        tied: the tie flag, set at every level of the config that has one; None leaves the config's own value.
        seed: seeds the initialization; the caller's random state is left as it was.
        trust_remote_code: whether code that comes with the weights may run.

    Raises:
        LookupError: an unknown model type, or a repository that cannot be had.
        FlagRejected: the architecture refuses this value of the flag loudly, or has no flag.
        NotJudged: a folder without config.json, a model that ids alone cannot judge, or one that needs a package
            that is not installed; one sentence that says which. (FlagRejected is one.)
    """
    if find_spec("transformers") is None:
        raise NotJudged("hf: targets need the package transformers, which is not installed here")
    tiny = "/" not in name
    with pytorch.seeded(seed):
        model = (_tiny(name, tied) if tiny else _pretrained(name, tied, trust_remote_code)).float()
    declaration = declared(model)
    if tied is not None:
        declaration = dataclasses.replace(declaration, tied=tied)
    return Built(
        model,
        declaration,
        flag=True,
        notes=(_note(name, model),) if tiny else (),
        untrained=tiny,
        twin=_twin(model, name, declaration.tied),
        extra={
            "caller": call,
            "package": "transformers",
            "mapped": mapped,
            "code": functools.partial(_code, model, name),
        },
    )


def _code(model: Any, name: str) -> str:
    """Lines that build the same model with transformers alone."""
    kind, config = type(model).__name__, type(model.config).__name__
    if "/" in name:
        return f"from transformers import {kind}\nbuild = lambda: {kind}.from_pretrained({name!r})"
    changed = {key: value for key, value in model.config.to_diff_dict().items() if key != "transformers_version"}
    return f"from transformers import {config}, {kind}\nbuild = lambda: {kind}({config}.from_dict({changed!r}))"


def subject_of(built: Built, declared: Declaration, **options: Any) -> TorchSubject:
    """The subject that answers for it: the same as for any other module, called as its class wants it."""
    built = dataclasses.replace(
        built, extra={"caller": call, "package": "transformers", "mapped": mapped, **built.extra}
    )
    return pytorch.subject_of(built, declared, **options)


def ends_of(model: Any, ids: Any = None, before: Any = None) -> TorchEnds:
    """Where both ends of a model are, called as its class wants it. See `tiecheck.conformance.protocol.Adapter`."""
    from .pytorch.ends import find

    return find(model, ids, before, call)


steps_of, behaving, shares_of = pytorch.steps_of, pytorch.behaving, pytorch.shares_of


def call(model: torch.nn.Module, ids: torch.Tensor, **more: Any) -> Any:
    """What ``model`` returns for ``ids``.

    Ids go in positionally, and as ``decoder_input_ids`` too where the model is an encoder-decoder. No cache is asked
    for: it costs memory, and a hybrid without an attention layer refuses one.

    Args:
        ids: LongTensor of shape (B, T).
        more: further arguments, ``labels`` for one.
    """
    inside = unwrapped(model)
    parameters = inspect.signature(inside.forward).parameters
    config = getattr(inside, "config", None)
    if "use_cache" in parameters:
        more.setdefault("use_cache", False)
    if "decoder_input_ids" in parameters and getattr(config, "is_encoder_decoder", False):
        more.setdefault("decoder_input_ids", ids)
    return model(ids, **more)


def about_flag(name: str, seed: int) -> tuple[str, ...]:
    """Which level of a nested config controls the tie. See `tiecheck.conformance.protocol.Adapter`.

    Args:
        name: as in `build`; where it stands for real weights the models are built from its config on the meta device.
    """
    import torch

    from .huggingface_levels import explored, said

    if "/" in name:
        config, of, device = *_config_and_class(name, trust_remote_code=False), "meta"
    else:
        config, of, device = tiny_config(name, False), model_class(name), "cpu"

    def built(turned: Any) -> Any:
        with torch.device(device):
            return of._from_config(turned, dtype=torch.float32)

    return said(explored(config, built, call, seed))


# tiny models


def _tiny(name: str, tied: bool | None) -> Any:
    import torch

    if name in NOT_BY_IDS:
        raise NotJudged(f"{name} cannot be judged with token ids alone: {NOT_BY_IDS[name]}")
    try:
        return model_class(name)._from_config(tiny_config(name, tied), dtype=torch.float32)
    except (LookupError, FlagRejected):
        raise
    except Exception as error:
        raise NotJudged(f"{name} cannot be built here: {sentence(error)}") from error


def _note(name: str, model: Any) -> str:
    sizes = []
    with contextlib.suppress(Exception):
        layers = getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", None)
        sizes += [f"{layers} layers"] if isinstance(layers, int) else []
        rows, width = model.get_input_embeddings().weight.shape
        sizes += [f"D = {width}", f"V = {rows}"]
    inside = f" ({', '.join(sizes)})" if sizes else ""
    return (
        f"a tiny model of type {name} with random weights{inside}, built offline: "
        "the verdict is about the architecture, not about a checkpoint"
    )


def _twin(model: Any, name: str, tied: bool) -> Callable[[], int | None]:
    """Counts trainable scalars with the flag turned, on the meta device: None where it is refused or does nothing.

    What the flag shares besides the table (BERT's bias, Zamba's blocks) counts as it does in ``model`` itself.
    """

    def count() -> int | None:
        import torch

        config = copy.deepcopy(model.config)
        set_flag(config, not tied, name)
        with torch.device("meta"):
            twin = type(model)._from_config(config)
        number = _trainable(twin)
        if number == _trainable(model):
            return None
        return number - _shared_besides(model, twin) if tied else number + _shared_besides(twin, model)

    def careful() -> int | None:
        try:
            with pytorch.seeded(0):
                return count()
        except Exception:  # whatever a class says against the other value of the flag
            return None

    return careful


def _shared_besides(tied: Any, untied: Any) -> int:
    """Scalars that only ``untied`` holds twice and that are neither the lookup's table nor the head's."""
    apart = dict(untied.named_parameters(remove_duplicate=False))
    ends = (untied.get_input_embeddings(), untied.get_output_embeddings())
    tables = {id(end.weight) for end in ends if end is not None}
    groups: dict[int, dict[int, Any]] = {}
    for name, parameter in tied.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), {})[id(apart[name])] = apart[name]
    more = 0
    for group in groups.values():
        owed = 2 if tables & group.keys() else 1
        more += sum(p.numel() for p in list(group.values())[owed:])
    return more


def _trainable(model: Any) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


# real weights


def _pretrained(name: str, tied: bool | None, trust_remote_code: bool) -> Any:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    config, model_class = _config_and_class(name, trust_remote_code)
    more = {} if model_class is not AutoModelForCausalLM else {"trust_remote_code": trust_remote_code}
    set_flag(config, tied, name)
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        try:
            return model_class.from_pretrained(name, config=config, dtype=torch.float32, use_safetensors=True, **more)
        except OSError:
            # pickled weights only where there are no others, and then without a conversion in the background
            return model_class.from_pretrained(name, config=config, dtype=torch.float32, use_safetensors=False, **more)
    except Exception as error:
        failure = NotJudged if _local(name) else LookupError
        raise failure(f"the weights of {name} cannot be read: {sentence(error)}") from error
    finally:
        if shown:
            logging.enable_progress_bar()


def _local(name: str) -> bool:
    return name.startswith(("./", "../", "/"))


def _config_and_class(name: str, trust_remote_code: bool) -> tuple[Any, Any]:
    """The config of stored weights, and the class that reads them."""
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM

    failure = NotJudged if _local(name) else LookupError
    if _local(name) and not (Path(name) / "config.json").is_file():
        raise NotJudged(f"{name} is no folder with a config.json in it")
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
    except Exception as error:
        raise failure(f"the config of {name} cannot be read: {sentence(error)}") from error
    if config.model_type in known_types():
        model_class = _stored_class(config)
        inner = (level for level in levels(config) if isinstance(level, model_class.config_class))
        return next(inner, config), model_class
    if "AutoModelForCausalLM" not in (getattr(config, "auto_map", None) or {}):
        raise LookupError(
            f"transformers {transformers.__version__} has no language model of type {config.model_type!r} for {name}"
        )
    return config, AutoModelForCausalLM


def _stored_class(config: Any) -> Any:
    """The class that a checkpoint names, where it is a language model class; else the one of its type.

    BART is a causal type as well, but a stored BartForConditionalGeneration has an encoder and a bias.
    """
    import transformers
    from transformers.models.auto import modeling_auto as auto

    mapped = auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    if mapped is not None and mapped in (config.architectures or ()):
        return getattr(transformers, mapped)
    return model_class(config.model_type)
