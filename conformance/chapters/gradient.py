"""Chapter `gradient`: dL/dE = dL/dE_in + dL/dE_out, with coefficients exactly one and one, in every row.

With L = <R, logits> the projection's share is R^T h for every row, known without the model's backward. The lookup's share
is what is left on the rows that were read; central differences of L check it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import tolerances
from ..algebra import ROWS, Explained, separate
from ..evidence import Array, Case, Pass
from ..measured import measured
from ..requirement import Finding, failed, passed, requirement, skipped
from ..shares import Off, first_off, off_entries, rows_share

SUM = "the chain rule for a function restricted to E_in = E_out; Press and Wolf 2017, section 3"


def _graded(case: Case) -> list[tuple[Pass, Explained]]:
    out = []
    for seen in case.passes:
        if seen.gradient is None or case.declared.frozen:
            continue
        out.append((seen, seen.explained))
    return out


def _not_asked(case: Case) -> Finding:
    if case.declared.frozen:
        return skipped("the table is declared frozen")
    if "backward" in case.missing:
        return skipped(case.missing["backward"])
    return skipped(
        case.why("gradient", "no map from h to the logits was found to compare with (see projection.linear)")
    )


def _frozen(case: Case) -> bool:
    """The table takes no gradient at all because it does not require one: gradient.trainable's business."""
    sides = case.first.sides
    if sides is None or sides.table.region is None:
        return False
    return not sides.table.region.trainable and sides.table.region.kind == "parameter"


@requirement(
    "gradient.trainable",
    statement="The table is trained, unless it is declared frozen.",
    formula="requires_grad(E) unless frozen",
    source="what an architecture does on purpose is declared, never guessed away",
    bug="huggingface/transformers#11903",
    why="A table that takes no gradient stays what it was at the start, while the rest of the model trains around "
    "it. Nothing reports that.",
    example="""
        import torch
        rows = torch.ones(3, 2)
        print(torch.nn.Embedding(3, 2, _weight=rows).weight.requires_grad)  # -> True
        # broken: this way to build it freezes it, unless freeze=False
        print(torch.nn.Embedding.from_pretrained(rows).weight.requires_grad)  # -> False
    """,
)
def trainable(case: Case) -> Finding:
    sides = case.first.sides
    if sides is None or sides.table.region is None:
        return skipped("the table is computed, or its memory is not known")
    if "gradient" in case.missing:
        return skipped(case.missing["gradient"])
    uses = [("lookup", sides.table)] + (
        [("projection", sides.head)] if sides.head is not None and not case.declared.tied else []
    )
    for name, use in uses:
        if use.region is None:
            continue
        owned = use.region.kind == "parameter" or use.region.trainable or not _copies_parameter(case)
        if case.declared.frozen and use.region.trainable:
            return failed(
                "declared-but-absent", f"the table is declared frozen, but {use.region.owner} requires gradients"
            )
        if not case.declared.frozen and not use.region.trainable and owned:
            return failed(
                "undeclared-frozen",
                f"{use.region.owner}, which the {name} reads, is not trained: it requires no gradient",
                owner=use.region.owner,
            )
    return passed("frozen, as declared" if case.declared.frozen else "it requires gradients")


def _copies_parameter(case: Case) -> bool:
    """The uses read a kept tensor while a parameter of the same shape stands beside it: a stale copy, not a frozen table."""
    sides = case.first.sides
    if case.holdings is None or sides is None or sides.table.region is None:
        return False
    shape = sides.table.region.shape
    return any(n.region.kind == "parameter" and n.region.shape in (shape, shape[::-1]) for n in case.holdings.named)


@requirement(
    "gradient.head-share",
    statement="Every row that no lookup read gets exactly the projection's share of the gradient.",
    formula="dL/dE[v] = (R^T h)[v] for L = <R, logits> and every v that no lookup read",
    source=SUM,
    bug="verl-project/verl#7835",
    why="The projection teaches every row at every step, also those of tokens that the input does not hold. Cut off "
    "from it, rare tokens hardly learn.",
    example="""
        import torch
        E = torch.tensor([[1.0, 1.0], [0.0, 2.0], [3.0, 1.0]], requires_grad=True)
        R = torch.tensor([0.5, -1.0, 0.5])
        h = 2 * E[0]  # token 0 is read, tokens 1 and 2 are not
        print((R[1] * h).tolist())  # -> [-2.0, -2.0]
        grad = lambda head: torch.autograd.grad(R @ (head @ h), E, retain_graph=True)[0]
        print(grad(E)[1].tolist())  # -> [-2.0, -2.0]
        # broken: the projection reads the table detached
        print(grad(E.detach())[1].tolist())  # -> [0.0, 0.0]
    """,
)
def head_share(case: Case) -> Finding:
    if _frozen(case):
        return skipped("the table requires no gradient")
    asked = 0
    for seen, form in _graded(case):
        assert seen.gradient is not None
        if seen.gradient.table is None and form.found:
            return failed("detached-projection", "no gradient reaches the table at all", mode=seen.probe.mode)
        head = first_off(seen)
        if isinstance(head, Off):
            return _name_head(seen, head, off_entries(head))
        asked += head
    return passed(f"{asked} rows that no lookup read have exactly R^T h") if asked else _not_asked(case)


