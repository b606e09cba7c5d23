"""The lookup's share against the central differences that were measured of it, and the name of what is off."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import tolerances
from .evidence import Array, Difference, Pass
from .requirement import Finding, failed, passed, skipped
from .shares import product_dtype, rows_share


def measured(seen: Pass) -> list[Finding]:
    """What each difference of a pass says of the gradient's rows that a lookup read; it ends with the first that decides."""
    out: list[Finding] = []
    sharp = seen.sharp
    if seen.fixed is not None:
        out.append(_fixed(seen, seen.fixed))
        if out[0].verdict == "fail":
            return out
    if sharp is not None:
        for i, difference in enumerate(sharp.differences):
            claimed = sharp.gradient / seen.declared.input_gradient_scale
            out.append(_compare(seen, difference, claimed, True, i == 0))
        out.append(_own_against_sharp(seen))
        if any(f.verdict == "pass" for f in out) or any(f.verdict == "fail" for f in out):
            return out
    for i, difference in enumerate(seen.differences):
        out.append(_compare(seen, difference, _claimed(seen, difference.rows), False, i == 0))
    return out


def _claimed(seen: Pass, rows: Array) -> Array:
    """What the lookup's share on some rows is to be by differences, (rows, D): without the scale that is declared of it."""
    return np.asarray(rows_share(seen, seen.explained, rows)[0] / seen.declared.input_gradient_scale)


def _gradient(seen: Pass, rows: Array) -> tuple[Array, Array]:
    """The gradient on some rows (rows, D), and what of it is the projection's."""
    assert seen.gradient is not None and seen.gradient.table is not None
    gradient = seen.gradient.table[rows].astype(np.float64)
    return gradient, gradient - rows_share(seen, seen.explained, rows)[0]


def _fixed(seen: Pass, difference: Difference) -> Finding:
    """Both shares at once, on rows that are read whatever the ids are."""
    gradient, head = _gradient(seen, difference.rows)
    found = _agreement(seen, difference, _claimed(seen, difference.rows) + head, False)
    if isinstance(found, Finding):
        return found
    claim, quotient, _ = found
    facts = {"expected": quotient, "seen": claim, "rows": difference.rows.tolist()[:16], "mode": seen.probe.mode}
    which = f"rows {facts['rows'][:8]}, which are read although they are none of the ids, get"
    lacking = np.linalg.norm(gradient, axis=1) <= tolerances.SUSPECT * np.linalg.norm(head, axis=1)
    if lacking.any():
        facts["missing"] = difference.rows[lacking].tolist()[:16]
        return failed("missing-rows", f"{which} no gradient where the projection owes them a share", **facts)
    return failed("wrong-gradient", f"{which} another gradient than differences measure", **facts)


def _compare(seen: Pass, difference: Difference, claimed: Array, sharp: bool, first: bool) -> Finding:
    found = _agreement(seen, difference, claimed, sharp)
    return found if isinstance(found, Finding) else _name_lookup(seen, difference, claimed, *found, first)


def _agreement(seen: Pass, difference: Difference, claimed: Array, sharp: bool) -> Finding | tuple[float, float, float]:
    """That a difference agrees with what is claimed of each row, or why it says nothing; else the claim, the quotient that it
    is not, and the size of the claimed terms."""
    terms = (claimed * difference.direction).sum(1)
    claim = float(terms.sum())
    coarse = max(seen.dtype, seen.table_dtype, product_dtype(seen) or seen.dtype, key=tolerances.unit)
    dtype = seen.sharp.coarsest if sharp and seen.sharp is not None else coarse
    rule = tolerances.difference_sharp if sharp else tolerances.difference
    gaps, noises = [], []
    for step, quotient in zip(difference.steps, difference.quotients, strict=True):
        spread = step * (float(np.std(seen.table[difference.rows])) or 1.0)
        R = seen.cotangent[:, : seen.legal.shape[1]]
        noise = tolerances.logits_noise(_finite(seen.legal), R, dtype, spread)
        gap = abs(quotient - claim)
        if gap <= rule(terms, noise):
            return passed("agrees")
        gaps.append(gap)
        noises.append(noise)
    quotients = np.array(difference.quotients)
    size = float(np.sqrt((terms**2).sum()))
    usable = [i for i in range(len(quotients)) if not tolerances.rounding_hides(noises[i], min(gaps))]
    if len(usable) < 2:
        return skipped("rounding hides the difference at every step")
    last = quotients[usable[-1]]
    if tolerances.steps_disagree(quotients[usable], claim):
        return skipped(f"difference quotients disagree with each other: {', '.join(f'{q:.4g}' for q in quotients)}")
    off = abs(claim - float(last)) / max(abs(claim), abs(float(last)), tolerances.TINY)
    if difference.control is not None and not tolerances.control_is_sound(*difference.control, off):
        return skipped("the network's own parameters fail the same control: the body cuts its gradient")
    return claim, float(last), size


def _finite(logits: Array) -> Array:
    return np.where(np.isfinite(logits), logits, 0.0)


def _name_lookup(
    seen: Pass, difference: Difference, claimed: Array, claim: float, quotient: float, size: float, first: bool
) -> Finding:
    facts: dict[str, Any] = {
        "expected": quotient,
        "seen": claim,
        "rows": difference.rows.tolist()[:16],
        "mode": seen.probe.mode,
        "where": seen.look.table.where if seen.look is not None else None,
    }
    if seen.look is not None and seen.look.cut_lookups:
        facts["where"] = seen.look.cut_lookups[0]
        return failed(
            "detached-lookup",
            "a lookup reads the table outside the graph: the rows that it reads lack its share",
            **facts,
        )
    norms = np.linalg.norm(claimed, axis=1)
    tiny = norms <= tolerances.SUSPECT * (norms.max() + tolerances.TINY)
    if norms.max() <= tolerances.NOTHING * abs(quotient) or not norms.any() or size <= tolerances.NEAR * abs(quotient):
        return failed(
            "detached-lookup",
            "the rows that were read get the projection's share alone: the lookup gives the table no gradient",
            **facts,
        )
    if tiny.any():
        rows = difference.rows[tiny].tolist()
        return failed(
            "missing-rows", f"rows {rows[:8]} were read but get no share from the lookup", missing=rows[:16], **facts
        )
    return _name_factor(seen, claim, quotient, first, facts)


