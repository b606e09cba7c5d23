"""Central differences of what a model computes, along directions in the rows of the table that a pass reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import algebra, tolerances
from . import probe as probes
from .evidence import Array, Difference, Loss, Pass, Sharp, kept
from .premise import has, writable

# Of how many rows each is asked alone where the lookup's share is off.
ROWWISE = 6


def _directions(seen: Pass, share: Array, head: Array, count: int) -> Iterator[Array]:
    """The claimed share first (it sees any factor), then random ones (they see missing rows); each at right angles to the
    projection's share, row by row, so that only the lookup's is measured."""
    rng = np.random.default_rng([seen.probe.seed, 53])
    norms = np.linalg.norm(share, axis=1, keepdims=True)
    size = float(norms.max(initial=0.0))
    claimed = share / (size or 1.0)
    drawn = [rng.standard_normal(share.shape) / np.sqrt(share.shape[1]) for _ in range(2)]
    # A row that claims nothing is the one to doubt: it weighs more in the random directions.
    for direction in drawn:
        direction[norms[:, 0] <= tolerances.SUSPECT * size] *= 6
    several = ([claimed] if size > 0 else []) + drawn
    for direction in several if count > 1 else [claimed + 0.5 * drawn[0]]:
        yield _aside(direction, head)


def _aside(direction: Array, other: Array) -> Array:
    """A direction without what it has, row by row, of another."""
    along = (other * direction).sum(1, keepdims=True) / ((other * other).sum(1, keepdims=True) + tolerances.TINY)
    return np.asarray(direction - along * other)


def shares(seen: Pass, gradient: Array, form: algebra.Explained, table: Array) -> tuple[Array, Array, Array]:
    """The rows that a lookup read, the lookup's claimed share on them, and the projection's."""
    rows = np.asarray(
        [r for r in seen.lookup_rows if r < table.shape[0] and r not in seen.declared.padding_rows], dtype=np.int64
    )
    head = np.zeros((rows.size, table.shape[1]))
    if not algebra.separate(seen):
        inside = rows < form.columns
        head[inside] = algebra.share_of_head(form, algebra.projected(seen), seen.cotangent, rows[inside])
    return rows, gradient[rows].astype(np.float64) - head, head


def _quotients(
    subject: Any, seen: Pass, rows: Array, direction: Array, steps: tuple[float, ...], claim: float, allowed: float
) -> Difference | None:
    """Central differences of <R, logits> at falling steps, until one agrees with the claim."""

    def value() -> float:
        return float((seen.cotangent * _finite(subject.logits(seen.probe.ids, seen.probe.train))).sum())

    return _central(subject, seen, rows, direction, steps, 1.0, value, lambda q: abs(q - claim) <= allowed)


def _central(
    subject: Any,
    seen: Pass,
    rows: Array,
    direction: Array,
    steps: tuple[float, ...],
    factor: float,
    value: Callable[[], float],
    agreed: Callable[[float], bool],
) -> Difference | None:
    """(value(E + s U) - value(E - s U)) / 2 s on some rows, s = step * factor * spread of E, along the direction that the
    table's dtype really holds; stops at the first quotient that is ``agreed``."""
    if not rows.size:  # all that was read is a padding row
        return None
    spread = float(np.std(seen.table[rows])) or 1.0
    quantize = getattr(subject, "quantized", None) or (lambda values: values)
    old = seen.table[rows].astype(np.float64)
    used, quotients = [], []
    for step in steps:
        values, moved = [], []
        for sign in (1, -1):
            new = np.asarray(quantize(old + sign * step * spread * factor * direction))
            with subject.written("table", rows, new):
                values.append(value())
            moved.append(new)
        actual = moved[0] - moved[1]
        scale = float((actual * direction).sum() / ((direction * direction).sum() + tolerances.TINY))
        if scale == 0:
            continue
        used.append(step)
        quotients.append((values[0] - values[1]) / scale)
        if agreed(quotients[-1]):
            break
    return Difference(rows, direction, tuple(used), tuple(quotients)) if used else None


def _controlled(subject: Any, seen: Pass, found: Difference, wanted: float, allowed: float) -> Difference:
    """Where a difference is about to fail, the same for the network's own parameters: a body that cuts its gradient on
    purpose fails that too, and then it is not the tie's fault."""
    if min(abs(q - wanted) for q in found.quotients) <= tolerances.FITTED * allowed or not has(subject, "control"):
        return found
    return dataclasses.replace(found, control=subject.control(seen.probe, seen.cotangent))


def _finite(logits: Array) -> Array:
    return np.where(np.isfinite(logits), logits, 0.0)


