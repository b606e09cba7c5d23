"""What the adapters of libraries that build torch modules share: such a library brings builders, and nothing else.

A module of it is observed by `tiecheck.adapters.pytorch` as any other is.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tiecheck.conformance.declaration import Declaration
from tiecheck.conformance.protocol import Backend, Built, unknown

from . import pytorch

if TYPE_CHECKING:
    from .pytorch.subject import TorchSubject

Builder = Callable[[bool], tuple[Any, Mapping[str, Any]]]
"""From the tie flag to the module and the fields that are declared beside ``tied``. NotJudged: it refuses that flag."""


@dataclass(frozen=True)
class Library:
    """One library.

    Attributes:
        backend: the BACKEND of ``BACKEND:NAME``.
        package: the package that is imported.
        summary: what it judges.
        names: builders by name, as the library's documentation has them.
        tied: the names that are tied where nobody asks; the others are not.
    """

    backend: str
    package: str
    summary: str
    names: Mapping[str, Builder]
    tied: tuple[str, ...] = ()


def adapter_of(
    library: Library,
) -> tuple[Callable[[], Backend], Callable[[object], bool], Callable[..., Built], Callable[..., TorchSubject]]:
    """The four functions of an adapter: backend, accepts, build, subject_of."""

    def backend() -> Backend:
        here = find_spec("torch") is not None and find_spec(library.package) is not None
        asks = ("all that a torch.nn.Module can be asked",)
        return Backend(library.backend, library.summary, here, asks, tuple(library.names))

    def accepts(model: object) -> bool:
        torch = sys.modules.get("torch")
        ours = type(model).__module__.partition(".")[0] == library.package
        return ours and torch is not None and isinstance(model, torch.nn.Module)

    def build(name: str, *, tied: bool | None, seed: int) -> Built:
        builder = library.names.get(name)
        if builder is None:
            raise unknown(library.backend, name, library.names)
        tied = name in library.tied if tied is None else tied
        with pytorch.seeded(seed):
            model, declared = builder(tied)
        return Built(model, Declaration(tied=tied, **declared), flag=True, notes=("tiny and random",))

    def subject_of(built: Built, declared: Declaration, **options: Any) -> TorchSubject:
        extra = {"package": library.package, **built.extra}
        return pytorch.subject_of(dataclasses.replace(built, extra=extra), declared, **options)

    return backend, accepts, build, subject_of
