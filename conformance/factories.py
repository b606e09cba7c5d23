"""A factory, and the keyword by which it ties its model or does not.

A keyword parameter called ``tied`` is that keyword; any other is named behind an at sign, ``FACTORY@KEYWORD``. True ties.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .declaration import Declaration
from .errors import NotJudged
from .explain import nearest
from .foreign import foreign
from .protocol import Built

KEYWORD = "tied"
"""The keyword that a factory is built with where none is named."""

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Keyword:
    """The tie flag of a factory.

    ``default`` is what it is where it is not given: None where that is no bool, or not known; one that is ``required`` is
    then given as True.
    """

    name: str
    default: bool | None = None
    required: bool = False

    def words(self, tied: bool | None) -> dict[str, bool]:
        """The arguments of the factory; ``tied`` is None where nobody asked for a value."""
        if tied is None:
            return {self.name: True} if self.required else {}
        return {self.name: tied}


def separated(text: str) -> tuple[str, str | None]:
    """``FACTORY@KEYWORD`` as factory and keyword; None where none is named. Raises NotJudged for what is no keyword."""
    factory, at, keyword = text.partition("@")
    if not at:
        return text, None
    if not keyword:
        raise NotJudged(f"{text!r} names no keyword behind the @; write {factory or 'FACTORY'}@KEYWORD")
    if not keyword.isidentifier():
        raise NotJudged(f"{keyword!r} is no keyword of a factory; behind the @ stands its name alone, as in build@tied")
    return factory, keyword


def keyword_of(factory: Any, name: str | None, where: str) -> Keyword | None:
    """The keyword of a callable: the one that is named, which it must have, or the documented one, where it has it.

    Args:
        name: the keyword; None for the documented one.
        where: the factory, for people.

    Raises:
        NotJudged: the keyword was named, and it does not take it.
    """
    parameters = _parameters(factory)
    if name is None:
        found = parameters.get(KEYWORD) if parameters is not None else None
        return _keyword(found) if found is not None and found.kind in _BY_NAME else None
    if parameters is None:
        raise NotJudged(f"the signature of {where} cannot be read, so that nothing says whether it takes {name!r}")
    found = parameters.get(name)
    if found is not None and found.kind in _BY_NAME:
        return _keyword(found)
    if found is not None and found.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise NotJudged(f"{where} takes {name!r} by its position alone, so that it is no keyword")
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return Keyword(name)
    hit = nearest(name, [p.name for p in parameters.values() if p.kind in _BY_NAME])
    raise NotJudged(f"{where} has no keyword {name!r}" + (f" (did you mean {hit!r}?)" if hit else ""))


def made(factory: Any, keyword: Keyword | None, tied: bool | None) -> Built:
    """What a factory gives, built with its keyword as asked. What it raises passes; NotJudged for a coroutine."""
    words = keyword.words(tied) if keyword is not None else {}
    model = factory(**words)
    if inspect.iscoroutine(model):
        model.close()  # else Python complains later that nobody awaited it
        raise NotJudged("the factory is an async function: it gives a coroutine, not a model")
    built = unpacked(model)
    if keyword is None:
        return built
    return replace(built, flag=True, tied=words.get(keyword.name, keyword.default))


def unpacked(model: Any) -> Built:
    """A model, or one with its declaration, as `Built`."""
    if isinstance(model, Built):
        return model
    if isinstance(model, tuple) and len(model) == 2 and isinstance(model[1], Declaration):
        return Built(model[0], model[1])
    return Built(model)


def _keyword(found: inspect.Parameter) -> Keyword:
    required = found.default is inspect.Parameter.empty
    return Keyword(found.name, found.default if isinstance(found.default, bool) else None, required)


def _parameters(factory: Any) -> Mapping[str, inspect.Parameter] | None:
    """What it can be called with; None where that cannot be read.

    A decorator's wrapper shows the signature of what it wraps, and need not hand on what it shows.
    """
    shown = _signature(factory, follow=True)
    taken = _signature(factory, follow=False)
    if shown is None or taken is None:
        return shown
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken.values()):
        return shown
    return {name: p for name, p in shown.items() if name in taken}


def _signature(factory: Any, follow: bool) -> Mapping[str, inspect.Parameter] | None:
    try:
        with foreign():
            return inspect.signature(factory, follow_wrapped=follow).parameters
    except Exception:  # a class in C has none, and anything may have a `__signature__` of its own
        return None