def differences(subject: Any, seen: Pass, count: int) -> Pass:
    """The pass with differences along ``count`` directions (see `gather.Effort`), and with those that a failure is named from."""
    if not count or not writable(subject, "table"):
        return seen
    assert seen.gradient is not None and seen.gradient.table is not None
    rows, share, head = shares(seen, seen.gradient.table, seen.explained, seen.table)
    out, off = [], False
    for direction in _directions(seen, share, head, count):
        terms = (share * direction).sum(1)
        allowed = tolerances.difference(terms, 0.0)
        wanted = float(terms.sum()) / seen.declared.input_gradient_scale
        found = _quotients(subject, seen, rows, direction, tolerances.STEPS, wanted, allowed)
        if found is not None:
            out.append(_controlled(subject, seen, found, wanted, allowed))
            off |= min(abs(q - wanted) for q in found.quotients) > allowed
    apart = _apart(subject, seen, rows, share, head) if off else ()
    rowwise, total = _placed(subject, seen, rows, share, head) if off else ((), None)
    along = None
    unread = probes.unread(seen.probe, seen.lookup_rows, min(seen.explained.columns, seen.table.shape[0]), 8)
    if unread.size and not np.any(seen.gradient.table[unread]) and np.any(head):
        claimed = float((seen.gradient.table[rows] * head).sum())
        along = _quotients(
            subject, seen, rows, head / np.abs(head).max(), tolerances.STEPS, claimed / np.abs(head).max(), 0.0
        )
    fixed = _fixed(subject, seen, rows, share, head)
    return kept(seen, differences=tuple(out), along=along, apart=apart, rowwise=rowwise, total=total, fixed=fixed)


def _fixed(subject: Any, seen: Pass, rows: Array, share: Array, head: Array) -> Difference | None:
    """Along the projection's share, each row as much as any, on rows that are read whatever the ids are: other directions are
    at right angles to that share, and no further example leaves those rows unread."""
    norms = np.linalg.norm(head, axis=1)
    fixed = ~np.isin(rows, seen.probe.ids) & (norms > 0)
    if not fixed.any():
        return None
    weights = np.random.default_rng([seen.probe.seed, 127]).uniform(0.5, 1.5, int(fixed.sum()))
    direction = head[fixed] * (weights / norms[fixed])[:, None]
    terms = ((share[fixed] / seen.declared.input_gradient_scale + head[fixed]) * direction).sum(1)
    claim, allowed = float(terms.sum()), tolerances.difference(terms, 0.0)
    found = _quotients(subject, seen, rows[fixed], direction, tolerances.STEPS, claim, allowed)
    return found and _controlled(subject, seen, found, claim, allowed)


def _apart(subject: Any, seen: Pass, rows: Array, share: Array, head: Array) -> tuple[Difference, ...]:
    """The two differences of `evidence.Pass.apart`, where some rows were read once and some more often."""
    count = np.array([(seen.probe.ids == row).sum() for row in rows])
    once, more = count == 1, count > 1
    if not once.any() or not more.any():
        return ()
    scale = float(np.linalg.norm(share, axis=1).max(initial=0.0)) or 1.0
    drawn = np.random.default_rng([seen.probe.seed, 113]).standard_normal(share[more].shape)
    straight = _aside(share[once], head[once]) / scale
    claim = float((share[once] * straight).sum()) / seen.declared.input_gradient_scale
    allowed = tolerances.difference((share[once] * straight).sum(1), 0.0)
    across = _aside(_aside(drawn, head[more]), _aside(share[more], head[more]))
    found = (
        _quotients(subject, seen, rows[once], straight, tolerances.STEPS, claim, allowed),
        _quotients(subject, seen, rows[more], across, tolerances.STEPS, 0.0, 0.0),
    )
    return tuple(difference for difference in found if difference is not None)


def _placed(
    subject: Any, seen: Pass, rows: Array, share: Array, head: Array
) -> tuple[tuple[Difference, ...], Difference | None]:
    """Where a share is off: the differences of `evidence.Pass.rowwise` and `evidence.Pass.total`."""
    g = seen.declared.input_gradient_scale
    norms = np.linalg.norm(share, axis=1)
    found = []
    for i in np.argsort(-norms, kind="stable")[:ROWWISE]:
        own = _aside(share[i : i + 1], head[i : i + 1])
        size = np.linalg.norm(own)
        if size > tolerances.SUSPECT * norms.max(initial=0.0):
            claim = float((share[i] * own[0]).sum() / size) / g
            found.append(
                _quotients(
                    subject,
                    seen,
                    rows[i : i + 1],
                    own / size,
                    tolerances.STEPS,
                    claim,
                    tolerances.TRUNCATION * abs(claim),
                )
            )
    vector = np.random.default_rng([seen.probe.seed, 131]).standard_normal(share.shape[1]) / np.sqrt(share.shape[1])
    everywhere = np.broadcast_to(vector, share.shape).copy()
    terms = ((share / g + head) * everywhere).sum(1)
    allowed = tolerances.difference(terms, 0.0)
    total = _quotients(subject, seen, rows, everywhere, tolerances.STEPS, float(terms.sum()), allowed)
    return tuple(one for one in found if one is not None), total


