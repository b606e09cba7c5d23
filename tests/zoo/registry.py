"""The list of small language models and the decorators that put a model on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

Table = Callable[[nn.Module], Any]


@dataclass(frozen=True)
class Entry:
    """One model, what a judge must say of it, and the direct means by which that can be seen.

    `table` gives the rows of the table as views that may be written (a V x D tensor, or a list of V rows);
    `effective` gives the V x D array that both uses read where that is derived from what `table` gives;
    `show` returns True on a fresh model when the defect is really there.
    """

    name: str
    build: Callable[[], nn.Module]
    verdict: str
    cause: str | None
    also: tuple[str, ...]
    why: str
    style: str
    declared: dict[str, Any] = field(default_factory=dict)
    table: Table | None = None
    effective: Callable[[nn.Module], Tensor] | None = None
    show: Callable[[nn.Module], bool] | None = None
    exact: bool = True

    @property
    def tied(self) -> bool:
        """Whether the model is declared tied."""
        return bool(self.declared.get("tied", True))


ENTRIES: list[Entry] = []


def _add(entry: Entry) -> None:
    if any(e.name == entry.name for e in ENTRIES):
        raise ValueError(f"two models are called {entry.name}")
    ENTRIES.append(entry)


def correct(
    *,
    style: str,
    declared: dict[str, Any] | None = None,
    table: Table | None = None,
    effective: Callable[[nn.Module], Tensor] | None = None,
    why: str = "",
    exact: bool = True,
) -> Callable[[Callable[[], nn.Module]], Callable[[], nn.Module]]:
    """Register a model that must pass; `exact=False` where float64 arithmetic does not reach the logits."""

    def register(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        reason = why or (build.__doc__ or "").strip()
        _add(
            Entry(
                build.__name__,
                build,
                "correct",
                None,
                (),
                reason,
                style,
                dict(declared or {}),
                table,
                effective,
                None,
                exact,
            )
        )
        return build

    return register


def broken(
    *,
    cause: str,
    why: str,
    style: str,
    also: tuple[str, ...] = (),
    declared: dict[str, Any] | None = None,
    table: Table | None = None,
    show: Callable[[nn.Module], bool] | None = None,
) -> Callable[[Callable[[], nn.Module]], Callable[[], nn.Module]]:
    """Register a model that must fail, with the cause that must come first (or one of `also`)."""

    def register(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        _add(Entry(build.__name__, build, "broken", cause, also, why, style, dict(declared or {}), table, None, show))
        return build

    return register
