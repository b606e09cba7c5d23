"""Chapter `subject`: the premise. What fails here says nothing of the tie yet, but every later verdict leans on it."""

from __future__ import annotations

import numpy as np

from ..evidence import Case
from ..requirement import Finding, failed, passed, requirement, skipped


@requirement(
    "subject.deterministic",
    statement="The same ids give the same logits in eval mode, twice in a row and with the random generators left to run.",
    formula="f(ids) = f(ids), bit for bit",
    source="the premise of every comparison of two passes",
)
def deterministic(case: Case) -> Finding:
    if len(case.repeats) < 2:
        return skipped("not asked in this profile")
    one, *others = case.repeats
    for other in others:
        if not np.array_equal(one, other, equal_nan=True):
            gap = float(np.nanmax(np.abs(one - other)))
            return failed("nondeterministic", f"two equal calls in eval mode differ by up to {gap:.3g}", difference=gap)
    return passed(f"{len(case.repeats)} equal calls agree bit for bit")


@requirement(
    "subject.responds",
    statement="A write to the rows that an input looks up changes the logits of other tokens: the lookup is alive.",
    formula="E[ids] := random  =>  f(ids)_w changes for some w not in ids",
    source="the premise: a table that nothing depends on cannot be judged",
)
def responds(case: Case) -> Finding:
    if not case.responds:
        where = case.first.look.table.where if case.first.look is not None else ""
        return failed(
            "stale-copy",
            "random vectors written into the rows that the ids look up changed the logits of no other token",
            where=where or None,
        )
    return passed("a write to the rows that were read moved the logits")
