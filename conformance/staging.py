"""`stages`: the tie along a pipeline, one line a stage, so that the stage that loses it is known."""

from __future__ import annotations

from typing import Any, Protocol

from .assertion import ends_of
from .errors import NotJudged, TieLost, clean

_WIDTH = 10


class At(Protocol):
    """What `stages` gives."""

    def __call__(self, name: str, model: Any, optimizer: Any = None, ids: Any = None) -> None:
        """Print the line of one stage. Raises TieLost after it, at the stage that lost the tie."""
        ...


def stages() -> At:
    """Follow the tie of a model through what is done to it before it trains.

        at = stages()
        at("built", model)          # built      tied: transformer.wte.weight = lm_head.weight (50257 x 768, float32)
        load(model, path)
        at("loaded", model)         # loaded     LOST: the lookup reads transformer.wte.weight, the projection ...

    Each call prints one line, by identity, as `assert_tied` finds it and with the same blind spots. It is the model of that
    stage that is asked: another object at each, if need be, a wrapper or a loader's result. On the meta device there are
    no values yet, and names decide. A stage that cannot be judged says so in its line, and the pipeline goes on.

    Returns:
        ``at(name, model, optimizer=None, ids=None)``, the last two as for `assert_tied`.

    Raises:
        TieLost: by ``at``, after the line is printed, at the first stage that is not tied: an AssertionError that names
            the stage, the last one that was tied, and what mends it.
    """
    last: list[str] = []
    skipped: list[str] = []

    def at(name: str, model: Any, optimizer: Any = None, ids: Any = None) -> None:
        name = clean(str(name))
        try:
            ends = ends_of(model, ids)
            if optimizer is not None:
                ends.listed(model, optimizer)
        except TieLost as loss:
            what = str(loss).removeprefix("the tie is lost: ")
            if not last:
                _say(name, f"UNTIED: {what}")
                raise TieLost(f"{_first(name, skipped)}: {what}") from None
            _say(name, f"LOST: {what}")
            raise TieLost(
                f"the stage {name!r} lost the tie, which {last[-1]!r} had{_between(skipped)}: {what}"
            ) from None
        except NotJudged as problem:
            skipped.append(name)
            _say(name, f"not judged: {problem}")
            return
        last.append(name)
        skipped.clear()
        _say(name, f"tied: {ends.described()}")

    return at


def _say(name: str, what: str) -> None:
    print(f"{name:{_WIDTH}} {what}", flush=True)


def _first(name: str, skipped: list[str]) -> str:
    if skipped:
        return f"the model is untied at {name!r}, the first stage that could be judged"
    return f"the model is untied at its first stage, {name!r}"


def _between(skipped: list[str]) -> str:
    return f" ({', '.join(map(repr, skipped))} in between could not be judged)" if skipped else ""