def sharp(subject: Any, seen: Pass) -> Pass:
    """The pass with the same in float64, where the body really computes in it."""
    try:
        with subject.sharpened() as sharper:
            if not sharper:
                return seen
            look = subject.look(seen.probe)
            logits, dtype, gradient = subject.gradient(seen.probe, lambda shape: seen.cotangent)
            if dtype != "float64" or gradient.table is None or look is None or logits.shape != seen.logits.shape:
                return seen
            twin = dataclasses.replace(
                seen,
                logits=logits,
                dtype=dtype,
                table=look.table.values,
                table_dtype="float64",
                look=look,
                gradient=gradient,
                injected=None,
            )
            if not twin.explained.found:
                return seen
            rows, share, head = shares(twin, gradient.table, twin.explained, twin.table)
            out = []
            for direction in _directions(twin, share, head, 3):
                terms = (share * direction).sum(1)
                wanted = float(terms.sum()) / seen.declared.input_gradient_scale
                allowed = tolerances.difference_sharp(terms, 0.0)
                found = _quotients(subject, twin, rows, direction, tolerances.SHARP_STEPS, wanted, allowed)
                if found is not None:
                    out.append(_controlled(subject, twin, found, wanted, allowed))
            coarsest = max(look.casts, key=tolerances.unit, default="float64")
            return kept(seen, sharp=Sharp(share, logits, tuple(out), coarsest))
    except (RuntimeError, TypeError, ValueError, AssertionError, IndexError):
        return seen


def loss_evidence(subject: Any, seen: Pass, apart: bool = True) -> Loss | None:
    """The model's own loss against differences, along rows that no lookup read and along rows that one did; ``apart`` or
    along both at once."""
    if not has(subject, "own_loss") or not writable(subject, "table"):
        return None
    rng = np.random.default_rng([seen.probe.seed, 83])
    ids = seen.probe.ids
    targets = rng.integers(0, min(seen.logits.shape[1], seen.declared.vocabulary or seen.table.shape[0]), ids.shape)
    found = subject.own_loss(ids, targets)
    if found is None:
        return None
    _, gradient = found
    limit = min(seen.table.shape[0], seen.logits.shape[1])
    unseen = np.unique(np.concatenate([probes.unread(seen.probe, seen.lookup_rows, limit, 32), targets.ravel()]))
    unseen = np.setdiff1d(unseen, seen.lookup_rows)
    read = np.asarray(
        [r for r in seen.lookup_rows if r not in seen.declared.padding_rows and r < limit], dtype=np.int64
    )
    pairs = []
    for rows in (unseen, read) if apart else (np.concatenate([unseen, read]),):
        claimed = gradient[rows].astype(np.float64)
        norm = float(np.linalg.norm(claimed))
        direction = claimed / norm if norm else rng.standard_normal(claimed.shape)
        direction = direction + 0.5 * rng.standard_normal(claimed.shape) / np.sqrt(max(claimed.size, 1))
        claim = float((claimed * direction).sum())
        pairs.append(_loss_quotients(subject, seen, ids, targets, rows, direction, claim))
    first, last = pairs[0], pairs[-1]
    if first is None or last is None:
        return None
    return Loss(first, last, np.array(gradient) if gradient.size < 1 << 22 else gradient)


def _loss_quotients(
    subject: Any, seen: Pass, ids: Array, targets: Array, rows: Array, direction: Array, claim: float
) -> Difference | None:
    wide = float(np.sqrt(direction.shape[1]))

    def value() -> float:
        return float(subject.loss_value(ids, targets))

    def agreed(quotient: float) -> bool:
        return abs(quotient - claim) <= tolerances.LOSS_TRUNCATION * abs(quotient)

    found = _central(subject, seen, rows, direction, tolerances.LOSS_STEPS, wide, value, agreed)
    if found is None or not np.intersect1d(rows, seen.lookup_rows).size:  # the projection's share passes no body
        return found
    return _controlled(subject, seen, found, claim, tolerances.LOSS_TRUNCATION * abs(claim) / tolerances.FITTED)