def _name_head(seen: Pass, head: Off, off: Array) -> Finding:
    expected, got, bound = head.expected, head.seen, head.bound
    bad = off.any(1)
    worst = int((np.abs(got - expected) / bound).max(1).argmax())
    facts: dict[str, Any] = {
        "token": int(head.rows[worst]),
        "expected_norm": float(np.linalg.norm(expected[worst])),
        "seen_norm": float(np.linalg.norm(got[worst])),
        "rows_off": int(bad.sum()),
        "rows": int(bad.size),
        "mode": seen.probe.mode,
        "where": seen.look.head_where if seen.look is not None else None,
    }
    zero = ~np.any(got[bad], axis=1)
    if seen.look is not None and seen.look.cut_products and not zero.all():
        facts["where"] = seen.look.cut_products[0]
        return failed(
            "missing-rows" if zero.any() else "detached-projection",
            "a part of the projection reads the table outside the graph",
            **facts,
        )
    if zero.all():
        if seen.along is not None and _agrees(seen) and _follows(seen):
            return failed(
                "missing-rows",
                "rows that no lookup read get no gradient; the rows that were read get both shares",
                **facts,
            )
        if bad.all() or bad.sum() >= tolerances.NEARLY_ALL * bad.size:
            return failed(
                "detached-projection",
                "rows that no lookup read get no gradient: the projection gives the table none",
                **facts,
            )
        return failed("missing-rows", f"{int(bad.sum())} of {bad.size} rows get no share from the projection", **facts)
    ratio = float((got * expected).sum() / ((expected * expected).sum() + tolerances.TINY))
    slack = max(tolerances.same_numbers(seen.table_dtype), tolerances.same_numbers(seen.dtype), tolerances.NOTHING)
    if np.abs(got - ratio * expected).max() <= slack * np.abs(expected).max() + bound.max() and ratio != 0:
        return failed(
            "gradient-scaled", f"the projection's share is {ratio:.6g} times what it should be", factor=ratio, **facts
        )
    per = (got[bad] * expected[bad]).sum(1) / ((expected[bad] ** 2).sum(1) + tolerances.TINY)
    fits = np.abs(got[bad] - per[:, None] * expected[bad]).max(1) <= slack * np.abs(expected[bad]).max(1) + bound[
        bad
    ].max(1)
    if fits.all():
        if zero.any():
            return failed(
                "missing-rows", f"{int(zero.sum())} of {bad.size} rows get no share from the projection", **facts
            )
        return failed(
            "gradient-scaled",
            f"the projection's share of {int(bad.sum())} rows is scaled, row {facts['token']} by {per[0]:.4g}",
            **facts,
        )
    clamped = np.abs(got).max() < (1 - tolerances.NEAR) * np.abs(expected).max() and _clamped(got, expected, bound)
    if clamped:
        return failed("gradient-scaled", "the gradient is clamped", **facts)
    masked = (np.abs(got - expected) <= bound) | (got == 0)
    if masked.all():
        return failed("gradient-scaled", "some entries of the projection's share are masked out", **facts)
    return failed(
        "wrong-gradient", "rows that no lookup read have another gradient than the projection's share", **facts
    )


def _agrees(seen: Pass) -> bool:
    """Whether the gradient agrees with a difference along the projection's own share on the rows that were read."""
    assert seen.along is not None and seen.gradient is not None and seen.gradient.table is not None
    claim = float((seen.gradient.table[seen.along.rows] * seen.along.direction).sum())
    return any(abs(q - claim) <= tolerances.difference_loss(q) for q in seen.along.quotients)


def _follows(seen: Pass) -> bool:
    """Whether the projection reads what is written to the table: of a copy, differences measure the lookup's share alone."""
    writing = seen.through
    if writing is None:
        return True
    return bool(np.any(writing.before[:, writing.rows[0]] != writing.after[:, writing.rows[0]]))


