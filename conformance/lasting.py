"""A watch that begins at one call of a trainer and ends at another, where no ``with`` can stand around the training."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from .watching import Watched, watch


class Lasting:
    """One `watch` at a time, begun and ended by hand. What it is, and in the middle of what, is no part of its pickle.

    Attributes:
        seen: what the latest watch has seen; None before the first.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        watch(None, None, **options)  # what is wrong with them is said at once, and not hours later
        self.options = options
        self.seen: Watched | None = None
        self._open: AbstractContextManager[Watched] | None = None

    def begin(self, model: Any, optimizer: Any, start: int) -> None:
        """Raises as entering `watch` does."""
        self.drop()
        watching = watch(model, optimizer, start=start, **self.options)
        self.seen = watching.__enter__()
        self._open = watching

    def end(self) -> None:
        """Raises as leaving `watch` does."""
        watching, self._open = self._open, None
        if watching is not None:
            watching.__exit__(None, None, None)

    def drop(self) -> None:
        """End it without a further question."""
        watching, self._open = self._open, None
        if watching is not None:
            error = GeneratorExit()
            watching.__exit__(GeneratorExit, error, None)

    def __getstate__(self) -> dict[str, Any]:
        return {"options": self.options, "seen": None, "_open": None}
