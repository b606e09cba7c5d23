"""What users do to a model, as data: each operation is a function from subject to subject that feeds the same line.

A subject offers its own operations; a package adds further ones through the entry-point group ``tiecheck.operations``,
whose entries are an `Operation`, several in a tuple, or a function without arguments that returns either.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from .errors import line
from .foreign import foreign


class Broken(Exception):
    """What an operation returned or saved cannot be loaded again; the sentence says why."""


def reads(read: Callable[[], Any], problem: str) -> Any:
    """What ``read`` makes of that which an operation has just stored. Raises Broken, with ``problem`` and why, where it refuses."""
    try:
        with foreign():
            return read()
    except Exception as error:
        raise Broken(f"{problem}: {line(error)}") from error


class Inapplicable(Exception):
    """There is nothing in this model that the operation could be done to; the sentence says why."""


def _anywhere(subject: Any) -> str:
    return ""


@dataclass(frozen=True)
class Operation:
    """One way to do one thing to a model.

    Attributes:
        word: of ``persistence.WORD`` and ``lost-on-WORD``.
        spelling: as a user writes it.
        perform: from a subject, and a function that builds a fresh untrained one, to the subject that comes back. Raises
            `Broken` where its own result cannot be read again; any other exception is a refusal.
        exact: it promises the same values, so that logits are owed as they were.
        halfway: what comes back is in between (a cast without the way back): it need not run, and in a precision that is not
            the model's only whose memory is read and what is counted is asked of it.
        fresh: it needs a second model that was built afresh.
        weak: it can lose the tie, but its passing says nothing.
        large: it is performed on a large model, too.
        heavy: it takes so long that it is performed in the profile full alone.
        here: from the subject to why it cannot be performed on it here (a library, a device, a capability), or "".
        code: lines of Python that do it to ``model`` and leave the result there; ``build()`` makes a fresh one. What has
            them may be one of a sequence; "" where it stands for itself.
        gradients: what it may change is the gradient, so that difference quotients are asked for, in train mode too.
        resizes: the vocabulary is another afterwards, and so is the number of parameters.
        recounts: the number of parameters alone is another afterwards.
        statement: of the requirement ``persistence.WORD``, where the specification does not know the word: one sentence.
    """

    word: str
    spelling: str
    perform: Callable[[Any, Callable[[], Any]], Any] = field(repr=False)
    exact: bool = True
    halfway: bool = False
    fresh: bool = False
    weak: bool = False
    large: bool = False
    heavy: bool = False
    here: Callable[[Any], str] = field(default=_anywhere, repr=False)
    code: str = field(default="", repr=False)
    gradients: bool = False
    resizes: bool = False
    recounts: bool = False
    statement: str = ""


@cache
def added() -> tuple[Operation, ...]:
    """The operations that other installed packages add. One that cannot be imported is left out."""
    out: list[Operation] = []
    for point in sorted(entry_points(group="tiecheck.operations"), key=lambda p: p.name):
        with contextlib.suppress(ImportError):
            found = point.load()
            found = found() if callable(found) else found
            out += [found] if isinstance(found, Operation) else found
    return tuple(out)


def offered(subject: Any) -> tuple[Operation, ...]:
    """What is done to a subject: its own operations, then the added ones."""
    return (*subject.operations(), *added())
