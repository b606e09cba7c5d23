"""Further examples: drawn by hypothesis, judged as the first was, and shrunk where one fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from . import gather
from . import probe as probes
from .declaration import Declaration
from .evidence import Array
from .premise import longest
from .probe import Room
from .requirement import Finding, judged, requirements

EXAMPLES = {"standard": 8, "full": 60}
SHRINKS = 60
# How many ids a sentence holds.
SPOKEN = 24

Findings = dict[str, tuple[Finding, float]]


def search(
    subject: Any,
    declared: Declaration,
    known: Room,
    seed: int,
    chosen: frozenset[str],
    over: Callable[[], bool],
    profile: str = "standard",
) -> Findings:
    """What fails on further examples that hypothesis draws and shrinks, and on a few that read every token; by id."""
    import hypothesis
    from hypothesis import HealthCheck, Phase

    known = longest(subject, known)
    for drawn in probes.covering(known, seed):
        bad = _failing(subject, declared, drawn, chosen, every=True)
        if bad:
            # Where every token is read, no row of the gradient is the projection's alone: half of them say more.
            fewer = dataclasses.replace(drawn, ids=drawn.ids % ((int(drawn.ids.max()) + 2) // 2))
            return _failing(subject, declared, fewer, chosen, every=True) or bad
    latest: Findings = {}
    shrinks = 0

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=EXAMPLES[profile],
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        verbosity=hypothesis.Verbosity.quiet,
    )
    @hypothesis.given(probes.strategy(known, seed))
    def example(drawn: Any) -> None:
        nonlocal shrinks
        if over():
            return
        if latest:
            shrinks += 1
            if shrinks > SHRINKS:
                return
        bad = _failing(subject, declared, drawn, chosen)
        # A smaller example is one of the same failure: what is short of a tile may fail for another reason.
        if bad and (not latest or _causes(bad) <= _causes(latest)):
            latest.clear()
            latest.update(bad)
            raise AssertionError(min(bad))

    try:
        example()
    except AssertionError:
        pass
    except hypothesis.errors.HypothesisException:
        pass
    return latest


def _failing(subject: Any, declared: Declaration, drawn: Any, chosen: frozenset[str], every: bool = False) -> Findings:
    """What fails on a further example; nothing for a shape that the model refuses, which is left out."""
    try:
        case = gather.gather_more(subject, declared, drawn, every)
    except Exception:
        return {}
    bad = {}
    for item in requirements():
        if item.id in chosen:
            finding, seconds = judged(item, case)
            if finding.verdict == "fail":
                bad[item.id] = (_with_ids(finding, drawn), seconds)
    return bad


def _causes(findings: Findings) -> set[str | None]:
    return {finding.cause for finding, _ in findings.values()}


def _with_ids(finding: Finding, drawn: Any) -> Finding:
    example = {**(finding.counterexample or {}), "ids": probes.as_lists(drawn.ids), "mode": drawn.mode}
    return dataclasses.replace(finding, counterexample=example, message=f"{finding.message} ({_said(drawn.ids)})")


def _said(ids: Array) -> str:
    """The ids (B, T) in a sentence: all of a few, else how many; the counterexample has them all."""
    if ids.size <= SPOKEN:
        return f"ids {ids.tolist()}"
    return f"ids {np.array2string(ids.ravel()[:4], separator=', ')[:-1]}, ...] of shape {ids.shape}"
