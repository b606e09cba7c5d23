"""A requirement is one function beside its statement; this is the decorator that keeps them together."""

from __future__ import annotations

import os
import re
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from .evidence import Case

Level = Literal["MUST", "SHOULD"]
Verdict = Literal["pass", "fail", "skip", "xfail", "error"]

CHAPTERS = (
    "subject",
    "storage",
    "count",
    "lookup",
    "projection",
    "gradient",
    "training",
    "persistence",
    "initialization",
)


@dataclass(frozen=True)
class Finding:
    """What one requirement says of one case.

    Attributes:
        verdict: pass, fail or skip.
        message: one sentence: what was seen, or why it was not asked.
        cause: for a failure, the word of the contract's list of causes that this requirement holds responsible.
        counterexample: what to look at: token, row, expected and seen; JSON values only.
        level: overrides the requirement's level where a declaration changes it.
    """

    verdict: Verdict
    message: str
    cause: str | None = None
    counterexample: dict[str, Any] | None = None
    level: Level | None = None


def passed(message: str) -> Finding:
    """A pass that says what was looked at."""
    return Finding("pass", message)


def failed(cause: str, message: str, level: Level | None = None, **counterexample: Any) -> Finding:
    """A failure, its cause, and the numbers that show it."""
    return Finding("fail", message, cause, counterexample or None, level)


def skipped(reason: str) -> Finding:
    """Not asked, and why."""
    return Finding("skip", reason)


@dataclass(frozen=True)
class Requirement:
    """One sentence that a model owes, and the function that finds out.

    Attributes:
        id: ``chapter.short-name``, stable for ever.
        level: MUST, or SHOULD (fails the run only under ``--strict``).
        statement: one sentence in the present tense.
        formula: the statement in the letters of the specification (E is V x D, h is N x D, N = B T positions).
        source: where the statement comes from.
        judge: a pure function of the evidence.
        bug: a public bug that it would have caught, as OWNER/REPO#NUMBER, or "".
        why: one or two plain sentences: what goes wrong for a user where it does not hold.
        example: a few lines of Python that run as they stand and show it holding and broken; what a line prints stands
            behind it as ``# -> ...``.
    """

    id: str
    level: Level
    statement: str
    formula: str
    source: str
    judge: Callable[[Case], Finding] = field(repr=False)
    bug: str = ""
    why: str = ""
    example: str = ""

    @property
    def chapter(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]


_REGISTRY: dict[str, Requirement] = {}


def requirement(
    id: str,
    *,
    level: Level = "MUST",
    statement: str,
    formula: str,
    source: str,
    bug: str = "",
    why: str = "",
    example: str = "",
) -> Callable[[Callable[[Case], Finding]], Callable[[Case], Finding]]:
    """Register the decorated function as the judge of requirement ``id``."""
    if not re.fullmatch(r"[a-z]+(\.[a-z0-9]+(-[a-z0-9]+)*)", id) or id in _REGISTRY:
        raise ValueError(f"requirement id {id!r} is malformed or taken")

    example = textwrap.dedent(example).strip()

    def keep(judge: Callable[[Case], Finding]) -> Callable[[Case], Finding]:
        _REGISTRY[id] = Requirement(id, level, statement, formula, source, judge, bug, why, example)
        return judge

    return keep


def known_ids() -> frozenset[str]:
    """The ids that are registered so far."""
    return frozenset(_REGISTRY)


def requirements() -> tuple[Requirement, ...]:
    """The whole specification, chapter by chapter, in the order in which the chapters state it."""
    from . import chapters  # registers them

    del chapters
    order = {name: i for i, name in enumerate(CHAPTERS)}
    return tuple(sorted(_REGISTRY.values(), key=lambda r: order.get(r.chapter, len(order))))


def level_of(id: str) -> Level | None:
    """The level of a requirement; None where there is none of that id."""
    return next((item.level for item in requirements() if item.id == id), None)


def matching(words: tuple[str, ...]) -> frozenset[str]:
    """The ids that some ids or chapters name; ValueError for a word that names nothing."""
    chosen: set[str] = set()
    for word in words:
        hits = {r.id for r in requirements() if word in (r.id, r.chapter)}
        if not hits:
            raise ValueError(f"{word!r} names no requirement and no chapter; `tiecheck spec` lists them")
        chosen |= hits
    return frozenset(chosen)


def judged(item: Requirement, case: Case) -> tuple[Finding, float]:
    """A requirement's finding and the seconds it took; an exception in it is a defect of ours, verdict ``error``."""
    before = time.perf_counter()
    try:
        finding = item.judge(case)
    except Exception as error:
        if os.environ.get("TIECHECK_DEBUG"):
            raise
        finding = Finding("error", f"a defect of tiecheck: {type(error).__name__}: {error}")
    return finding, time.perf_counter() - before