def _name_factor(seen: Pass, claim: float, quotient: float, first: bool, facts: dict[str, Any]) -> Finding:
    """The name of a share that is there, in all rows, and is not what differences measure."""
    if _not_added(seen):
        return failed(
            "wrong-gradient",
            "the rows that were read once get what differences measure, and those that were read more often another gradient: "
            "what each reading sends back is not added up",
            **facts,
        )
    if first:
        factor = claim / quotient if quotient else 0.0
        g = seen.declared.input_gradient_scale
        if g != 1 and abs(factor * g - 1) <= tolerances.LOSS_TRUNCATION:
            return failed(
                "declared-but-absent",
                f"an input gradient scale of {g:.6g} is declared, but the lookup's share arrives as differences measure it",
                factor=factor * g,
                **facts,
            )
    right, off = _by_row(seen)
    if off and _total_agrees(seen):
        return failed(
            "wrong-gradient",
            f"summed over all rows the gradient is what differences measure, but not in row {min(off)}: what the readings send "
            "back arrives at other rows",
            row=min(off),
            **facts,
        )
    if first and _one_factor(list(off.values()), factor, bool(right)):
        words = f"the lookup's share is {factor:.5g} times what differences measure"
        return failed("gradient-scaled", words, factor=factor, **facts)
    if off:
        named = ", ".join(f"{value:.3g} times in row {row}" for row, value in list(off.items())[:3])
        rest = f" and right in row {right[0]}" if right else ""
        return failed("gradient-scaled", f"the lookup's share is not what differences measure: {named}{rest}", **facts)
    low, high = tolerances.PLAUSIBLE_FACTORS
    return failed(
        "gradient-scaled" if low < abs(claim / (quotient or tolerances.TINY)) < high else "wrong-gradient",
        "the lookup's share is not what differences measure",
        **facts,
    )


def _one_factor(factors: list[float], factor: float, some_right: bool) -> bool:
    """Whether every row that was asked alone has the factor that the whole share has."""
    return not some_right and all(abs(one - factor) <= tolerances.LOSS_TRUNCATION * abs(factor) for one in factors)


def _by_row(seen: Pass) -> tuple[list[int], dict[int, float]]:
    """Of the rows that were asked alone: those that get what differences measure, and how many times that the others get."""
    right, off = [], {}
    for difference in seen.rowwise:
        found = _agreement(seen, difference, _claimed(seen, difference.rows), False)
        row = int(difference.rows[0])
        if isinstance(found, tuple):
            off[row] = found[0] / (found[1] or tolerances.TINY)
        elif found.verdict == "pass":
            right.append(row)
    return right, off


def _total_agrees(seen: Pass) -> bool:
    """Whether both shares, summed over all rows that were read, are what a difference measures."""
    if seen.total is None:
        return False
    rows = seen.total.rows
    found = _agreement(seen, seen.total, _claimed(seen, rows) + _gradient(seen, rows)[1], False)
    return isinstance(found, Finding) and found.verdict == "pass"


def _not_added(seen: Pass) -> bool:
    """Whether the gradient is right where a row was read once, and points elsewhere where one was read more often: a factor
    for each row, as an option that weighs by frequency has, would leave the direction."""
    if len(seen.apart) < 2:
        return False
    once, more = seen.apart
    share = _claimed(seen, once.rows)
    terms = (share * once.direction).sum(1)
    if min(abs(q - terms.sum()) for q in once.quotients) > tolerances.difference(terms, 0.0):
        return False
    share = _claimed(seen, more.rows)
    size = np.linalg.norm(share, axis=1) * np.linalg.norm(more.direction, axis=1)
    return min(map(abs, more.quotients)) > tolerances.FITTED * tolerances.difference(size, 0.0)


def _own_against_sharp(seen: Pass) -> Finding:
    """The share in the model's own dtype against the same in float64, row by row."""
    sharp = seen.sharp
    assert sharp is not None
    rows = np.asarray(
        [r for r in seen.lookup_rows if r < seen.table.shape[0] and r not in seen.declared.padding_rows], dtype=np.int64
    )
    scale = np.abs(_finite(sharp.logits)).max() + tolerances.TINY
    if np.abs(_finite(seen.logits) - _finite(sharp.logits)).max() > tolerances.same_body(seen.dtype) * scale:
        return skipped("float64 takes another path through the body")
    share, bound = rows_share(seen, seen.explained, rows)
    gap = np.linalg.norm(share - sharp.gradient, axis=1)
    norm = np.linalg.norm(sharp.gradient, axis=1)
    allowed = tolerances.own_against_sharp(norm, np.linalg.norm(bound, axis=1), seen.table_dtype)
    if (gap > allowed).any():
        row = int((gap / (allowed + tolerances.TINY)).argmax())
        factor = float((share[row] * sharp.gradient[row]).sum() / (norm[row] ** 2 + tolerances.TINY))
        return failed(
            "gradient-scaled",
            f"the lookup's share of row {rows[row]} is {factor:.4g} times the same in float64",
            row=int(rows[row]),
            factor=factor,
            mode=seen.probe.mode,
        )
    return passed("as in float64")
