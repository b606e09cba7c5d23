"""Relations by writing: what the logits do when rows of the table hold something else."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import algebra, tolerances
from . import probe as probes
from .differences import shares
from .evidence import Array, Pass, Writing
from .premise import writable


def write_rows(subject: Any, seen: Pass, side: str, before: Array | None = None) -> Writing | None:
    """One forward with rows written that no lookup of the pass reads: one random, one zero, one a copy of another."""
    if side == "head" and not algebra.separate(seen):
        side = "table"
    if not writable(subject, side):
        return None
    array = algebra.projected(seen) if side == "head" else seen.table
    limit = min(array.shape[0], seen.logits.shape[1], seen.declared.vocabulary or array.shape[0])
    rows = probes.unread(seen.probe, seen.lookup_rows, limit, 4)
    if rows.size == 0:
        return None
    rng = np.random.default_rng([seen.probe.seed, 61])
    spread = float(np.std(array[rows[:1]])) or float(np.std(array[: min(limit, 64)])) or 1.0
    roles, source = ["random", "zero", "copy"][: rows.size], -1
    if rows.size >= 4:
        source = int(rows[3])
        rows = rows[:3]
    elif rows.size == 3:
        roles, source = ["random", "zero", "copy"], int(rows[0])
    quantize = getattr(subject, "quantized", None) or (lambda values: values)
    drawn = np.asarray(quantize(rng.standard_normal((rows.size, array.shape[1])) * spread))
    values = np.zeros((rows.size, array.shape[1]))
    for i, role in enumerate(roles):
        if role == "random":
            values[i] = drawn[i]
        elif role == "copy":
            values[i] = values[0] if source == rows[0] else array[source]
    exact = before is None
    if before is None:
        before = subject.logits(seen.probe.ids, seen.probe.train)
    with subject.written(side, rows, values):
        after = subject.logits(seen.probe.ids, seen.probe.train)
    legal = seen.declared.vocabulary
    return Writing(rows, tuple(roles), values, before[:, :legal], after[:, :legal], side, source, exact)


def responds(subject: Any, seen: Pass, before: Array) -> bool:
    """Whether random vectors in the rows that the pass reads move the logit of any other token."""
    if not writable(subject, "table"):
        return True
    rows = np.asarray([r for r in seen.lookup_rows if r < seen.table.shape[0]], dtype=np.int64)
    others = np.setdiff1d(np.arange(seen.logits.shape[1]), rows)
    if not others.size:
        others = np.arange(seen.logits.shape[1])
    rng = np.random.default_rng([seen.probe.seed, 71])
    spread = float(np.std(seen.table[rows])) or 1.0
    with subject.written("table", rows, rng.standard_normal((rows.size, seen.table.shape[1])) * spread):
        after = subject.logits(seen.probe.ids, seen.probe.train)
    return not np.array_equal(before[:, others], after[:, others], equal_nan=True)


def unreached(subject: Any, seen: Pass) -> tuple[int, ...] | None:
    """Rows that were looked up, claim no share of the gradient, and move no other token's logit even where the ids are
    nothing but that token (among others, a mask may hide it)."""
    gradient = seen.gradient
    if gradient is None or gradient.table is None or not seen.explained.found or not subject.can_write("table"):
        return None
    tokens = np.unique(seen.probe.ids) if seen.look is None else seen.look.tokens
    if not tokens.size:
        return None
    rows, share, _ = shares(seen, gradient.table, seen.explained, seen.table)
    norms = np.linalg.norm(share, axis=1)
    suspects = [int(r) for r in rows[norms <= tolerances.SUSPECT * norms.max(initial=0.0)] if r in tokens][:4]
    rng = np.random.default_rng([seen.probe.seed, 89])
    dead = []
    for row in suspects:
        ids = np.full_like(seen.probe.ids, row)
        others = np.arange(seen.logits.shape[1]) != row
        before = subject.logits(ids)
        new = rng.standard_normal((1, seen.table.shape[1])) * (float(np.std(seen.table[: 1 << 12])) or 1.0)
        with subject.written("table", np.array([row]), new):
            after = subject.logits(ids)
        if np.array_equal(before[:, others], after[:, others], equal_nan=True):
            dead.append(row)
    return tuple(dead)