def _clamped(got: Array, expected: Array, bound: Array) -> bool:
    limit = float(np.abs(got).max())
    return bool((np.abs(got - np.clip(expected, -limit, limit)) <= bound + tolerances.NEAR * limit).all())


@requirement(
    "gradient.lookup-share",
    statement="On the rows that were read, what is left of the gradient is the lookup's share, as central differences measure it.",
    formula="dL/dE[v] - (R^T h)[v] = dL/dE_in[v], times the declared input gradient scale; padding rows masked",
    source=SUM,
    bug="pytorch/pytorch#99181",
    why="On the rows that were read both uses contribute. If the lookup's part is missing or scaled, these rows "
    "learn too little or too much, and the loss curve hardly shows it.",
    example="""
        import torch
        E = torch.tensor([[1.0, 2.0], [3.0, 1.0]], requires_grad=True)
        R, step = torch.tensor([1.0, -1.0]), torch.tensor([0.01, 0.0])
        loss = lambda row: R @ (E @ row**2)  # row: what the lookup of token 0 returned
        head = R[0] * E[0, 0] ** 2  # the projection's share
        left = lambda row: (torch.autograd.grad(loss(row), E)[0][0, 0] - head).item()
        print(round(((loss(E[0] + step) - loss(E[0] - step)) / 0.02).item(), 2))  # -> -4.0
        print(left(E[0]))  # -> -4.0
        # broken: nothing comes back from the lookup
        print(left(E[0].detach()))  # -> 0.0
    """,
)
def lookup_share(case: Case) -> Finding:
    if _frozen(case):
        return skipped("the table requires no gradient")
    asked, inconclusive = 0, ""
    for seen, form in _graded(case):
        assert seen.gradient is not None
        if seen.gradient.table is None or not form.found:
            continue
        if isinstance(first_off(seen), Off):
            inconclusive = "the projection's share is wrong, so what is left of the gradient is not the lookup's"
            continue
        found = _nothing(seen, form) or _padding(case, seen, form)
        if found is not None:
            return found
        for finding in measured(seen):
            if finding.verdict == "fail":
                return finding
            if finding.verdict == "pass":
                asked += 1
            else:
                inconclusive = finding.message
    if asked:
        return passed(f"{asked} central differences agree with what is left of the gradient")
    return skipped(f"inconclusive: {inconclusive}") if inconclusive else _not_asked(case)


def _nothing(seen: Pass, form: Explained) -> Finding | None:
    """Rows that were read and get exactly no gradient, where the projection owes them a share: both are cut off."""
    assert seen.gradient is not None and seen.gradient.table is not None
    if separate(seen):
        return None
    rows = np.asarray([r for r in seen.lookup_rows if r < min(form.columns, seen.table.shape[0])], dtype=np.int64)
    rows = rows[~np.any(seen.gradient.table[rows], axis=1)]
    share, bound = rows_share(seen, form, rows)
    rows = rows[(np.abs(share) > tolerances.FITTED * bound).any(1)]
    if not rows.size:
        return None
    several = f"rows {rows.tolist()[:8]} were read and get" if rows.size > 1 else f"row {rows[0]} was read and gets"
    return failed(
        "missing-rows",
        f"{several} no gradient at all: the projection's share is cut off there, too",
        missing=rows.tolist()[:16],
        mode=seen.probe.mode,
    )


def _padding(case: Case, seen: Pass, form: Explained) -> Finding | None:
    """A declared padding row must really be masked."""
    rows = np.asarray(
        [r for r in case.declared.padding_rows if r in seen.lookup_rows and r < seen.table.shape[0]], dtype=np.int64
    )
    if rows.size == 0:
        return None
    share, bound = rows_share(seen, form, rows)
    for i, row in enumerate(rows):
        if (np.abs(share[i]) > tolerances.FITTED * bound[i]).any():
            return failed(
                "declared-but-absent",
                f"row {row} is declared a padding row, but it gets the lookup's share of the gradient",
                row=int(row),
            )
    return None


