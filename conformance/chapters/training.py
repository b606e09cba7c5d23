"""Chapter `training`: an optimizer's step sees one table, once, and so do the passes after it."""

from __future__ import annotations

import dataclasses

import numpy as np

from .. import tolerances
from ..evidence import Array, Case, Step, Trained
from ..requirement import Finding, failed, passed, requirement, skipped

NAMES = {"sgd": "SGD with momentum", "adamw": "AdamW"}


def _not_trained(case: Case) -> Finding:
    if case.declared.frozen:
        return skipped("the table is declared frozen")
    otherwise = "not asked in this profile, or the time was up"
    reasons = [case.missing[name] for name in ("afterwards", "backward", "steps") if name in case.missing]
    return skipped(reasons[0] if reasons else otherwise)


def updated(step: Step) -> Array:
    """The table after one step of the optimizer, by its formula, on the rows that are kept (rows, D).

    Clipping multiplied the gradient by ``clipped`` before, decay acts once. SGD: E - r (g + d E), whatever the momentum.
    AdamW: (1 - r d) E - r g / (|g| + eps), since the first step's moments are the gradient's own.
    """
    assert step.before is not None and step.gradient is not None
    g = step.gradient * step.clipped
    if step.kind == "sgd":
        return np.asarray(step.before - step.rate * (g + step.decay * step.before))
    return np.asarray(step.before * (1 - step.rate * step.decay) - step.rate * g / (np.abs(g) + step.epsilon))


@requirement(
    "training.step",
    statement="One optimizer step moves the table once, by its formula, and both sides hold the result; decay and clipping see it once.",
    formula="SGD: E' = E - r (c g + d E); AdamW: E' = (1 - r d) E - r c g / (|c g| + eps); c = min(1, limit / norm)",
    source="Loshchilov and Hutter 2019, algorithm 2; torch.nn.utils.clip_grad_norm_",
    why="If decay or clipping sees the table twice, the step has another size than the optimizer promises. Learning "
    "rates that worked for others then do not work here.",
    example="""
        import numpy as np
        E, g = np.array([1.0, 2.0]), np.array([3.0, 4.0])
        r, d, limit = 0.1, 0.5, 1.0
        update = lambda c: (E - r * (c * g + d * E)).round(2)
        print(update(limit / np.linalg.norm(g)))  # -> [0.89 1.82]
        # broken: clipping measures the gradient of the table twice
        print(update(limit / np.linalg.norm([g, g])))  # -> [0.91 1.84]
    """,
)
def step(case: Case) -> Finding:
    asked = 0
    for trained in case.trained:
        finding = _stepped(trained, case.declared.tied)
        if finding is not None and finding.verdict == "fail":
            return finding
        asked += finding is not None
    if asked:
        made = [t.step for t in case.trained if t.step.after is not None]
        sides = "on both sides" if all(one.head is not None for one in made) else "as the lookup reads it"
        return passed(f"one step of {asked} optimizers is what their formulas say, {sides}")
    refused = [t.step.refused for t in case.trained if t.step.refused]
    if refused:
        return skipped(refused[0])
    return (
        skipped("the table is computed: its parameters are stepped, not its rows")
        if case.trained
        else _not_trained(case)
    )


def _stepped(trained: Trained, tied: bool) -> Finding | None:
    made = trained.step
    if made.after is None or made.before is None or made.gradient is None:
        return None
    name = NAMES[made.kind]
    if abs(made.norm - made.distinct) > tolerances.norm(made.distinct, made.dtype):
        return failed(
            "listed-twice" if made.norm > made.distinct else "not-listed",
            f"clipping measured a gradient norm of {made.norm:.6g} over parameters(), distinct parameters have {made.distinct:.6g}",
            expected=made.distinct,
            seen=made.norm,
        )
    expected = updated(made)
    bound = tolerances.update(made.before, expected, made.dtype, made.corrections)
    for side, values in (("lookup", made.after), ("projection", made.head if tied else None)):
        if values is None:
            continue
        gap = np.abs(values - expected)
        if (gap > bound).any():
            row, column = np.unravel_index(int((gap / bound).argmax()), gap.shape)
            return failed(
                "lost-on-step",
                f"after one step of {name} the {side}'s row {int(made.rows[row])} is not what the formula gives"
                + _twice(made, values),
                side=side,
                row=int(made.rows[row]),
                column=int(column),
                expected=float(expected[row, column]),
                seen=float(values[row, column]),
                optimizer=name,
            )
    return passed("as the formula says")


def _twice(made: Step, values: Array) -> str:
    """Whether the step, or its decay alone, acted as if the table were there twice."""
    assert made.before is not None
    # AdamW's decay is a factor of the table, which acts twice as its square.
    decay = 2 * made.decay - (made.rate * made.decay**2 if made.kind == "adamw" else 0.0)
    for what, changed in (
        ("but what it gives where the table is decayed twice", dataclasses.replace(made, decay=decay)),
        ("but what it gives with twice the rate", dataclasses.replace(made, rate=2 * made.rate)),
    ):
        expected = updated(changed)
        if (np.abs(values - expected) <= tolerances.update(made.before, expected, made.dtype, made.corrections)).all():
            return f", {what}"
    return ""


