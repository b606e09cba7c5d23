"""Ask a subject and freeze what comes back: a few shared passes for each probe, none for a single requirement."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import algebra, tolerances, unwatched
from . import probe as probes
from .declaration import Declaration
from .errors import NoBackward, NotJudged
from .evidence import Array, Case, Difference, Gradient, Look, Loss, Pass, Probe, Sharp, Writing
from .premise import has

# Scalars of a table above which every further pass costs more than it tells.
LARGE_TABLE = 1 << 22
REASONS = {
    "look": "this subject cannot be watched",
    "gradient": "this subject has no gradients",
    "inject": "no h can be put in at the projection of this subject",
    "holdings": "this subject does not say what it holds",
    "own_loss": "the model takes no targets",
}


@dataclass(frozen=True)
class Effort:
    """How much is asked: the passes that a profile can afford on a model of that size.

    Attributes:
        write: the relations by writing rows.
        directions: of central differences; 1 is one that mixes the claimed share with a random one.
        inject: put chosen h at the projection.
        again: a second backward pass.
        sharp: the lookup's share once more in float64.
        calls: further calls whose graphs are compared.
        aside: repeated calls, a write to the rows that were read, the model's own loss.
        train: all of it in train mode too; else one call of the graph alone.
        modes: whether that one call is made.
        noisy: differences in train mode, too, where power iterations and recomputation make them uncertain.
    """

    directions: int = 3
    write: bool = True
    inject: bool = True
    again: bool = True
    sharp: bool = True
    calls: int = 3
    aside: bool = True
    train: bool = True
    modes: bool = True
    noisy: bool = True


FULL = Effort()
LARGE = Effort(directions=1, inject=False, again=False, sharp=False, calls=0)
QUICK = Effort(directions=1, inject=False, again=False, sharp=False, calls=0, aside=False, train=False)
AFTERWARDS = Effort(directions=1, inject=False, again=False, sharp=False, calls=1, aside=False, noisy=False)
AFTERWARDS_BRIEF = Effort(
    directions=0, inject=False, again=False, sharp=False, calls=0, aside=False, modes=False, noisy=False
)
AFTERWARDS_LARGE = Effort(
    directions=0, write=False, inject=False, again=False, sharp=False, calls=0, aside=False, train=False, modes=False
)
FURTHER = Effort(again=False, sharp=False, calls=0, aside=False)


def effort(profile: str, size: int) -> Effort:
    """What a profile affords for a table of ``size`` scalars."""
    if profile == "quick":
        return QUICK
    return LARGE if size > LARGE_TABLE else FULL


def one_pass(subject: Any, probe: Probe, declared: Declaration, work: Effort) -> Pass:
    """The shared passes for one probe in one mode: watch, forward and backward, a chosen h, differences."""
    look: Look | None = None
    if has(subject, "look"):
        look = subject.look(probe)
        if look is None:
            raise NotJudged("the table that one pass showed is not shown by another")
    quantize = getattr(subject, "quantized", None)
    gradient: Gradient | None = None
    if has(subject, "gradient") and not declared.frozen:
        try:
            logits, dtype, R, gradient = _graded(subject, probe, declared, again=work.again and not probe.train)
        except NoBackward as error:
            subject.missing.setdefault("backward", str(error))
    if gradient is None:
        logits = subject.logits(probe.ids, probe.train)
        dtype, R = getattr(subject, "dtype", "float64"), probes.cotangent(probe, logits.shape, quantize)
    table = look.table.values if look is not None else subject.table()
    seen = Pass(
        probe=probe,
        logits=logits,
        dtype=dtype,
        table=table,
        table_dtype=look.table.dtype if look is not None else table.dtype.name,
        cotangent=R,
        look=look,
        **({} if look is not None else _unwatched(subject, probe, declared)),
        gradient=gradient,
        declared=declared,
    )
    if not np.any(logits[np.isfinite(logits)]):
        raise NotJudged("every logit is zero for these ids: nothing can be told apart")
    if look is None and work.write and _writable(subject, "table"):
        seen = unwatched.observed(subject, seen)
    free = declared.output_bias or declared.scale_parameter  # numbers per token need more rows than one pass may show
    if (
        work.inject
        and (free or not probe.train)
        and look is not None
        and look.hidden is not None
        and has(subject, "inject")
        and look.hidden.shape[0] == logits.shape[0]
    ):
        seen = _injected(subject, seen)
    if gradient is not None and gradient.table is not None and seen.explained.found:
        seen = _differences(subject, seen, work)
        if work.sharp and has(subject, "sharpened"):
            seen = _sharp(subject, seen)
    return seen


def _unwatched(subject: Any, probe: Probe, declared: Declaration) -> dict[str, Any]:
    """What stands in for a look, as far as the subject can say it."""
    return {
        "head": subject.head() if has(subject, "head") else None,
        "held": subject.sides(probe) if has(subject, "sides") else None,
        "bias": _held(subject, declared.output_bias),
        "token_scale": _held(subject, declared.scale_parameter),
    }


def _held(subject: Any, name: str | bool | None) -> Array | None:
    """What the parameter holds that a declaration names, where the subject can say; float64, one number per token."""
    if not isinstance(name, str) or not has(subject, "values_of"):
        return None
    values: Array = np.asarray(subject.values_of(name), dtype=np.float64)
    return values.reshape(-1)


def _graded(
    subject: Any, probe: Probe, declared: Declaration, again: bool = False
) -> tuple[Array, str, Array, Gradient]:
    """A forward and the backward of <R, logits>, with R drawn for the shape that the logits turn out to have; what stands in
    the columns of a padded vocabulary is nothing to ask for (a float32 logit less 1e9 no longer moves)."""
    quantize = getattr(subject, "quantized", None)
    drawn: list[Array] = []

    def draw(shape: tuple[int, ...]) -> Array:
        drawn.append(probes.cotangent(probe, shape, quantize))
        if declared.vocabulary is not None:
            drawn[-1][:, declared.vocabulary :] = 0
        return drawn[-1]

    logits, dtype, gradient = subject.gradient(probe, draw, again)
    return logits, dtype, drawn[0] if drawn else draw(logits.shape), gradient


def _writable(subject: Any, side: str) -> bool:
    return not hasattr(subject, "can_write") or bool(subject.can_write(side))


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
    return _keep(seen, injected=(chosen, logits))


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


def _shares(seen: Pass, gradient: Array, form: algebra.Explained, table: Array) -> tuple[Array, Array, Array]:
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


def _differences(subject: Any, seen: Pass, work: Effort) -> Pass:
    if not work.directions or not _writable(subject, "table"):
        return seen
    assert seen.gradient is not None and seen.gradient.table is not None
    rows, share, head = _shares(seen, seen.gradient.table, seen.explained, seen.table)
    out, off = [], False
    for direction in _directions(seen, share, head, work.directions):
        terms = (share * direction).sum(1)
        allowed = tolerances.difference(terms, 0.0)
        wanted = float(terms.sum()) / seen.declared.input_gradient_scale
        found = _quotients(subject, seen, rows, direction, tolerances.STEPS, wanted, allowed)
        if found is not None:
            out.append(_controlled(subject, seen, found, wanted, allowed))
            off |= min(abs(q - wanted) for q in found.quotients) > allowed
    apart = _apart(subject, seen, rows, share, head) if off else ()
    along = None
    unread = probes.unread(seen.probe, seen.lookup_rows, min(seen.explained.columns, seen.table.shape[0]), 8)
    if unread.size and not np.any(seen.gradient.table[unread]) and np.any(head):
        claimed = float((seen.gradient.table[rows] * head).sum())
        along = _quotients(
            subject, seen, rows, head / np.abs(head).max(), tolerances.STEPS, claimed / np.abs(head).max(), 0.0
        )
    return _keep(seen, differences=tuple(out), along=along, apart=apart, fixed=_fixed(subject, seen, rows, share, head))


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
            for direction in _directions(twin, share, head, 3):
                terms = (share * direction).sum(1)
                wanted = float(terms.sum()) / seen.declared.input_gradient_scale
                allowed = tolerances.difference_sharp(terms, 0.0)
                found = _quotients(subject, twin, rows, direction, tolerances.SHARP_STEPS, wanted, allowed)
                if found is not None:
                    out.append(_controlled(subject, twin, found, wanted, allowed))
            coarsest = max(look.casts, key=tolerances.unit, default="float64")
            return _keep(seen, sharp=Sharp(share, logits, tuple(out), coarsest))
    except (RuntimeError, TypeError, ValueError, AssertionError, IndexError):
        return seen


def write_rows(subject: Any, seen: Pass, side: str, before: Array | None = None) -> Writing | None:
    """One forward with rows written that no lookup of the pass reads: one random, one zero, one a copy of another."""
    if side == "head" and not algebra.separate(seen):
        side = "table"
    if not _writable(subject, side):
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
    if not _writable(subject, "table"):
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
    rows, share, _ = _shares(seen, gradient.table, seen.explained, seen.table)
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


def loss_evidence(subject: Any, seen: Pass, apart: bool = True) -> Loss | None:
    """The model's own loss against differences, along rows that no lookup read and along rows that one did; ``apart`` or
    along both at once."""
    if not has(subject, "own_loss") or not _writable(subject, "table"):
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


def gather(subject: Any, declared: Declaration, probe: Probe, work: Effort) -> Case:
    """All the evidence of the main example."""
    first = one_pass(subject, probe, declared, work)
    _distinct(first)
    if work.write:
        # The logits of the pass with a graph may have been rounded by another kernel: in 16 bits that hides a row.
        coarse = tolerances.is_coarse(first.dtype)
        first = _written(subject, first, None if work.aside or coarse else first.logits)
    first = _called(subject, first, work.calls)
    answers, loss = True, None
    repeats: tuple[Array, ...] = ()
    if work.aside:
        known = first.through if declared.vocabulary is None else None
        before = known.before if known is not None else subject.logits(probe.ids)
        # A difference that the lookup's rows make shows that they are alive, too.
        moved = any(any(d.quotients) for d in first.differences)
        answers = (work is LARGE and moved) or responds(subject, first, before)
        repeats = (before, *(subject.logits(probe.ids, reseed=False) for _ in range(1 if work is LARGE else 2)))
    holdings = subject.holdings(probe, twin=work.aside) if has(subject, "holdings") else None
    if work.aside and first.gradient is not None and first.gradient.table is not None:
        loss = loss_evidence(subject, first, apart=work is not LARGE)
    passes = [first]
    trained = dataclasses.replace(probe, train=True)
    if work is LARGE:  # no further example reads what this one leaves unread, and the other way round
        trained = probes.elsewhere(
            trained, first.lookup_rows, min(first.explained.columns, first.table.shape[0]), declared.padding_rows
        )
    if work.train:
        with contextlib.suppress(NotImplementedError):
            there = work if work.noisy else dataclasses.replace(work, directions=0)
            passes.append(_called(subject, one_pass(subject, trained, declared, there), work.calls))
    elif work.modes and has(subject, "edges") and first.gradient is not None and first.gradient.table is not None:
        first = _keep(first, gradient=dataclasses.replace(first.gradient, train_edges=subject.edges(trained, 1)))
        passes = [first]
    dead, instead = _dead(subject, first, work)
    return Case(declared, tuple(passes), repeats, holdings, loss, answers, dead, instead, _missing(subject))


def _dead(subject: Any, seen: Pass, work: Effort) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
    """Rows that were looked up and reach no logit, None where that is not asked; and what is read in place of the first.

    Where rows beyond the ids are read, that another row is read in the place of a token's own is always asked: it may be
    why.
    """
    if seen.look is None and _writable(subject, "table") and work.write and (work.aside or seen.beyond.size):
        return unwatched.unreached(subject, seen, unwatched.FEW if work is LARGE else unwatched.TOKENS)
    return (unreached(subject, seen) if work.aside and has(subject, "can_write") else None), ()


def _missing(subject: Any) -> dict[str, str]:
    reasons: dict[str, str] = {name: why for name, why in REASONS.items() if not has(subject, name)}
    return reasons | dict(subject.missing)


def _distinct(seen: Pass) -> None:
    """Raises NotJudged where the rows that the inputs read cannot tell one table from another."""
    if seen.table.shape[0] < 2:
        raise NotJudged("the table has one row: there is nothing to tell apart")
    read = seen.table[seen.lookup_rows[seen.lookup_rows < seen.table.shape[0]][:64]]
    if read.shape[0] > 1 and np.unique(read, axis=0).shape[0] < 2:
        raise NotJudged("all rows of the table that the inputs read are equal: nothing can be told apart")


def _written(subject: Any, seen: Pass, before: Array | None) -> Pass:
    """Add the relations by writing: one pass where both uses are one memory, two where they may not be."""
    writing = write_rows(subject, seen, "head", before)
    through = writing
    look = seen.look
    if algebra.separate(seen) or look is None or look.head is None or look.head.region is None:
        through = write_rows(subject, seen, "table", before)
        refilled = look is not None and (look.head is None or bool(look.head.refilled))
        own = algebra.separate(seen) and not refilled
        writing = writing if own else through
    return _keep(seen, writing=writing, through=through)


def _called(subject: Any, seen: Pass, calls: int) -> Pass:
    """Add the edges of further calls."""
    gradient = seen.gradient
    if not calls or not has(subject, "edges") or gradient is None or gradient.table is None:
        return seen
    return _keep(seen, gradient=dataclasses.replace(gradient, edges=gradient.edges + subject.edges(seen.probe, calls)))


def gather_more(subject: Any, declared: Declaration, probe: Probe, every: bool = False) -> Case:
    """The evidence of a further example: one mode, no differences in float64; ``every``: whether each of its tokens reads its
    own row is asked, where that cannot be watched."""
    seen = _written(subject, one_pass(subject, probe, declared, FURTHER), None)
    unseen = every and not has(subject, "look")
    dead, instead = _dead(subject, seen, dataclasses.replace(FURTHER, aside=unseen))
    return Case(declared, (seen,), unreached=dead, instead=instead, missing=_missing(subject))