@requirement(
    "gradient.unread-rows",
    statement="In an untied model, a row that no lookup read gets no gradient from the other use.",
    formula="untied: dL/dE_in[v] = 0 for every v that no lookup read",
    source="the mirror image: no shared gradient",
    why="In an untied model the two matrices learn apart. If the projection's share reaches the lookup's table, "
    "they are tied after all, and nobody meant it.",
    example="""
        import torch
        E_in, E_out = torch.ones(3, 2, requires_grad=True), torch.ones(3, 2, requires_grad=True)
        share = lambda head: torch.autograd.grad((E_in[0] @ head.T).sum(), E_in)[0][2].tolist()
        print(share(E_out))  # -> [0.0, 0.0]
        # broken: the projection reads the lookup's table
        print(share(E_in))  # -> [1.0, 1.0]
    """,
)
def unread_rows(case: Case) -> Finding:
    if case.declared.tied:
        return skipped("declared tied: those rows owe the projection's share (gradient.head-share)")
    for seen, _ in _graded(case):
        assert seen.gradient is not None
        gradient = seen.gradient.table
        if gradient is None or not separate(seen):
            continue
        rows = np.setdiff1d(np.arange(gradient.shape[0]), seen.lookup_rows)
        for start in range(0, rows.size, ROWS):
            part = gradient[rows[start : start + ROWS]]
            if np.any(part):
                row = int(rows[start + int(np.abs(part).max(1).argmax())])
                return failed(
                    "forced-tie",
                    f"row {row} was not read, and its gradient is not zero: the other use gives it a share",
                    row=row,
                )
        return passed("rows that were not read have no gradient")
    return skipped("the lookup's own table has no gradient to look at")


@requirement(
    "gradient.same-route",
    statement="Where the table is computed, both uses send their gradient on to the same parameters in the same way.",
    formula="J_in^T G = J_out^T G for every cotangent G of the table, by parameter",
    source="the chain rule through whatever the table is computed from: one set of parameters",
    why="A table may be computed, say as base + adapter. If one use does not see the adapter, or sees it scaled, "
    "that use trains another table.",
    example="""
        import torch
        base, adapter = torch.eye(2), torch.zeros(2, 2, requires_grad=True)
        G = torch.tensor([[1.0, 2.0], [3.0, 4.0]])  # the same gradient arrives at both uses
        send = lambda E: torch.autograd.grad((G * E).sum(), adapter)[0][0].tolist()
        print(send(base + adapter), send(base + adapter))  # -> [1.0, 2.0] [1.0, 2.0]
        # broken: the projection sees half of the adapter
        print(send(base + adapter), send(base + 0.5 * adapter))  # -> [1.0, 2.0] [0.5, 1.0]
    """,
)
def same_route(case: Case) -> Finding:
    asked = False
    for seen, _ in _graded(case):
        assert seen.gradient is not None
        for name, one, other, gap in seen.gradient.routes:
            asked = True
            if gap <= tolerances.route(max(one, other), seen.table_dtype):
                continue
            if other <= tolerances.NOTHING * one:
                return failed(
                    "detached-projection", f"the projection sends {name} no gradient, the lookup does", parameter=name
                )
            if one <= tolerances.NOTHING * other:
                return failed(
                    "detached-lookup", f"the lookup sends {name} no gradient, the projection does", parameter=name
                )
            return failed(
                "gradient-scaled", f"the two uses send {name} different gradients for one cotangent", parameter=name
            )
    return (
        passed("both uses reach the same parameters alike")
        if asked
        else skipped("the table is not computed twice from parameters")
    )


@requirement(
    "gradient.accumulates",
    statement="Repeated backward passes add.",
    formula="two backward passes without clearing give 2 dL/dE",
    source="torch.Tensor.backward: gradients accumulate in the leaves",
    bug="NVIDIA/TransformerEngine#3437",
    why="People add up the gradients of several small batches before a step. A use that overwrites instead of "
    "adding keeps only the last batch.",
    example="""
        import torch
        E = torch.ones(3, 2, requires_grad=True)
        loss = lambda: (E[0] @ E.T).sum()
        loss().backward()
        once = E.grad.clone()
        loss().backward()
        print(torch.equal(E.grad, 2 * once))  # -> True
        # broken: the second pass overwrites
        E.grad.copy_(torch.autograd.grad(loss(), E)[0])
        print(torch.equal(E.grad, 2 * once))  # -> False
    """,
)
def accumulates(case: Case) -> Finding:
    for seen, _ in _graded(case):
        assert seen.gradient is not None
        once, twice = seen.gradient.table, seen.gradient.again
        if once is None or twice is None:
            continue
        top = float(np.abs(once).max())
        for start in range(0, once.shape[0], ROWS):
            a, b = once[start : start + ROWS].astype(np.float64), twice[start : start + ROWS].astype(np.float64)
            gap = np.abs(b - 2 * a)
            if gap.max() > tolerances.twice(top, seen.table_dtype):
                row = start + int(gap.max(1).argmax())
                ratio = float(np.linalg.norm(b) / (np.linalg.norm(a) + tolerances.TINY))
                return failed(
                    "wrong-gradient",
                    f"after two backward passes the gradient is {ratio:.4g} times that of one, not 2 (row {row})",
                    row=row,
                    factor=ratio,
                )
        return passed("two backward passes give twice the gradient")
    return skipped("not asked of this subject")


