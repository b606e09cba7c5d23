"""Small broken models to look at the verdict on, and one that is right: ``tiecheck run demo:NAME``.

Each is a page of ordinary code with one fault that happened in public; `DEMOS` is the list. torch is imported when one
is built.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tiecheck.conformance.declaration import Declaration
from tiecheck.conformance.protocol import Backend, Built

from . import pytorch

if TYPE_CHECKING:
    from .pytorch.subject import TorchSubject

FLAG = False
"""Each is what it is: there is no tie flag to turn."""

BROKEN = True
"""A matrix of everything that can be judged here leaves them out: they are broken on purpose."""

DEMOS: dict[str, str] = {
    "sound": "Sound",
    "two-matrices": "TwoMatrices",
    "equal-copy": "EqualCopy",
    "assigned-data": "AssignedData",
    "detached-head": "DetachedHead",
    "stale-cache": "StaleCache",
    "silent-bias": "SilentBias",
    "padding-row": "PaddingRow",
}
"""Names of the models and of their classes in `demo_models`."""


def backend() -> Backend:
    """See `tiecheck.conformance.protocol.Adapter`."""
    return Backend(
        "demo",
        "broken models to look at, and a sound one",
        find_spec("torch") is not None,
        ("all that a torch.nn.Module can be asked",),
        tuple(DEMOS),
    )


def build(name: str, *, tied: bool | None, seed: int) -> Built:
    """The demonstration model of that name. LookupError names the known ones."""
    del tied
    if name not in DEMOS:
        raise LookupError(f"there is no demonstration called {name!r}; there are {', '.join(DEMOS)}")
    from . import demo_models

    kind = getattr(demo_models, DEMOS[name])
    with pytorch.seeded(seed):
        model = kind()
    return Built(model, Declaration(), notes=(f"a demonstration: {_first_line(kind)}",))


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0].removesuffix(".")


def subject_of(built: Built, declared: Declaration, **options: Any) -> TorchSubject:
    """The subject that answers for it: the same as for any other module."""
    return pytorch.subject_of(built, declared, **options)
