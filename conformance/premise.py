"""The premise, before any verdict: the model runs, the table is found, and what will be asked can tell tied from untied."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import numpy as np

from . import probe as probes
from .declaration import Declaration
from .errors import NotJudged, sentence
from .evidence import Array, Look, Probe
from .probe import Room

SHAPES = ((2, 8), (2, 4), (2, 2), (1, 8), (1, 4), (1, 2), (2, 1), (1, 1))


def has(subject: Any, capability: str) -> bool:
    """Whether a subject can do something beyond the three things that all can."""
    return callable(getattr(subject, capability, None)) and capability not in subject.missing


def writable(subject: Any, side: str) -> bool:
    """Whether rows of that side's array can be written."""
    return not hasattr(subject, "can_write") or bool(subject.can_write(side))


def settle(subject: Any, declared: Declaration, seed: int) -> tuple[Room, Probe, list[str]]:
    """Learn what may be asked from one plain pass, draw the run's main probe, and find the table.

    Raises:
        NotJudged: it runs on nothing, nothing can be told apart, or no table is found.
    """
    shape, logits, error = _first(subject)
    notes = []
    if shape != SHAPES[0]:
        notes.append(f"ids of shape {SHAPES[0]} are refused ({error}); judged with {shape}")
    columns = logits.shape[1]
    if columns < 2:
        raise NotJudged("the vocabulary has one token: there is nothing to tell apart")
    if np.isnan(logits).any():
        raise NotJudged("the logits are not a number (NaN)")
    if not np.isfinite(logits).any():
        raise NotJudged("no logit is a finite number")
    if not np.any(logits[np.isfinite(logits)]):
        raise NotJudged("every logit is zero: nothing can tell a tied table from an untied one")
    known = Room(min(declared.vocabulary or columns, columns), shape[1], shape[0], declared.padding_rows)
    if not has(subject, "look"):
        rows = subject.table().shape[0]
        _rows_declared(declared, rows)
        known = dataclasses.replace(known, tokens=min(known.tokens, rows))
        return known, probes.seeded(known, seed), notes
    known, look = _looked(subject, known, seed)
    _rows_declared(declared, look.table.values.shape[0])
    drawn = probes.seeded(known, seed)
    if look.padding_seen is None or look.padding_seen >= known.tokens or look.padding_seen in known.always:
        return known, drawn, notes
    # The padding row that the lookup names belongs into the ids, unless the model makes nothing finite of it.
    wider = dataclasses.replace(known, always=(*known.always, look.padding_seen))
    with contextlib.suppress(Exception):
        finite = np.isfinite(subject.logits(probes.seeded(wider, seed).ids))
        if finite.any(1).all():
            return wider, probes.seeded(wider, seed), notes
    return known, drawn, notes


def _first(subject: Any) -> tuple[tuple[int, int], Array, str]:
    """The first shape of the ladder that runs, on ids that are surely legal: (shape, logits, why not the first)."""
    error = ""
    for batch, length in SHAPES:
        ids = np.resize([1, 0, 0, 1, 1], batch * length).reshape(batch, length).astype(np.int64)
        for tokens in (ids, np.zeros_like(ids)):
            try:
                return (batch, length), subject.logits(tokens), error
            except NotJudged:
                raise
            except Exception as problem:
                error = error or sentence(problem)
    raise NotJudged(f"the model does not run on token ids: {error}")


def _looked(subject: Any, known: Room, seed: int) -> tuple[Room, Look]:
    """Look once: at the probe as it would be drawn if the table has a row for each column, else at ids that are surely legal.

    The look is kept by the subject for the pass that follows with the same probe.
    """
    safe = Probe(np.resize([1, 0, 0, 1, 1], known.batch * known.length).reshape(known.batch, known.length), seed)
    look, problem = None, ""
    for probe in (probes.seeded(known, seed), safe):
        try:
            look = subject.look(probe)
        except (IndexError, RuntimeError) as error:
            problem = sentence(error)
        if look is not None:
            break
    if look is None and problem:
        raise NotJudged(f"the model ran, and then refused to run again: {problem}")
    if look is None:
        raise NotJudged(
            "no table was found: no lookup reads rows by the token ids, and no written row moves the logits as one"
        )
    rows, width = look.table.values.shape
    if known.tokens != rows and known.tokens == width and look.head is None:
        raise NotJudged(
            f"the model returns {known.tokens} numbers a position for a table of {rows} rows: hidden states, not logits"
        )
    return dataclasses.replace(known, tokens=min(known.tokens, rows)), look


def _rows_declared(declared: Declaration, rows: int) -> None:
    for row in declared.padding_rows:
        if row >= rows:
            raise NotJudged(f"row {row} is declared a padding row, but the table has {rows} rows")


def longest(subject: Any, known: Room) -> Room:
    """The longest length of a short ladder that the model takes, and three sequences where it takes them."""
    for length in (64, 32, 16, 12):
        if length <= known.length:
            break
        ids = probes.seeded(dataclasses.replace(known, length=length), 5, batch=1, length=length).ids
        with contextlib.suppress(Exception):
            subject.logits(ids)
            known = dataclasses.replace(known, length=length)
            break
    if known.batch == 2:
        with contextlib.suppress(Exception):
            subject.logits(np.zeros((3, 2), dtype=np.int64))
            known = dataclasses.replace(known, batch=3)
    return known
