"""The reference as a target: a tiny GPT of each of the two papers, which must conform tied and untied."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tiecheck.conformance.declaration import Declaration
from tiecheck.conformance.protocol import Backend, Built
from tiecheck.reference import GPTConfig, parameter_count

from . import pytorch

if TYPE_CHECKING:
    from .pytorch.subject import TorchSubject

FLAG = True
"""Whether the tie flag can be asked for."""

_GPT2 = GPTConfig(vocabulary=61, context=64, width=16, layers=2, heads=2)
CONFIGS: dict[str, GPTConfig] = {"gpt": replace(_GPT2, pre_norm=False), "gpt2": _GPT2}
"""What can be built, by name: the post-norm network of 2018 and the pre-norm one of 2019. No name is ``gpt2``."""


def config_of(name: str, tied: bool | None, backend: str = "reference") -> GPTConfig:
    """The tiny configuration of that name, tied unless asked otherwise. LookupError: no such name."""
    config = CONFIGS.get(name or "gpt2")
    if config is None:
        known = " and ".join(f"{backend}:{known}" for known in CONFIGS)
        raise LookupError(f"the reference has no network called {name!r}; there are {known}")
    return replace(config, tied=tied is not False)


def backend() -> Backend:
    """See `tiecheck.conformance.protocol.Adapter`."""
    asks = ("all that a torch.nn.Module can be asked", "a closed form of its size", "its twin with the flag turned")
    return Backend(
        "reference", "the reference GPT, tiny and random", find_spec("torch") is not None, asks, tuple(CONFIGS)
    )


def build(name: str, *, tied: bool | None, seed: int) -> Built:
    """The reference GPT of that name in torch, with the count that its formula gives. LookupError: no such name."""
    config = config_of(name, tied)
    from tiecheck.reference import GPT

    with pytorch.seeded(seed):
        model = GPT(config)
    return Built(
        model,
        Declaration(tied=config.tied, parameter_count=parameter_count(config)),
        flag=True,
        notes=("the reference network, tiny and random",),
        twin=lambda: parameter_count(replace(config, tied=not config.tied)),
    )


def subject_of(built: Built, declared: Declaration, **options: Any) -> TorchSubject:
    """The subject that answers for it: the same as for any other module."""
    return pytorch.subject_of(built, declared, **options)
