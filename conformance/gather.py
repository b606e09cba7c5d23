"""Ask a subject and freeze what comes back: a few shared passes for each probe, none for a single requirement."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import algebra, tolerances
from . import probe as probes
from .declaration import Declaration
from .errors import NotJudged
from .evidence import Array, Case, Difference, Gradient, Look, Loss, Pass, Probe, Sharp, Writing
from .probe import Room

STEPS = (1e-2, 1e-3, 1e-4)
SHARP_STEPS = (1e-3, 1e-4)
REASONS = {
    "look": "this subject cannot be watched",
    "gradient": "this subject has no gradients",
    "inject": "no h can be put in at the projection of this subject",
    "holdings": "this subject does not say what it holds",
    "own_loss": "the model takes no targets",
}


def has(subject: Any, capability: str) -> bool:
    """Whether a subject can do something beyond the three things that all can."""
    return callable(getattr(subject, capability, None)) and capability not in subject.missing


def room(subject: Any, declared: Declaration) -> tuple[Room, list[str]]:
    """Learn what may be asked: the number of columns, the batch and the length that the model takes.

    Raises NotJudged where it runs on nothing, or where there is nothing to tell apart.
    """
    notes: list[str] = []
    columns, error = 0, ""
    length = batch = 0
    for b, t in ((2, 8), (2, 4), (2, 2), (1, 8), (1, 4), (1, 2), (2, 1), (1, 1)):
        ids = np.resize([1, 0, 0, 1, 1], b * t).reshape(b, t).astype(np.int64)
        for tokens in (ids, np.zeros_like(ids)):
            try:
                logits = subject.logits(tokens)
            except NotJudged:
                raise
            except Exception as problem:
                error = error or _sentence(problem)
                continue
            columns, length, batch = logits.shape[1], t, b
            break
        if columns:
            break
    if not columns:
        raise NotJudged(f"the model does not run on token ids: {error}")
    if (batch, length) != (2, 8):
        notes.append(f"ids of shape (2, 8) are refused ({error}); judged with ({batch}, {length})")
    if columns < 2:
        raise NotJudged("the vocabulary has one token: there is nothing to tell apart")
    if np.isnan(logits).any():
        raise NotJudged("the logits are not a number (NaN)")
    if not np.any(logits[np.isfinite(logits)]):
        raise NotJudged("every logit is zero: nothing can tell a tied table from an untied one")
    tokens_ = min(declared.vocabulary or columns, columns)
    return Room(tokens_, length, batch, declared.padding_rows), notes


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


def settle(subject: Any, declared: Declaration, known: Room, seed: int) -> tuple[Room, Probe]:
    """Look once at ids that are surely legal, and draw the run's own now that the table's rows are known.

    Raises NotJudged where no table is found.
    """
    if not has(subject, "look"):
        rows = min(known.tokens, subject.table().shape[0])
        known = dataclasses.replace(known, tokens=rows)
        return known, probes.seeded(known, seed)
    first = Probe(np.resize([1, 0, 0, 1, 1], known.batch * known.length).reshape(known.batch, known.length), seed)
    look = subject.look(first)
    if look is None:
        first = probes.seeded(known, seed)
        look = subject.look(first)
    if look is None:
        raise NotJudged(
            "no table was found: no lookup reads rows by the token ids, and no written row moves the logits as one"
        )
    rows, width = look.table.values.shape
    if known.tokens != rows and known.tokens == width and look.head is None:
        raise NotJudged(
            f"the model returns {known.tokens} numbers a position for a table of {rows} rows: hidden states, not logits"
        )
    always = known.always
    for row in declared.padding_rows:
        if row >= rows:
            raise NotJudged(f"row {row} is declared a padding row, but the table has {rows} rows")
    if look.padding_seen is not None and look.padding_seen < rows and look.padding_seen not in always:
        always = (*always, look.padding_seen)
    known = dataclasses.replace(known, tokens=min(known.tokens, rows), always=always)
    drawn = probes.seeded(known, seed)
    try:
        if not np.isfinite(subject.logits(drawn.ids)).any(1).all():
            raise ValueError("no finite logits")
    except Exception:
        known = dataclasses.replace(known, always=tuple(t for t in declared.padding_rows if t < rows))
        drawn = probes.seeded(known, seed)
    return known, drawn


def one_pass(
    subject: Any, probe: Probe, declared: Declaration, *, deep: bool = True, inject: bool = True, sharp: bool = True
) -> Pass:
    """The shared passes for one probe in one mode: watch, forward and backward, a chosen h, differences."""
    look: Look | None = None
    if has(subject, "look"):
        look = subject.look(probe)
        if look is None:
            raise NotJudged("the table that one pass showed is not shown by another")
    quantize = getattr(subject, "quantized", None)
    gradient: Gradient | None = None
    if has(subject, "gradient") and not declared.frozen:
        logits, dtype, R, gradient = _graded(subject, probe, again=deep and sharp and not probe.train)
    else:
        logits = subject.logits(probe.ids, probe.train)
        dtype, R = getattr(subject, "dtype", "float64"), probes.cotangent(probe, logits.shape, quantize)
    seen = Pass(
        probe=probe,
        logits=logits,
        dtype=dtype,
        table=look.table.values if look is not None else subject.table(),
        table_dtype=look.table.dtype if look is not None else getattr(subject, "dtype", "float64"),
        cotangent=R,
        look=look,
        gradient=gradient,
        declared=declared,
    )
    if inject and look is not None and look.hidden is not None and has(subject, "inject"):
        seen = _injected(subject, seen)
    if gradient is not None and gradient.table is not None and seen.explained.found:
        seen = _differences(subject, seen)
        if sharp and has(subject, "sharpened"):
            seen = _sharp(subject, seen)
    return seen


def _graded(subject: Any, probe: Probe, again: bool = False) -> tuple[Array, str, Array, Gradient]:
    """A forward and the backward of <R, logits>, with R drawn for the shape that the logits turn out to have."""
    quantize = getattr(subject, "quantized", None)
    drawn: list[Array] = []

    def draw(shape: tuple[int, ...]) -> Array:
        drawn.append(probes.cotangent(probe, shape, quantize))
        return drawn[-1]

    logits, dtype, gradient = subject.gradient(probe, draw, again)
    return logits, dtype, drawn[0] if drawn else draw(logits.shape), gradient


def _keep(old: Pass, **changes: Any) -> Pass:
    """A pass with more evidence; what was worked out already stays worked out."""
    new = dataclasses.replace(old, **changes)
    if "explained" in old.__dict__ and "injected" not in changes:
        new.__dict__["explained"] = old.__dict__["explained"]
    return new


def _injected(subject: Any, seen: Pass) -> Pass:
    """Put chosen h at the projection: zero, unit vectors e_d, a few random, and large ones."""
    assert seen.look is not None and seen.look.hidden is not None
    shape = seen.look.hidden.shape
    rng = np.random.default_rng([seen.probe.seed, 41])
    spread = float(np.std(seen.look.hidden)) or 1.0
    chosen = rng.standard_normal(shape) * spread
    chosen[0] = 0
    if shape[0] > 3:
        units = min(shape[1], shape[0] // 2 - 1)
        for i, column in enumerate(rng.permutation(shape[1])[:units]):
            chosen[1 + i] = 0
            chosen[1 + i, column] = spread
        chosen[-1] *= 30
    quantize = getattr(subject, "quantized", None) or (lambda values: values)
    blocks = [np.asarray(quantize(chosen))]
    # One position at a time tells little: a bias or a scale per token needs a few rows.
    blocks += [np.asarray(quantize(rng.standard_normal(shape) * spread)) for _ in range(max(0, 8 // shape[0] - 1))]
    answers = [subject.inject(seen.probe, block) for block in blocks]
    if any(
        a is None or a.shape[0] != shape[0] or not np.isfinite(a[:, : seen.table.shape[0]]).any(1).all()
        for a in answers
    ):
        return seen
    chosen, logits = np.concatenate(blocks), np.concatenate(answers)
    # Rows must come back in the order in which they were put in; where positions are turned, only equal ones are kept.
    plain = algebra.aligned(
        seen.look.hidden.astype(np.float64), algebra.projected(seen), seen.logits[:, : seen.table.shape[0]]
    )
    if plain is None or not np.array_equal(plain, seen.look.hidden.astype(np.float64)):
        return seen
    return _keep(seen, injected=(chosen, logits))


def _directions(seen: Pass, share: Array, head: Array, rows: Array) -> Iterator[Array]:
    """The claimed share first (it sees any factor), then random ones (they see missing rows); each at right angles to the
    projection's share, row by row, so that only the lookup's is measured."""
    rng = np.random.default_rng([seen.probe.seed, 53])
    norms = np.linalg.norm(share, axis=1, keepdims=True)
    size = float(norms.max(initial=0.0))
    claimed = share / (size or 1.0)
    drawn = [rng.standard_normal(share.shape) / np.sqrt(share.shape[1]) for _ in range(2)]
    for direction in ([claimed] if size > 0 else []) + drawn:
        along = (head * direction).sum(1, keepdims=True) / ((head * head).sum(1, keepdims=True) + 1e-300)
        yield direction - along * head
    del rows


def _shares(seen: Pass, gradient: Array, form: algebra.Explained, table: Array) -> tuple[Array, Array, Array]:
    """The rows that a lookup read, the lookup's claimed share on them, and the projection's."""
    rows = np.asarray(
        [r for r in seen.lookup_rows if r < table.shape[0] and r not in seen.declared.padding_rows], dtype=np.int64
    )
    head = np.zeros((rows.size, table.shape[1]))
    if not algebra.separate(seen):
        inside = rows < form.columns
        part = algebra.share_of_head(form, algebra.projected(seen), seen.cotangent)
        head[inside] = part[rows[inside]]
    return rows, gradient[rows].astype(np.float64) - head, head


def _quotients(
    subject: Any, seen: Pass, rows: Array, direction: Array, steps: tuple[float, ...], claim: float, allowed: float
) -> Difference | None:
    """Central differences of <R, logits> at falling steps, until one agrees with the claim or two with each other."""
    spread = float(np.std(seen.table[rows])) or 1.0
    quantize = getattr(subject, "quantized", None) or (lambda values: values)
    old = seen.table[rows].astype(np.float64)
    used, quotients = [], []
    for step in steps:
        size = step * spread
        values = []
        moved = []
        for sign in (1, -1):
            new = np.asarray(quantize(old + sign * size * direction))
            with subject.written("table", rows, new):
                values.append(float((seen.cotangent * _finite(subject.logits(seen.probe.ids, seen.probe.train))).sum()))
            moved.append(new)
        actual = moved[0] - moved[1]
        scale = float((actual * direction).sum() / ((direction * direction).sum() + 1e-300))
        if scale == 0:
            continue
        quotient = (values[0] - values[1]) / scale
        used.append(step)
        quotients.append(quotient)
        if abs(quotient - claim) <= allowed:
            break
    return Difference(rows, direction, tuple(used), tuple(quotients)) if used else None


def _finite(logits: Array) -> Array:
    return np.where(np.isfinite(logits), logits, 0.0)


def _differences(subject: Any, seen: Pass) -> Pass:
    if hasattr(subject, "can_write") and not subject.can_write("table"):
        return seen
    assert seen.gradient is not None and seen.gradient.table is not None
    rows, share, head = _shares(seen, seen.gradient.table, seen.explained, seen.table)
    out = []
    for direction in _directions(seen, share, head, rows):
        terms = (share * direction).sum(1)
        allowed = tolerances.difference(terms, 0.0)
        wanted = float(terms.sum()) / seen.declared.input_gradient_scale
        found = _quotients(subject, seen, rows, direction, STEPS, wanted, allowed)
        if found is not None:
            out.append(found)
    along = None
    unread = probes.unread(seen.probe, seen.lookup_rows, min(seen.explained.columns, seen.table.shape[0]), 8)
    if unread.size and not np.any(seen.gradient.table[unread]) and np.any(head):
        claimed = float((seen.gradient.table[rows] * head).sum())
        along = _quotients(subject, seen, rows, head / np.abs(head).max(), STEPS, claimed / np.abs(head).max(), 0.0)
    return _keep(seen, differences=tuple(out), along=along)


def _sharp(subject: Any, seen: Pass) -> Pass:
    """The same in float64, where the body really computes in it."""
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
                injected=None,
            )
            if not twin.explained.found:
                return seen
            rows, share, head = _shares(twin, gradient.table, twin.explained, twin.table)
            out = []
            for direction in _directions(twin, share, head, rows):
                terms = (share * direction).sum(1)
                wanted = float(terms.sum()) / seen.declared.input_gradient_scale
                found = _quotients(
                    subject, twin, rows, direction, SHARP_STEPS, wanted, tolerances.difference_sharp(terms, 0.0)
                )
                if found is not None:
                    out.append(found)
            full = np.zeros((rows.size, seen.table.shape[1]))
            full[:] = share
            return _keep(seen, sharp=Sharp(full, None, np.array(look.table.values[rows]), logits, tuple(out)))
    except (RuntimeError, TypeError, ValueError, AssertionError, IndexError):
        return seen


def write_rows(subject: Any, seen: Pass, side: str) -> Writing | None:
    """One forward with rows written that no lookup of the pass reads: one random, one zero, one a copy of another."""
    if hasattr(subject, "can_write") and not subject.can_write(side):
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
    before = subject.logits(seen.probe.ids, seen.probe.train)
    with subject.written(side, rows, values):
        after = subject.logits(seen.probe.ids, seen.probe.train)
    return Writing(rows, tuple(roles), values, before, after, side, source)


def responds(subject: Any, seen: Pass) -> bool:
    """Whether a random vector in a row that the pass reads moves any logit."""
    if hasattr(subject, "can_write") and not subject.can_write("table"):
        return True
    rows = np.asarray([r for r in seen.lookup_rows if r < seen.table.shape[0]], dtype=np.int64)
    rng = np.random.default_rng([seen.probe.seed, 71])
    spread = float(np.std(seen.table[rows])) or 1.0
    before = subject.logits(seen.probe.ids, seen.probe.train)
    with subject.written("table", rows, rng.standard_normal((rows.size, seen.table.shape[1])) * spread):
        after = subject.logits(seen.probe.ids, seen.probe.train)
    return not np.array_equal(before, after)


def loss_evidence(subject: Any, seen: Pass) -> Loss | None:
    """The model's own loss against differences, along rows that no lookup read and along rows that one did."""
    if not has(subject, "own_loss") or (hasattr(subject, "can_write") and not subject.can_write("table")):
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
    for rows in (unseen, read):
        claimed = gradient[rows].astype(np.float64)
        norm = float(np.linalg.norm(claimed))
        direction = claimed / norm if norm else rng.standard_normal(claimed.shape)
        direction = direction + 0.5 * rng.standard_normal(claimed.shape) / np.sqrt(max(claimed.size, 1))
        pairs.append(_loss_quotients(subject, seen, ids, targets, rows, direction))
    if pairs[0] is None or pairs[1] is None:
        return None
    return Loss(pairs[0], pairs[1], np.array(gradient) if gradient.size < 1 << 22 else gradient)