@requirement(
    "gradient.every-call",
    statement="Every call uses the table in the same way: no use comes and goes between consecutive calls of one mode.",
    formula="edges(graph_k -> E) equal for k = 1..4, in eval and in train mode; in quick: no fewer in train mode",
    source="a stale copy may show only at the second call",
    why="A copy that is filled at the first call is read from the second on. From then on training does not reach "
    "that use, and a test of the first call does not see it.",
    example="""
        import torch
        E, kept, h = torch.ones(2, 2, requires_grad=True), {}, torch.ones(1, 2)
        print((h @ E.T).requires_grad, (h @ E.T).requires_grad)  # -> True True
        # broken: from the second call on a copy is read
        def logits():
            used = kept.get("copy", E)
            kept["copy"] = E.detach().clone()
            return h @ used.T
        print(logits().requires_grad, logits().requires_grad)  # -> True False
    """,
)
def every_call(case: Case) -> Finding:
    asked = False
    for seen, _ in _graded(case):
        assert seen.gradient is not None
        edges, trained = seen.gradient.edges, seen.gradient.train_edges
        if edges and trained and min(trained) < min(edges):
            return failed(
                "detached-projection",
                f"in train mode the table is used {trained[0]} times in the graph, in eval mode {edges[0]} times",
                edges=[*edges, *trained],
                mode="train",
            )
        if len(edges) < 2:
            continue
        asked = True
        if len(set(edges)) > 1:
            return failed(
                "stale-copy",
                f"on consecutive calls in {seen.probe.mode} mode the table is used {', '.join(map(str, edges))} times in the graph",
                edges=list(edges),
                mode=seen.probe.mode,
            )
    return passed("the same uses on every call") if asked else skipped("not asked of this subject or in this profile")


@requirement(
    "gradient.own-loss",
    statement="The gradient of the model's own loss obeys the same law: both uses give their share.",
    formula="dL/dE = the difference quotient for L = loss(ids, targets), on rows read and on rows not read",
    source="the chain rule, for the loss that is trained: a fused loss may go past the head",
    bug="unslothai/unsloth-zoo#892",
    why="A fused loss computes logits and loss in one go, past the head. If it gives another gradient than the "
    "plain loss, training goes wrong and the logits show nothing of it.",
    example="""
        import torch
        from torch.nn.functional import cross_entropy
        E, step = torch.eye(2, requires_grad=True), torch.tensor([[0.0, 0.0], [0.01, 0.0]])
        loss = lambda head: cross_entropy(E[[0]] @ head.T, torch.tensor([1]))
        print(round(((loss(E + step) - loss(E - step)) / 0.02).item(), 2))  # -> -0.73
        grad = lambda head: round(torch.autograd.grad(loss(head), E)[0][1, 0].item(), 2)
        print(grad(E))  # -> -0.73
        # broken: the same values, but the projection's share arrives twice
        print(grad(E + (E - E.detach())))  # -> -1.46
    """,
)
def own_loss(case: Case) -> Finding:
    if case.loss is None:
        return skipped(case.why("own_loss", "the model has no loss of its own that can be asked"))
    if _frozen(case):
        return skipped("the table requires no gradient")
    for name, difference in (("projection", case.loss.unseen), ("lookup", case.loss.seen)):
        claimed = case.loss.gradient[difference.rows].astype(np.float64)
        claim = float((claimed * difference.direction).sum())
        quotients = np.array(difference.quotients)
        best = int(np.abs(quotients - claim).argmin())
        if abs(quotients[best] - claim) <= tolerances.difference_loss(quotients[best]):
            continue
        if quotients.size < 2:
            continue
        nearest = int(np.abs(np.diff(quotients)).argmin())
        if tolerances.steps_disagree(quotients[nearest : nearest + 2], claim):
            continue
        quotient = float(quotients[nearest])
        off = abs(claim - quotient) / max(abs(claim), abs(quotient), tolerances.TINY)
        if difference.control is not None and not tolerances.control_is_sound(*difference.control, off):
            return skipped("the network's own parameters fail the same control: the body cuts its gradient")
        factor = claim / quotient if quotient else 0.0
        if abs(claim) <= tolerances.NEAR * abs(quotient):
            return failed(
                f"detached-{name}",
                f"the model's own loss gives the table no gradient through the {name}",
                expected=quotient,
                seen=claim,
            )
        return failed(
            "gradient-scaled",
            f"through the {name} the gradient of the model's own loss is {factor:.4g} times what differences measure",
            expected=quotient,
            seen=claim,
            factor=factor,
        )
    return passed("both uses give their share of the model's own loss")
