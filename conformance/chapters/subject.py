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
    why="Every check compares two passes. Where equal input gives different logits, it would measure the noise and "
    "not the tie, and a user's own evaluation changes from run to run.",
    example="""
        import numpy as np
        E, rng = np.eye(3), np.random.default_rng(0)
        f = lambda ids: E[ids] @ E.T
        print((f([0, 2]) == f([0, 2])).all())  # -> True
        # broken: a dropout that is never switched off
        noisy = lambda ids: f(ids) * rng.random(3)
        print((noisy([0, 2]) == noisy([0, 2])).all())  # -> False
    """,
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
    why="A table that no logit depends on is not the one that the model uses. A verdict on it would say nothing "
    "about the model.",
    example="""
        import numpy as np
        E = np.eye(3)
        copy = E.copy()
        print(E[[0, 1]] @ E[2])  # -> [0. 0.]
        E[[0, 1]] = [[5, 1, 2], [0, 3, 4]]  # overwrite the rows that the ids 0 and 1 look up
        print(E[[0, 1]] @ E[2])  # -> [2. 4.]
        # broken: the lookup reads a copy that was made earlier
        print(copy[[0, 1]] @ E[2])  # -> [0. 0.]
    """,
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
