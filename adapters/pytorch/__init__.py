"""Any ``torch.nn.Module``, observed: no glue, no names."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tiecheck.conformance.declaration import Declaration
from tiecheck.conformance.protocol import Backend, Built

if TYPE_CHECKING:
    from .ends import TorchEnds
    from .halves import Recorder
    from .steps import Steps
    from .subject import TorchSubject


def backend() -> Backend:
    """See `tiecheck.conformance.protocol.Adapter`."""
    asks = ("one watched pass", "gradients", "writes", "a chosen h", "what it holds and enumerates", "its own loss")
    return Backend("pytorch", "any torch.nn.Module", find_spec("torch") is not None, asks, ("FILE.py:FACTORY",))


def accepts(model: object) -> bool:
    """Any module; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def subject_of(
    built: Built,
    declared: Declaration,
    *,
    name: str,
    seed: int,
    device: str | None = None,
    dtype: str | None = None,
    optimizer: Any = None,
) -> TorchSubject:
    """The subject for a module that was built or given. Raises NotJudged for a device that is not there."""
    from tiecheck.conformance.errors import NotJudged

    from .calls import call
    from .subject import TorchSubject
    from .training import mapped

    if device is not None:
        _check_device(device)
    if not accepts(built.model):
        raise NotJudged(f"what was built is a {type(built.model).__name__}, not a torch.nn.Module")
    return TorchSubject(
        built.model,
        declared,
        name=name,
        seed=seed,
        caller=built.extra.get("caller", call),
        optimizer=optimizer,
        twin=built.twin,
        device=device,
        dtype=dtype,
        package=built.extra.get("package", "torch"),
        mapped=built.extra.get("mapped", mapped),
    )


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A block whose draws on the CPU come from the seed; the caller's generator is as it was afterwards."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def ends_of(model: Any, ids: Any = None, before: Any = None) -> TorchEnds:
    """Where both ends of a module are. Raises TieLost or NotJudged; see `tiecheck.conformance.protocol.Adapter`."""
    from .ends import find

    return find(model, ids, before)


def steps_of(optimizer: Any, after: Callable[[Any], None]) -> Steps:
    """The steps of an optimizer, told as they happen; see `tiecheck.conformance.protocol.Adapter`."""
    from .steps import Steps

    return Steps(optimizer, after)


def behaving(model: Any) -> AbstractContextManager[Any]:
    """The module to judge between two steps; see `tiecheck.conformance.protocol.Adapter`."""
    from .steps import behaving

    return behaving(model)


def shares_of(model: Any, ignored: Callable[[], bool]) -> Recorder:
    """Each use's share of the gradient; see `tiecheck.conformance.protocol.Adapter`."""
    from .halves import Recorder

    return Recorder(model, ignored)


def _check_device(device: str) -> None:
    import torch
    from tiecheck.conformance.errors import NoDevice, NotJudged

    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise NotJudged(f"{device!r} is no device to judge on: say cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise NoDevice(f"the device {device} was asked for, but torch sees no CUDA device here")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise NoDevice(f"the device {device} was asked for, but there are {torch.cuda.device_count()} CUDA devices")