def _after(case: Case, kind: str) -> Finding:
    for trained in case.trained:
        if trained.step.kind != kind:
            continue
        if trained.broken:
            return failed("lost-on-step", trained.broken)
        if trained.step.refused:
            return skipped(trained.step.refused)
        for lost in trained.lost:
            cause = "forced-tie" if lost.cause == "forced-tie" else "lost-on-step"
            facts = {**lost.counterexample, "fails": lost.id, "then": lost.cause, "optimizer": NAMES[kind]}
            return failed(cause, f"after a few steps of {NAMES[kind]} {lost.id} fails: {lost.message}", **facts)
        return passed(f"after a few steps of {NAMES[kind]} all that held holds")
    return _not_trained(case)


@requirement(
    "training.sgd",
    statement="After several steps of SGD with momentum it is still one table.",
    formula="every MUST of storage, count, lookup, projection and gradient holds after 3 steps of SGD with momentum",
    source="a velocity per parameter: a copy that was made before the step has none, and is old after it",
    why="A copy is equal until the first step and old after it. A model may look tied when it is built and not be "
    "tied any more when it has trained.",
    example="""
        import torch
        E = torch.nn.Parameter(torch.ones(2, 2))
        view, copy = E.detach(), E.detach().clone()  # the same memory, and memory of its own
        optimizer = torch.optim.SGD([E], lr=0.1, momentum=0.9)
        for _ in range(3):
            E.grad = torch.ones(2, 2)
            optimizer.step()
        print(torch.equal(view, E))  # -> True
        # broken: equal before the first step, old after it
        print(torch.equal(copy, E))  # -> False
    """,
)
def sgd(case: Case) -> Finding:
    return _after(case, "sgd")


@requirement(
    "training.adamw",
    statement="After several steps of AdamW it is still one table.",
    formula="every MUST of storage, count, lookup, projection and gradient holds after 3 steps of AdamW",
    source="moments per parameter object and a step of its sign's size (Loshchilov and Hutter 2019)",
    why="An optimizer goes on with the parameters that it was given. If one use gets a new parameter while training "
    "runs, only the other use is trained from then on.",
    example="""
        import torch
        embedding, head = torch.nn.Embedding(3, 2), torch.nn.Linear(2, 3, bias=False)
        head.weight = embedding.weight
        optimizer = torch.optim.AdamW(head.parameters(), lr=0.1)
        def after_a_step():
            head(embedding(torch.tensor([1]))).sum().backward()
            optimizer.step()
            return torch.equal(embedding.weight, head.weight)
        print(after_a_step())  # -> True
        # broken: the embedding gets a new parameter while training runs
        embedding.weight = torch.nn.Parameter(embedding.weight.detach().clone())
        print(after_a_step())  # -> False
    """,
)
def adamw(case: Case) -> Finding:
    return _after(case, "adamw")


@requirement(
    "training.trajectory",
    statement="Where the weights map onto the reference, training takes the same way as its hand-derived gradients do.",
    formula="E after 3 steps = E of the reference after 3 steps, by its own dL/dE, in float64",
    source="the reference network in NumPy, whose gradients are derived by hand with a table for each use",
    why="Every other check of the gradient compares the model with itself. This one compares it with another program: it "
    "sees a gradient that is cut or scaled inside the network, too.",
    example="""
        import numpy as np
        E = np.array([[1.0, 2.0]])
        def two_steps(E, lookup, projection, v=0.0):
            for _ in range(2):
                v = 0.9 * v + lookup * E + projection * E
                E = E - 0.5 * v
            return E.round(3)
        print(two_steps(E, 0.1, 0.3))  # -> [[0.46 0.92]]
        # broken: the share of the lookup never arrives
        print(two_steps(E, 0.0, 0.3))  # -> [[0.587 1.175]]
    """,
)
def trajectory(case: Case) -> Finding:
    found = case.trajectory
    if found is None:
        return _not_trained(case) if not case.trained else skipped("the weights do not map onto the reference")
    allowed = tolerances.trajectory(found.moved)
    gap = np.abs(found.seen - found.expected)
    if gap.max() > allowed:
        row, column = np.unravel_index(int(gap.argmax()), gap.shape)
        return failed(
            "wrong-gradient",
            f"after {found.steps} steps row {int(row)} of the table is not where the reference's gradients lead",
            row=int(row),
            column=int(column),
            expected=float(found.expected[row, column]),
            seen=float(found.seen[row, column]),
        )
    worst = max(found.others, key=lambda name: found.others[name], default="")
    if worst and found.others[worst] > allowed:
        return failed(
            "wrong-gradient",
            f"after {found.steps} steps {worst} is not where the reference's gradients lead: the network cuts or scales them",
            parameter=worst,
            difference=found.others[worst],
        )
    return passed(f"{found.steps} steps of SGD with momentum end where the reference's do")
