"""What is asked: ids drawn from one seed, or by hypothesis where examples are searched and shrunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .evidence import Array, Probe

if TYPE_CHECKING:
    from hypothesis import strategies as st


@dataclass(frozen=True)
class Room:
    """What a subject lets be asked: ids below ``tokens``, at most ``length`` positions and ``batch`` sequences."""

    tokens: int
    length: int
    batch: int
    always: tuple[int, ...] = ()


def seeded(room: Room, seed: int, batch: int = 2, length: int = 8, train: bool = False) -> Probe:
    """Ids (B, T) from a seed: a token repeated, the first, the last and the padding row among them where there is room,
    some rows never read, and never in the order of the positions."""
    rng = np.random.default_rng([seed, 11])
    batch, length = min(batch, room.batch), min(length, room.length)
    size = batch * length
    kinds = max(1, min(size - 1, room.tokens - 4 if room.tokens > 8 else room.tokens // 2))
    wanted = [t for t in (*room.always, 0, room.tokens - 1) if t < room.tokens]
    wanted = list(dict.fromkeys(wanted))[:kinds]
    rest = np.setdiff1d(np.arange(min(room.tokens, 1 << 20)), wanted)
    chosen = [*wanted, *rng.permutation(rest)[: max(0, kinds - len(wanted))].tolist()]
    ids = np.concatenate([chosen, rng.choice(chosen, size)])[:size]
    ids = rng.permutation(ids)
    if size > 1 and np.array_equal(ids, np.arange(size)):
        ids = ids[::-1]
    return Probe(ids.reshape(batch, length).astype(np.int64), seed, train)


def covering(room: Room, seed: int, most: int = 4) -> list[Probe]:
    """Probes in both modes that read every token once, where a few are enough for that."""
    size = room.batch * room.length
    if room.tokens > most * size:
        return []
    order = np.random.default_rng([seed, 97]).permutation(room.tokens)
    out = []
    for start in range(0, room.tokens, size // 2 + 1):
        part = order[start : start + size // 2 + 1]
        length = min(room.length, int(np.ceil(part.size / min(room.batch, 2))))
        ids = np.resize(part, min(room.batch, 2) * length).reshape(-1, length).astype(np.int64)
        out += [Probe(ids, seed, False), Probe(ids, seed, True)]
    return out[: 2 * most]


def strategy(room: Room, seed: int) -> st.SearchStrategy[Probe]:
    """Probes as hypothesis draws and shrinks them: batch, length, which tokens, which mode."""
    from hypothesis import strategies as st

    lengths = st.sampled_from(sorted({1, 2, 3, 5, 12, 16, room.length} & set(range(1, room.length + 1))))
    batches = st.integers(1, room.batch)

    @st.composite
    def probes(draw: Any) -> Probe:
        batch, length = draw(batches), draw(lengths)
        kinds = draw(st.integers(1, max(1, min(batch * length, room.tokens - 1, 12))))
        edges = st.sampled_from([0, room.tokens - 1, *room.always])
        token = st.one_of(edges, st.integers(0, room.tokens - 1))
        pool = draw(st.lists(token, min_size=kinds, max_size=kinds))
        places = draw(st.lists(st.integers(0, kinds - 1), min_size=batch * length, max_size=batch * length))
        ids = np.array([pool[i] for i in places], dtype=np.int64).reshape(batch, length)
        return Probe(ids, draw(st.integers(0, 3)) + seed, draw(st.booleans()))

    return probes()


def cotangent(probe: Probe, shape: tuple[int, ...], quantize: Any = None) -> Array:
    """R (N, C), standard normal, as the dtype at work can hold it."""
    drawn = np.random.default_rng([probe.seed, 23]).standard_normal(shape).astype(np.float32)
    return np.asarray(quantize(drawn) if quantize is not None else drawn, dtype=np.float64)


def unread(probe: Probe, rows_read: Array, rows: int, count: int) -> Array:
    """Up to ``count`` rows below ``rows`` that no lookup of the pass reads, drawn from the probe's seed."""
    rng = np.random.default_rng([probe.seed, 37])
    if rows > 1 << 16:
        drawn = rng.choice(rows, count + rows_read.size, replace=False)
        return np.asarray([r for r in drawn if r not in set(rows_read.tolist())][:count], dtype=np.int64)
    free = np.setdiff1d(np.arange(rows), rows_read)
    return np.asarray(rng.permutation(free)[:count], dtype=np.int64)


def elsewhere(probe: Probe, rows_read: Array, tokens: int, kept: tuple[int, ...]) -> Probe:
    """The probe with each of its tokens, but those that are ``kept``, replaced by one below ``tokens`` that was not read; as
    it is where there are not enough."""
    old = np.setdiff1d(probe.ids, kept)
    new = unread(probe, np.union1d(rows_read, kept), tokens, old.size)
    if new.size < old.size:
        return probe
    ids = probe.ids.copy()
    for one, other in zip(old, new, strict=True):
        ids[probe.ids == one] = other
    return replace(probe, ids=ids)


def as_lists(ids: Array) -> Sequence[Sequence[int]]:
    """Ids as plain lists, for messages and JSON."""
    result: list[list[int]] = ids.tolist()
    return result
