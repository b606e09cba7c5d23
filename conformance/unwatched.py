"""What a pass that cannot be watched shows when rows of the table are written: which rows it reads, and which h it has."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from . import probe as probes
from . import tolerances
from .algebra import is_normalized
from .evidence import Array, Pass, Probe, Writing
from .solving import few

# Rows are looked at one by one only where a few of them do not all behave alike.
SAMPLE = 4
# Rows that are written at once where more would tell no more.
BLANK = 1 << 10
# Passes that reading h back may cost.
MOST = 32
# Tokens that are asked alone in one example, and in one of a large model.
TOKENS = 64
FEW = 4


def observed(subject: Any, seen: Pass) -> Pass:
    """The pass with the rows that it reads beyond its ids, and with what reads h back where it cannot be solved for."""
    seen = dataclasses.replace(seen, beyond=rows_beyond(subject, seen))
    columns = min(seen.logits.shape[1], seen.projected.shape[0])
    unknown = columns <= seen.projected.shape[1] or few(seen)
    if not unknown and not seen.declared.output_bias:
        return seen
    rows = probes.unread(seen.probe, seen.lookup_rows, _limit(seen), BLANK)
    if not rows.size:
        return seen
    blank = _put(subject, seen, rows, np.zeros((rows.size, seen.projected.shape[1])))
    return dataclasses.replace(seen, blank=blank, units=_units(subject, seen, rows) if unknown else ())


def _limit(seen: Pass) -> int:
    rows = seen.projected.shape[0]
    return int(min(rows, seen.logits.shape[1], seen.declared.vocabulary or rows))


def _put(subject: Any, seen: Pass, rows: Array, values: Array) -> Writing:
    side = "table" if seen.head is None else "head"
    with subject.written(side, rows, values):
        after = subject.logits(seen.probe.ids, seen.probe.train)
    return Writing(rows, (), values, seen.legal, after[:, : seen.declared.vocabulary], side)


def _units(subject: Any, seen: Pass, rows: Array) -> tuple[Writing, ...]:
    """As many passes as it takes for every component of h to have been some row's logit."""
    width = seen.projected.shape[1]
    if width > MOST * rows.size:
        return ()
    out = []
    for start in range(0, width, rows.size):
        places = np.arange(start, min(start + rows.size, width))
        values = np.zeros((rows.size, width))
        values[np.arange(places.size), places] = 1.0
        out.append(_put(subject, seen, rows, values))
    return tuple(out)


