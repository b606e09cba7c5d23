"""Ask a subject and freeze what comes back: a few shared passes for each probe, none for a single requirement."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import algebra, tolerances, unwatched
from . import probe as probes
from .declaration import Declaration
from .differences import differences, loss_evidence, sharp
from .errors import NoBackward, NotJudged
from .evidence import Array, Case, Gradient, Look, Pass, Probe, kept
from .premise import has, writable
from .writing import responds, unreached, write_rows

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
    if look is None and work.write and writable(subject, "table"):
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
        seen = differences(subject, seen, work.directions)
        if work.sharp and has(subject, "sharpened"):
            seen = sharp(subject, seen)
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
    return kept(seen, injected=(chosen, logits))


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
        first = kept(first, gradient=dataclasses.replace(first.gradient, train_edges=subject.edges(trained, 1)))
        passes = [first]
    flipped = len(passes) > 1 and _one(first.look) and not _one(passes[1].look) and not _one(subject.look(probe))
    dead, instead = _dead(subject, first, work)
    missing = _missing(subject)
    return Case(declared, tuple(passes), repeats, holdings, loss, answers, dead, instead, missing, flipped=flipped)


def _one(look: Look | None) -> bool:
    """Whether one pass showed both uses over one block of memory."""
    if look is None or look.head is None or look.table.region is None or look.head.region is None:
        return False
    return look.table.region.storage == look.head.region.storage


def _dead(subject: Any, seen: Pass, work: Effort) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
    """Rows that were looked up and reach no logit, None where that is not asked; and what is read in place of the first.

    Where rows beyond the ids are read, that another row is read in the place of a token's own is always asked: it may be
    why.
    """
    if seen.look is None and writable(subject, "table") and work.write and (work.aside or seen.beyond.size):
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
    return kept(seen, writing=writing, through=through)


def _called(subject: Any, seen: Pass, calls: int) -> Pass:
    """Add the edges of further calls."""
    gradient = seen.gradient
    if not calls or not has(subject, "edges") or gradient is None or gradient.table is None:
        return seen
    return kept(seen, gradient=dataclasses.replace(gradient, edges=gradient.edges + subject.edges(seen.probe, calls)))


def gather_more(subject: Any, declared: Declaration, probe: Probe, every: bool = False) -> Case:
    """The evidence of a further example: one mode, no differences in float64; ``every``: whether the row of each of its tokens
    reaches the logits is asked."""
    seen = _written(subject, one_pass(subject, probe, declared, FURTHER), None)
    dead, instead = _dead(subject, seen, dataclasses.replace(FURTHER, aside=every))
    return Case(declared, (seen,), unreached=dead, instead=instead, missing=_missing(subject))
