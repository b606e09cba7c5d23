"""Where the tie flag of a nested config counts: each level is set against the others, and the model that comes of it is asked.

A composite config has ``tie_word_embeddings`` at several levels, and which of them ties is the class's business. No
attribute is believed: a model is built for each combination, and `assert_tied`'s own way of looking says whether its
ends are one table.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tiecheck.conformance.errors import NotJudged, TieLost

from . import pytorch
from .huggingface_tiny import FLAG, nested, sentence

TOP = "the top level"
On = frozenset[str]
"""The levels at which the flag is on."""


@dataclass(frozen=True)
class Levels:
    """What came of the flag at each level.

    Attributes:
        names: the levels that have the flag, the top first.
        ties: whether the ends were one table, by the levels at which the flag was on; None where no model could be had.
        why: what was refused, by the same.
    """

    names: tuple[str, ...]
    ties: Mapping[On, bool | None]
    why: Mapping[On, str]

    @property
    def sufficient(self) -> tuple[str, ...]:
        """The levels that tie by themselves."""
        return tuple(name for name in self.names if self.ties[frozenset({name})])

    @property
    def necessary(self) -> tuple[str, ...]:
        """The levels without which all others do not tie; empty where it was not asked."""
        every = frozenset(self.names)
        return tuple(name for name in self.names if self.ties.get(every - {name}) is False)


def flagged(config: Any) -> dict[str, Any]:
    """The levels of a config that have the flag, by path; the top has it always, since the class reads it there."""
    found = {path: level for path, level in _walked(config) if hasattr(level, FLAG)}
    return {TOP: config, **found}


def _walked(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    yield path or TOP, config
    for name, inner in nested(config).items():
        yield from _walked(inner, f"{path}.{name}".lstrip("."))


def explored(config: Any, build: Callable[[Any], Any], call: Callable[..., Any], seed: int) -> Levels:
    """No level, all, each alone; then all but those that tie alone, or all but each where none does.

    Args:
        config: it is left as it is.
        build: a model of a config.
        call: how a model is called with ids.
    """
    names = tuple(flagged(config))
    levels = Levels(names, {}, {})
    every = frozenset(names)
    if len(names) > 1:
        levels = _tried(levels, [frozenset(), every, *(frozenset({name}) for name in names)], config, build, call, seed)
        alone = levels.sufficient
        levels = _tried(
            levels, [every - {*alone}] if alone else [every - {n} for n in names], config, build, call, seed
        )
    return levels


def _tried(
    levels: Levels, wanted: list[On], config: Any, build: Callable[[Any], Any], call: Callable[..., Any], seed: int
) -> Levels:
    ties, why = dict(levels.ties), dict(levels.why)
    for on in wanted:
        if on in ties:
            continue
        try:
            ties[on] = _tied(config, on, build, call, seed)
        except Exception as error:  # a class may refuse a value, or levels that disagree
            ties[on], why[on] = None, sentence(error)
    return Levels(levels.names, ties, why)


def _tied(config: Any, on: On, build: Callable[[Any], Any], call: Callable[..., Any], seed: int) -> bool:
    from .pytorch.ends import find

    turned = copy.deepcopy(config)
    for name, level in flagged(turned).items():
        setattr(level, FLAG, name in on)
    with pytorch.seeded(seed):
        model = build(turned)
        try:
            find(model, None, None, call)
        except TieLost:
            return False
        except NotJudged as error:
            raise RuntimeError(str(error)) from error
    return True


def said(levels: Levels) -> tuple[str, ...]:
    """What the levels are worth, in sentences; none where there is one level."""
    if len(levels.names) < 2:
        return ()
    every = frozenset(levels.names)
    told = [f"the flag {FLAG} stands at {_listed(levels.names)}: {_worth(levels, every)}"]
    if levels.why:
        on, reason = next(iter(levels.why.items()))
        told.append(f"with {FLAG}=True at {_listed(tuple(n for n in levels.names if n in on)) or 'no level'}: {reason}")
    return tuple(told)


def _worth(levels: Levels, every: On) -> str:
    enough, needed = levels.sufficient, levels.necessary
    if levels.ties[every] is None or levels.ties[frozenset()] is None:
        return "what it does could not be found out"
    if levels.ties[frozenset()]:
        return "it does nothing; with False at all of them the model is tied all the same"
    if not levels.ties[every]:
        return "it does nothing; with True at all of them the model has two tables all the same"
    acting = enough or needed
    idle = tuple(name for name in levels.names if name not in acting)
    if not acting:
        return "none ties alone and none is needed, but several together tie"
    if not enough:
        what = f"{'both' if len(needed) == 2 else 'all of these'} must be on: {_listed(needed)}"
    elif len(enough) == 1:
        what = f"{enough[0]} controls the tie"
    else:
        what = f"either ties: {_listed(enough, 'or')}"
    if idle and enough and levels.ties[every - {*enough}]:
        return f"{what}; {_listed(idle)} tie it too, together"
    if idle:
        return f"{what}; at {_listed(idle)} it does nothing, so that True there alone leaves two tables"
    return what


def _listed(names: tuple[str, ...], word: str = "and") -> str:
    return f" {word} ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