def rows_beyond(subject: Any, seen: Pass) -> Array:
    """Rows that the pass reads although they are none of its ids: written, they move the logits of most other tokens.

    None where nearly all do: that is no lookup, but a projection that mixes rows.
    """
    rows = np.setdiff1d(np.arange(seen.table.shape[0]), seen.probe.ids)
    none = np.zeros(0, dtype=np.int64)
    if rows.size < 2 or not np.array_equal(
        subject.logits(seen.probe.ids, seen.probe.train), seen.logits, equal_nan=True
    ):
        return none
    mover = Mover(subject, seen, seen.probe, seen.logits)
    rng = np.random.default_rng([seen.probe.seed, 103])
    halves = [half for half in np.array_split(rng.permutation(rows), 2) if mover.moves(half)]
    if not halves:
        return none
    # Where next to nothing is left that is none of the ids, all of it may well be read.
    several = rows.size >= min(SAMPLE, seen.table.shape[0] // 2)
    drawn = rng.choice(rows, min(SAMPLE, rows.size), replace=False)
    if several and all(mover.moves(np.array([row])) for row in drawn):
        return none
    found = alone(mover.moves, halves, rows.size // 2 if several else rows.size)
    return none if found is None else np.sort(found)


def alone(moves: Callable[[Array], bool], parts: list[Array], most: int) -> Array | None:
    """The members of parts, each of which moves something, that do so by themselves; None where more than ``most`` do."""
    todo, found = list(parts), []
    while todo:
        part = todo.pop()
        if part.size == 1:
            found.append(int(part[0]))
        else:
            todo += [half for half in np.array_split(part, 2) if moves(half)]
        if len(found) > most:
            return None
    return np.asarray(found, dtype=np.int64)


class Mover:
    """Asks whether writing rows of the lookup's table moves most logits of other tokens."""

    def __init__(self, subject: Any, seen: Pass, probe: Probe, before: Array) -> None:
        self.subject, self.probe, self.table, self.before = subject, probe, seen.table, before
        table, dtype = seen.table, seen.dtype
        self.finite: Array = np.asarray(np.isfinite(before).all(0))
        self.finite[seen.declared.vocabulary or before.shape[1] :] = False  # what pads may hold any number
        self.normalized = is_normalized(before[:, self.finite], dtype)
        self.allowed = tolerances.bystanders(before[:, self.finite], dtype, not self.normalized)
        spread = float(np.std(table[: 1 << 12].astype(np.float64))) or 1.0
        self.drawn = np.random.default_rng([probe.seed, 107])
        self.spread = 3 * spread

    def moves(self, rows: Array) -> bool:
        """Whether another vector in these rows moves the logits of most tokens whose rows stay."""
        moved = self._moved(rows)
        return bool(2 * moved.sum() > moved.size)

    def stirs(self, rows: Array) -> bool:
        """Whether it moves the logit of any token whose row stays."""
        return bool(self._moved(rows).any())

    def _moved(self, rows: Array) -> Array:
        # One vector for all: a large table is not drawn anew for each question.
        width = self.table.shape[1]
        values = np.broadcast_to(self.drawn.standard_normal((1, width)) * self.spread, (rows.size, width))
        with self.subject.written("table", rows, values):
            after = self.subject.logits(self.probe.ids, self.probe.train)
        stays = self.finite.copy()
        stays[rows[rows < stays.size]] = False
        gap = np.nan_to_num(after - self.before)[:, stays]
        if self.normalized and gap.shape[1] < 3:
            return np.zeros(gap.shape[1], dtype=bool)  # a constant per position explains so few
        if self.normalized:
            gap = gap - np.median(gap, axis=1, keepdims=True)
        moved: Array = np.asarray(np.abs(gap).max(0, initial=0.0) > self.allowed)
        return moved


def unreached(subject: Any, seen: Pass, most: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows of the pass's tokens that no logit depends on, even where the ids are nothing but that token; and the rows that
    are read in place of the first."""
    tokens = np.unique(seen.probe.ids)
    tokens = tokens[(tokens < seen.table.shape[0]) & ~np.isin(tokens, seen.declared.padding_rows)]
    if tokens.size > most:
        tokens = np.r_[
            tokens[[0, -1]], np.random.default_rng([seen.probe.seed, 109]).permutation(tokens[1:-1])[: most - 2]
        ]
    here = Mover(subject, seen, seen.probe, seen.logits)
    dead: list[int] = []
    instead = np.zeros(0, dtype=np.int64)
    for token in tokens.tolist():
        if here.stirs(np.array([token])):  # among other tokens a mask may hide it, else nothing more is asked
            continue
        probe = dataclasses.replace(seen.probe, ids=np.full_like(seen.probe.ids, token))
        before = subject.logits(probe.ids, probe.train)
        mover = Mover(subject, seen, probe, before)
        if not mover.finite.any() or mover.stirs(np.array([token])):
            continue
        if not dead:
            instead = _instead(mover, seen, token)
        dead.append(token)
    return tuple(dead), tuple(instead.tolist())


def _instead(mover: Mover, seen: Pass, token: int) -> Array:
    others = np.delete(np.arange(seen.table.shape[0]), token)
    halves = [half for half in np.array_split(others, 2) if mover.moves(half)]
    found = alone(mover.moves, halves, SAMPLE)
    return np.zeros(0, dtype=np.int64) if found is None else np.sort(found)