def _loss_quotients(
    subject: Any, seen: Pass, ids: Array, targets: Array, rows: Array, direction: Array
) -> Difference | None:
    if rows.size == 0:
        return None
    spread = float(np.std(seen.table[rows])) or 1.0
    quantize = getattr(subject, "quantized", None) or (lambda values: values)
    old = seen.table[rows].astype(np.float64)
    used, quotients = [], []
    for step in (1e-1, 1e-2, 3e-3):
        values, moved = [], []
        for sign in (1, -1):
            new = np.asarray(quantize(old + sign * step * spread * np.sqrt(direction.shape[1]) * direction))
            with subject.written("table", rows, new):
                values.append(subject.loss_value(ids, targets))
            moved.append(new)
        actual = moved[0] - moved[1]
        scale = float((actual * direction).sum() / ((direction * direction).sum() + 1e-300))
        if scale:
            used.append(step)
            quotients.append((values[0] - values[1]) / scale)
    return Difference(rows, direction, tuple(used), tuple(quotients)) if used else None


def gather(subject: Any, declared: Declaration, probe: Probe, profile: str) -> Case:
    """All the evidence of the main example."""
    standard = profile == "standard"
    missing = {name: reason for name, reason in REASONS.items() if not has(subject, name)} | subject.missing
    first = one_pass(subject, probe, declared, sharp=standard, inject=standard)
    if first.table.shape[0] < 2:
        raise NotJudged("the table has one row: there is nothing to tell apart")
    read = first.table[first.lookup_rows[first.lookup_rows < first.table.shape[0]]]
    if read.shape[0] > 1 and np.unique(read, axis=0).shape[0] < 2:
        raise NotJudged("all rows of the table that the inputs read are equal: nothing can be told apart")
    writing = write_rows(subject, first, "head")
    through = None
    look = first.look
    if algebra.separate(first) or look is None or look.head is None or look.head.region is None:
        through = write_rows(subject, first, "table")
        writing = writing if algebra.separate(first) else through
    else:
        through = writing
    gradient = first.gradient
    if standard and has(subject, "edges") and gradient is not None and gradient.table is not None:
        gradient = dataclasses.replace(gradient, edges=gradient.edges + subject.edges(probe, 3))
    first = _keep(first, writing=writing, through=through, gradient=gradient)
    passes = [first]
    answers = responds(subject, first) if standard else True
    repeats = tuple(subject.logits(probe.ids, reseed=False) for _ in range(2)) if standard or first.look else ()
    holdings = subject.holdings(probe) if has(subject, "holdings") else None
    loss = None
    if standard and not declared.frozen and first.gradient is not None and first.gradient.table is not None:
        loss = loss_evidence(subject, first)
    if standard or has(subject, "edges"):
        trained = dataclasses.replace(probe, train=True)
        with contextlib.suppress(NotImplementedError):
            later = one_pass(subject, trained, declared, deep=False, inject=False, sharp=standard)
            grown = later.gradient
            if standard and has(subject, "edges") and grown is not None and grown.table is not None:
                later = _keep(later, gradient=dataclasses.replace(grown, edges=grown.edges + subject.edges(trained, 3)))
            passes.append(later)
    return Case(declared, tuple(passes), repeats, holdings, loss, answers, missing)


def gather_more(subject: Any, declared: Declaration, probe: Probe) -> Case:
    """The evidence of a further example: one mode, no differences in float64."""
    seen = one_pass(subject, probe, declared, deep=False, sharp=False)
    writing = write_rows(subject, seen, "head")
    through = write_rows(subject, seen, "table") if algebra.separate(seen) else writing
    missing = {name: reason for name, reason in REASONS.items() if not has(subject, name)} | subject.missing
    return Case(declared, (_keep(seen, writing=writing, through=through),), (), None, None, True, missing)


def _sentence(error: BaseException) -> str:
    text = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
