"""A framework's model as a subject, made of the few things that its adapter says of it (see `leaves`).

Nothing can be watched in it. What a subject of torch shows by its pass, this one finds by writing rows: which leaf the
lookup reads, which the projection. A step is the framework's own optimizer's on the gradient of a cross-entropy that is
worked out here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from types import TracebackType
from typing import Any

import numpy as np

from .declaration import Declaration
from .errors import NoDevice, NotJudged
from .evidence import Array, Gradient, Holdings, Named, Probe, Region, Sides, Step, Use
from .leaves import End, Leaves, Way, find, flat, is_float
from .operations import Operation
from .protocol import Built
from .tolerances import CLIP_EPSILON, CONTROL_STEP, EPSILON, MOVE, OFF_ZERO

DECAY = 0.1
OPTIONAL = {
    "gradient": ("gradient", "control"),
    "stepper": ("steps",),
    "ways": ("operations", "copied"),
}
IDIOM = "let the projection read the lookup's own array"
TREE = "what the optimizer maps over"


def subject_of(translate: Callable[[Any], Leaves]) -> Callable[..., Translated]:
    """The ``subject_of`` of an adapter that translates a framework's model by ``translate``.

    The subject raises NotJudged where a device or a dtype is asked for that the model does not have.
    """

    def made(
        built: Built,
        declared: Declaration,
        *,
        name: str,
        seed: int,
        device: str | None = None,
        dtype: str | None = None,
        optimizer: Any = None,
    ) -> Translated:
        subject = Translated(translate, built.model, declared, name=name, seed=seed, twin=built.twin)
        if optimizer is not None:
            raise NotJudged("an optimizer can be handed in beside a torch module alone")
        for asked, there in ((device, subject.device), (dtype, subject.dtype)):
            if asked not in (None, there):
                kind = NoDevice if asked is device else NotJudged
                raise kind(f"the model is on {subject.device} in {subject.dtype}; hand it in as it is to be judged")
        return subject

    return made


class Translated:
    """Answers what the protocol asks of one model. Use as a context manager: on exit the leaves are as they were.

    Args:
        translate: from the framework's model to its `Leaves`.
        model, declared: what is judged, and what it is declared to be.
        twin: trainable scalars of the same model with the tie flag turned, where that can be built.
        ours: the model was built or copied for this run alone: nothing is put back.
    """

    def __init__(
        self,
        translate: Callable[[Any], Leaves],
        model: Any,
        declared: Declaration,
        *,
        name: str,
        seed: int = 0,
        twin: Callable[[], int | None] | None = None,
        ours: bool = False,
    ) -> None:
        self._translate, self.declared, self.name, self.seed = translate, declared, name, seed
        self.leaves = translate(model)
        self.notes: tuple[str, ...] = tuple(getattr(self.leaves, "notes", ()))
        self.packages: tuple[str, ...] = tuple(getattr(self.leaves, "packages", ()))
        self.idiom = str(getattr(self.leaves, "idiom", IDIOM))
        self.device = str(getattr(self.leaves, "device", "cpu"))
        self.forward_passes = self.backward_passes = 0
        self._twin, self._ours, self._moved_off = twin, ours, False
        self._neutral: dict[str, Array] = {}
        self._ends: tuple[End, End | None] | None = None
        self._owners: dict[str, str] = {}
        self._shape, self._columns, self._last = (1, 2), 2, False
        self._dtype = ""
        reasons: Mapping[str, str] = getattr(self.leaves, "unasked", {})
        self.missing = {
            name: reasons.get(word, f"this backend gives no {word}")
            for word, names in OPTIONAL.items()
            if word in reasons or not hasattr(self.leaves, word)
            for name in names
        }
        for name, why in reasons.items():
            self.missing.setdefault(name, why)

    # --- lifetime ------------------------------------------------------------------------------------------------

    def __enter__(self) -> Translated:
        if not self._moved_off:
            self._move_off_neutral()
            self._moved_off = self._ours
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ours:
            for name, values in self._neutral.items():
                self.leaves.write(name, values)
            self._neutral = {}

    def _move_off_neutral(self) -> None:
        """What is neutral at initialization (a bias of 0, a scale of 1) would be invisible: give it a random value."""
        declared = {self.declared.output_bias, self.declared.scale_parameter}
        moved = self._trained() | declared
        for name, leaf in self.leaves.leaves().items():
            if name not in moved or not is_float(leaf) or leaf.size < 2 or not (leaf == leaf.flat[0]).all():
                continue
            rng = np.random.default_rng([zlib.crc32(name.encode()), self.seed])
            noise, value = rng.random(leaf.shape), float(leaf.flat[0])
            new = value * (0.8 + 0.4 * noise) if value else OFF_ZERO * (2 * noise - 1 + np.sign(noise - 0.5) / 3)
            self._neutral[name] = np.array(leaf)
            self.leaves.write(name, new.astype(leaf.dtype))

    def _listed(self) -> Counter[str]:
        """How often each leaf is given to the optimizer."""
        return Counter(list(self.leaves.trained() if hasattr(self.leaves, "trained") else self.leaves.leaves()))

    def _trained(self) -> frozenset[str]:
        return frozenset(self._listed())

    # --- the three things that every subject can do -----------------------------------------------------------------

    def logits(self, ids: Array, train: bool = False, reseed: bool = True) -> Array:
        """Logits (N, C) in float64. Raises NotImplementedError for train mode, which nothing here depends on."""
        if train:
            raise NotImplementedError
        self.forward_passes += 1
        logits = np.asarray(self.leaves.logits(ids))
        if logits.ndim not in (2, 3) or logits.shape[0] != ids.shape[0] or not is_float(logits):
            raise NotJudged(f"logits are (B, T, V) floats; the model gives {logits.dtype.name} of shape {logits.shape}")
        self._shape, self._columns, self._last = (1, ids.shape[1]), logits.shape[-1], logits.ndim == 2
        self._dtype = logits.dtype.name
        return flat(logits)

    @property
    def dtype(self) -> str:
        """Of the logits; before the first pass, of the widest table that there could be."""
        return self._dtype or next((x.dtype.name for x in self.leaves.leaves().values() if is_float(x)), "float32")

    def table(self) -> Array:
        """The array that the lookup reads, (V, D)."""
        return self.ends[0].read(self.leaves.leaves())

    def head(self) -> Array | None:
        """The projection's own array (V, D); None where it is the lookup's, or no leaf's."""
        table, head = self.ends
        return None if head is None or head == table else head.read(self.leaves.leaves())

    @property
    def ends(self) -> tuple[End, End | None]:
        """The leaves that both uses read. Raises NotJudged where no lookup was found."""
        if self._ends is None:
            table, head = self._as_named()
            if table is None:
                raise NotJudged(
                    "no table was found: writing a row of any leaf does not move the logits as a lookup's would"
                )
            self._ends = (table, head)
            self._owners = self._same_memory()
        return self._ends

    def _as_named(self) -> tuple[End | None, End | None]:
        """What the declaration names, and what is found of the rest."""
        named = [self._named(word) for word in (self.declared.table, self.declared.head)]
        found: tuple[End | None, End | None] = (None, None)
        if named[0] is None or (named[1] is None and not self.declared.tied):
            found = self._found()
        return named[0] or found[0], named[1] or found[1]

    def _find_again(self) -> None:
        """A step may have put other arrays in the place of what both uses read: which leaves they are is asked anew."""
        table, head = self._as_named()
        if table is not None:
            self._ends = (table, head)
            self._owners = self._same_memory()

    def _found(self) -> tuple[End | None, End | None]:
        """What `leaves.find` finds, with other tokens where the first are read for something else, too (token types)."""
        found = find(self.leaves, self.logits, (1, 0), self._shape, self.declared.log_probabilities)
        last = min(self.declared.vocabulary or self._columns, self._columns) - 1
        for tokens in ((last, last // 2), (last // 2 + 1, last // 3)):
            if found[0] is not None or last < 3:
                break
            with contextlib.suppress(IndexError, ValueError):  # there may be fewer rows than logits
                found = find(self.leaves, self.logits, tokens, self._shape, self.declared.log_probabilities)
        return found

    def _same_memory(self) -> dict[str, str]:
        """Other leaves over the memory of an end's leaf, by name with that leaf's: a write to it changes them, too."""
        out: dict[str, str] = {}
        for name in dict.fromkeys(end.name for end in self._ends or () if end is not None):
            old = np.array(self.leaves.leaves()[name])
            alike = {n: np.array(x) for n, x in self.leaves.leaves().items() if n != name and x.size == old.size}
            if not alike:
                continue
            new = np.array(old)
            new[0] = -new[0] + np.asarray(float(np.std(new[0].astype(np.float64))) or 1.0, dtype=old.dtype)
            self.leaves.write(name, new)
            try:
                now = self.leaves.leaves()
                out |= {
                    n: name for n, x in alike.items() if n not in out and not np.array_equal(x, now[n], equal_nan=True)
                }
            finally:
                self.leaves.write(name, old)
        return out

    def _named(self, name: str | None) -> End | None:
        if name is None:
            return None
        leaves = self.leaves.leaves()
        if name not in leaves or leaves[name].ndim != 2:
            raise NotJudged(f"the model has no leaf {name!r} of two dimensions; it has {', '.join(leaves)}")
        rows, width = leaves[name].shape
        return End(name, turned=rows < width)

    def values_of(self, name: str) -> Array:
        """What the leaf of that name holds. Raises NotJudged where there is none."""
        leaves = self.leaves.leaves()
        if name not in leaves:
            raise NotJudged(f"the model has no leaf {name!r}; it has {', '.join(leaves)}")
        return leaves[name]

    def _end(self, side: str) -> End:
        table, head = self.ends
        return head if side == "head" and head is not None else table

    @contextlib.contextmanager
    def written(self, side: str, rows: Array, values: Array) -> Iterator[None]:
        """Rows of the lookup's leaf ("table") or of the projection's ("head") hold ``values`` inside the block."""
        end = self._end(side)
        old = np.array(self.leaves.leaves()[end.name])
        new = np.array(old)
        (new.T if end.turned else new)[rows] = np.asarray(values).astype(old.dtype)
        self.leaves.write(end.name, new)
        try:
            yield
        finally:
            self.leaves.write(end.name, old)

    # --- what it can do beyond that ------------------------------------------------------------------------------

    def can_write(self, side: str) -> bool:
        """Rows of a leaf can always be written."""
        return True

    def quantized(self, values: Array) -> Array:
        """Values as the table's dtype holds them."""
        return np.asarray(values).astype(self.table().dtype).astype(np.float64)

    def initial(self, ids: Array) -> Array:
        """Logits (N, C) with what is neutral at initialization put back for the moment."""
        now = {name: np.array(self.leaves.leaves()[name]) for name in self._neutral}
        for name, values in self._neutral.items():
            self.leaves.write(name, values)
        try:
            return self.logits(ids)
        finally:
            for name, values in now.items():
                self.leaves.write(name, values)

    def sides(self, probe: Probe) -> Sides:
        """Which leaf each use reads, found by writing rows."""
        table, head = self.ends
        others = (head.name,) if head is not None and head.elsewhere else ()
        return Sides(self._use(table), self._use(head) if head is not None else None, others)

    def _use(self, end: End) -> Use:
        leaves = self.leaves.leaves()
        values = end.read(leaves)
        region = _region(leaves, self._trained(), end.name, self._owners, end.turned)
        return Use(values, region, (end.name,), dtype=values.dtype.name)

    def gradient(
        self, probe: Probe, cotangent: Callable[[tuple[int, ...]], Array], again: bool = False
    ) -> tuple[Array, str, Gradient]:
        """Logits, their dtype and the gradient of <R, logits>, at the lookup's leaf and at the projection's."""
        logits = self.logits(probe.ids, probe.train)
        shares = self._gradient(probe.ids, cotangent(logits.shape))
        table, head = self.ends
        other = shares.get(head.name) if head is not None and head != table else None
        own = self._summed(shares, table.name)
        return (
            logits,
            self.dtype,
            Gradient(
                None if own is None else table.read({table.name: own}),
                None if other is None or head is None else head.read({head.name: other}),
            ),
        )

    def _summed(self, shares: Mapping[str, Array], name: str) -> Array | None:
        """The gradient of a leaf and of every other over its memory; None where none has one."""
        over = [name] + [n for n, owner in self._owners.items() if owner == name]
        shape = self.leaves.leaves()[name].shape
        found = [shares[n] if shares[n].shape == shape else shares[n].T for n in over if n in shares]
        return np.asarray(sum(found[1:], found[0])) if found else None

    def _gradient(self, ids: Array, R: Array) -> Mapping[str, Array]:
        self.forward_passes += 1
        self.backward_passes += 1
        shape = R.shape if self._last else (*ids.shape, R.shape[1])
        return self.leaves.gradient(ids, np.asarray(R).reshape(shape))  # type: ignore[attr-defined,no-any-return]

    def control(self, probe: Probe, cotangent: Array) -> tuple[float, float]:
        """One central difference along random directions of all other leaves: what is claimed, and the quotient."""
        own = {end.name for end in self.ends if end is not None} | set(self._owners)
        shares = self._gradient(probe.ids, cotangent)
        leaves, trained = self.leaves.leaves(), self._trained()
        olds = {n: np.array(leaves[n]) for n in shares if n not in own and n in trained and is_float(leaves[n])}
        claimed, values = 0.0, []
        steps: dict[str, Array] = {}
        for name, old in olds.items():
            rng = np.random.default_rng([zlib.crc32(name.encode()), probe.seed])
            spread = float(np.std(old.astype(np.float64))) or 1.0
            steps[name] = CONTROL_STEP * spread * rng.standard_normal(old.shape)
            claimed += float((np.asarray(shares[name], dtype=np.float64) * steps[name]).sum())
        try:
            for sign in (1, -1):
                for name, old in olds.items():
                    self.leaves.write(name, (old.astype(np.float64) + sign * steps[name]).astype(old.dtype))
                values.append(float((cotangent * np.nan_to_num(self.logits(probe.ids))).sum()))
        finally:
            for name, old in olds.items():
                self.leaves.write(name, old)
        return claimed, (values[0] - values[1]) / 2

    def holdings(self, probe: Probe, twin: bool = False) -> Holdings:
        """Every leaf, and which of them the optimizer is given."""
        leaves, often = self.leaves.leaves(), self._listed()
        named = tuple(
            Named(n, i, _region(leaves, often, n, self._owners), int(leaf.size))
            for i, (n, leaf) in enumerate(leaves.items())
        )
        count = sum(n.size for n in named if n.name in often)
        own = {end.name for end in self.ends if end is not None}
        listing = tuple((name, often[name]) for name in sorted(own))
        lists = {TREE: listing} if hasattr(self.leaves, "stepper") or hasattr(self.leaves, "trained") else {}
        counts: Mapping[str, int] = self.leaves.own_counts() if hasattr(self.leaves, "own_counts") else {}
        whole = sum(n.size for n in named)
        other = self._twin() if twin and self._twin is not None else None
        return Holdings(
            named,
            count,
            lists,
            own_counts=counts,
            explained_counts=(count, whole),
            twin=other,
            dead=self._dead(probe, own),
        )

    def _dead(self, probe: Probe, own: Collection[str]) -> tuple[str, ...]:
        """Trained leaves of the table's shape, either way round, that can hold anything: the logits stay as they are."""
        shape, leaves = self.table().shape, self.leaves.leaves()
        alike = [n for n in sorted(self._trained() - set(own)) if leaves[n].shape in (shape, shape[::-1])]
        before = self.logits(probe.ids) if alike else np.empty(0)
        out = []
        for name in alike:
            old = np.array(leaves[name])
            if not is_float(old):
                continue
            drawn = np.random.default_rng([probe.seed, 73]).standard_normal(old.shape)
            self.leaves.write(name, drawn.astype(old.dtype))
            try:
                if np.array_equal(before, self.logits(probe.ids), equal_nan=True):
                    out.append(name)
            finally:
                self.leaves.write(name, old)
        return tuple(out)

    def steps(self, probe: Probe, kind: str, count: int) -> Step:
        """Train the model, which must be the run's own, on targets drawn from the probe's seed; see `evidence.Step`.

        The loss is the mean cross-entropy; its gradient at the logits, (softmax - one hot) / N, is worked out here.
        """
        table, _ = self.ends
        rows = np.arange(min(self.table().shape[0], 256))
        epsilon = float(getattr(self.leaves, "epsilon", EPSILON))
        step = Step(kind, decay=DECAY, epsilon=epsilon, rows=rows, dtype=self.table().dtype.name, corrections="float32")
        apply: Callable[[Mapping[str, Array]], None] | None = None
        trained = self._trained()
        before = np.array(self.table()[rows], dtype=np.float64)
        for i in range(count):
            shares = {
                n: g for n, g in self._gradient(probe.ids, self._loss_cotangent(probe, i)).items() if n in trained
            }
            norm = float(np.sqrt(sum((np.asarray(g, dtype=np.float64) ** 2).sum() for g in shares.values())))
            if table.name not in shares or not norm or not np.isfinite(norm):
                return (
                    dataclasses.replace(step, refused="the first loss gives the table no gradient") if i == 0 else step
                )
            clipped = norm / 2 / (norm + CLIP_EPSILON)
            if apply is None:
                size = float(np.linalg.norm(self.table().astype(np.float64)))
                rate = MOVE * size / (norm / 2) if kind == "sgd" else MOVE * size / self.table().size ** 0.5
                apply = self.leaves.stepper(kind, rate, DECAY)  # type: ignore[attr-defined]
                own = np.array(table.read({table.name: shares[table.name]})[rows], dtype=np.float64)
                step = dataclasses.replace(
                    step, rate=rate, before=before, gradient=own, norm=norm, distinct=norm, clipped=clipped
                )
            apply({n: (np.asarray(g, dtype=np.float64) * clipped).astype(g.dtype) for n, g in shares.items()})
            if i == 0:
                after, other = self._after_step(rows)
                step = dataclasses.replace(step, after=after, head=other)
        return step

    def _after_step(self, rows: Array) -> tuple[Array, Array | None]:
        """Rows as both sides now read them; None for a projection that reads no leaf, or one of another shape."""
        self._find_again()
        table, head = self.ends
        one = self.table()
        other = one if head == table else self.head()
        after = np.array(one[rows], dtype=np.float64)
        if other is None or not self.declared.tied or other.shape != one.shape:
            return after, None
        return after, np.array(other[rows], dtype=np.float64)

    def _loss_cotangent(self, probe: Probe, i: int) -> Array:
        logits = self.logits(probe.ids)
        columns = np.flatnonzero(np.isfinite(logits).all(0))
        targets = columns[np.random.default_rng([probe.seed, 101, i]).integers(0, columns.size, logits.shape[0])]
        top = np.where(np.isfinite(logits), logits, -np.inf)
        weight = np.exp(top - top.max(1, keepdims=True))
        weight /= weight.sum(1, keepdims=True)
        weight[np.arange(logits.shape[0]), targets] -= 1
        return np.asarray(weight / logits.shape[0])

    # --- further models --------------------------------------------------------------------------------------------

    def again(self, model: Any) -> Translated:
        """The subject of another model, which belongs to the run."""
        out = Translated(self._translate, model, self.declared, name=self.name, seed=self.seed, ours=True)
        out._shape = self._shape
        return out

    def copied(self) -> Translated:
        """The subject of a copy. Raises what copying raises."""
        way = next(w for w in self._ways() if w.word == "deepcopy")
        return self.again(way.perform(self.leaves.model, lambda: self.leaves.model))

    def shares(self, other: Translated) -> bool:
        """Whether the two are one model: what is built afresh in a framework has leaves of its own."""
        return other.leaves.model is self.leaves.model

    def size(self) -> int:
        """Scalars that the model holds."""
        return sum(int(leaf.size) for leaf in self.leaves.leaves().values())

    def _ways(self) -> tuple[Way, ...]:
        return tuple(self.leaves.ways())  # type: ignore[attr-defined]

    def operations(self) -> tuple[Operation, ...]:
        """What users of the framework do to a model."""
        return tuple(dataclasses.replace(way, perform=_performed(way)) for way in self._ways())


def _region(
    leaves: Mapping[str, Array], trained: Collection[str], name: str, owners: Mapping[str, str], turned: bool = False
) -> Region:
    """A leaf as a window on memory of its own, or on that of the leaf with which a write changes it."""
    leaf = leaves[name]
    strides = tuple(int(np.prod(leaf.shape[i + 1 :])) for i in range(leaf.ndim))
    shape = leaf.shape
    if turned:
        shape, strides = shape[::-1], strides[::-1]
    kind = "parameter" if name in trained else "buffer"
    return Region(
        list(leaves).index(owners.get(name, name)), 0, shape, strides, leaf.dtype.name, name, kind, name in trained
    )


def _performed(way: Way) -> Callable[[Any, Callable[[], Any]], Any]:
    """A way between models as an operation between subjects; the model keeps what it was moved off."""

    def perform(subject: Translated, fresh: Callable[[], Any]) -> Translated:
        out = subject.again(way.perform(subject.leaves.model, lambda: fresh().leaves.model))
        out._moved_off = True
        return out

    return perform
