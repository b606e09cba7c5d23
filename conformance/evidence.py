"""What was seen of a subject, frozen and in NumPy only: judging it needs no framework, and it can be dumped and replayed.

Shapes: ids (B, T); N positions of the logits (B T, or fewer where a model answers only the last); V rows and D columns of
the table; C columns of the logits. Arrays of floats are in the subject's dtype where NumPy has it, else float32.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .declaration import Declaration

if TYPE_CHECKING:
    from .algebra import Explained

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Probe:
    """One question: which ids, in which mode, and the seed of everything else that is drawn (cotangent, rows, directions)."""

    ids: Array
    seed: int = 0
    train: bool = False

    @property
    def mode(self) -> str:
        """``"train"`` or ``"eval"``."""
        return "train" if self.train else "eval"


@dataclass(frozen=True)
class Region:
    """A window on memory. ``storage`` is a label (never an address); offset and strides count elements.

    ``kind`` is parameter, buffer, or outside (a tensor that no module registers).
    """

    storage: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    owner: str
    kind: str
    trainable: bool


@dataclass(frozen=True, eq=False)
class Use:
    """The V x D array that one use of the table read in one pass.

    Attributes:
        values: (V, D).
        region: the memory that it is a view or a lossless in-pass copy of; None where it was computed.
        leaves: names of the parameters, buffers and outside tensors that it was made from.
        narrowed: the narrower dtype that it passed through, if it lost bits there.
        refilled: names of the tensors that this very pass wrote into the memory before it was read.
        where: file, line and module of the call that read it.
        autocast: autocast was on where it was read.
    """

    values: Array
    region: Region | None
    leaves: tuple[str, ...]
    narrowed: str | None = None
    refilled: tuple[str, ...] = ()
    where: str = ""
    autocast: bool = False
    dtype: str = "float32"


@dataclass(frozen=True, eq=False)
class Sides:
    """The two uses of the table; ``head`` is None where the projection's array is not known.

    ``others`` are arrays that the pass looks up for something else (positions, segments), by name.
    """

    table: Use
    head: Use | None
    others: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Look:
    """What one watched pass showed.

    Attributes:
        table: what the lookup of the token ids read.
        head: what the projection read; None where no product was recognised.
        tokens, rows: the lookup's function: token ``tokens[i]`` read row ``rows[i]``.
        rows_read: every row of the table that any lookup of the pass read.
        lookup_exact: whether the lookup's output was bit for bit the rows of the array.
        input_scales: the scalars by which the lookup's output was multiplied before anything else used it.
        input_sums: for each lookup, the sum of those scalars (parts that are scaled apart and added again).
        factors: the scalars multiplied on h before, on the weight, and on the logits after the projection.
        hidden: (M, D) what the projection read, in the order it read it; None where unseen.
        pieces: how many rows of it each product read, where several read stretches of positions.
        logits: (N, C) of the watched pass; good for the premise, never a reference (compiled code runs eagerly in it).
        product_dtype, network_dtypes: of the projection's product, and of the other products of the network.
        casts: dtypes that something made from the model's tensors was narrowed to on the way.
        written: names of tensors of the model that the pass wrote, the table's first.
        cut_lookups, cut_products: where a lookup or a product of the projection read the table outside the graph.
        others: other arrays of V rows that a lookup of the pass read (positions, segments), by name.
    """

    table: Use
    head: Use | None
    tokens: Array
    rows: Array
    rows_read: Array
    lookup_exact: bool = True
    input_scales: tuple[float, ...] = ()
    input_sums: tuple[float, ...] = ()
    factors: tuple[float, ...] = ()
    hidden: Array | None = None
    pieces: tuple[int, ...] = ()
    logits: Array = field(default_factory=lambda: np.zeros((0, 0)))
    product_dtype: str = ""
    network_dtypes: tuple[str, ...] = ()
    casts: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    padding_seen: int | None = None
    head_where: str = ""
    trail: tuple[str, ...] = ()
    cut_lookups: tuple[str, ...] = ()
    cut_products: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Gradient:
    """dL/dE for L = <R, logits>.

    Attributes:
        table: (V, D), summed over every leaf that lies over the table's memory.
        head: (V, D) at the projection's own array, where that is another.
        again: the same after a second backward pass without clearing; equals 2 * table where passes add.
        by_object: how many distinct leaf tensors over the table's memory received a share.
        routes: where the table is computed: for each parameter that it is made of, the norm of what the lookup's array and
            the projection's send on to it for one and the same cotangent, and of their difference.
        edges: on consecutive calls, how many edges of the autograd graph enter the table.
        train_edges: the same in train mode, where that mode is not gathered whole.
    """

    table: Array | None
    head: Array | None = None
    again: Array | None = None
    by_object: tuple[str, ...] = ()
    edges: tuple[int, ...] = ()
    train_edges: tuple[int, ...] = ()
    routes: tuple[tuple[str, float, float, float], ...] = ()
    note: str = ""


@dataclass(frozen=True, eq=False)
class Difference:
    """A central difference of L along ``direction`` on ``rows`` at several steps: (L(+) - L(-)) / (2 step)."""

    rows: Array
    direction: Array
    steps: tuple[float, ...]
    quotients: tuple[float, ...]
    control: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Writing:
    """One forward after writing rows that no lookup of the pass reads, and the same before; logits of legal tokens alone.

    ``exact``: both ran in one grad mode, so that untouched logits keep their bits; else a kernel may round otherwise.
    ``roles`` says what each row got: "random", "zero", or "copy" of row ``model``.
    """

    rows: Array
    roles: tuple[str, ...]
    values: Array
    before: Array
    after: Array
    side: str = "head"
    source: int = -1
    exact: bool = True


@dataclass(frozen=True, eq=False)
class Sharp:
    """The lookup's share once more in float64: its gradient, the logits, and differences.

    ``coarsest`` is the narrowest dtype that the pass went through all the same (a norm that computes in float32).
    """

    gradient: Array
    logits: Array
    differences: tuple[Difference, ...]
    coarsest: str = "float64"


@dataclass(frozen=True, eq=False)
class Pass:
    """Everything gathered for one probe in one mode. What a subject cannot give is None.

    ``bias`` and ``token_scale`` are what the parameters hold that the declaration names, (C,), where no pass shows how they act.
    ``apart`` are, where the lookup's share is off, two more differences: along it on the rows that were read once, and at right
    angles to it on those that were read more often; ``rowwise`` is one along the share of each of a few rows, ``total`` one along
    a single vector on all rows, both shares at once. ``fixed`` is one along the projection's share on the rows that were read
    although they are none of the ids.
    Where it cannot be watched: ``beyond`` are rows that it reads although they are none of its ids; in ``blank`` every row that
    it does not read is zero, and in ``units`` some of them are unit vectors, so that their logits give h back.
    """

    probe: Probe
    logits: Array
    dtype: str
    table: Array
    table_dtype: str
    cotangent: Array
    look: Look | None = None
    head: Array | None = None
    held: Sides | None = None
    bias: Array | None = None
    token_scale: Array | None = None
    injected: tuple[Array, Array] | None = None
    beyond: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    blank: Writing | None = None
    units: tuple[Writing, ...] = ()
    gradient: Gradient | None = None
    differences: tuple[Difference, ...] = ()
    along: Difference | None = None
    apart: tuple[Difference, ...] = ()
    rowwise: tuple[Difference, ...] = ()
    total: Difference | None = None
    fixed: Difference | None = None
    sharp: Sharp | None = None
    writing: Writing | None = None
    through: Writing | None = None
    declared: Declaration = field(default_factory=Declaration)

    @property
    def sides(self) -> Sides | None:
        """The two uses: as the watched pass showed them, else as writing to what the subject holds did; None if neither."""
        return self.held if self.look is None else Sides(self.look.table, self.look.head, self.look.others)

    @property
    def lookup_rows(self) -> Array:
        """Every row that a lookup of the pass read; where it could not be watched, the ids and what writing found beyond."""
        return self.look.rows_read if self.look is not None else np.union1d(self.probe.ids, self.beyond)

    @property
    def legal(self) -> Array:
        """The logits of legal tokens: what stands in the columns of a padded vocabulary may be any number."""
        return self.logits[:, : self.declared.vocabulary]

    @property
    def projected(self) -> Array:
        """The array that the projection is judged against: the table, or the projection's own where it is another memory."""
        from .algebra import projected

        return projected(self)

    @cached_property
    def explained(self) -> Explained:
        """The simplest map from h and the projection's array to the logits, computed once."""
        from .algebra import explain
        from .shares import settle

        return settle(self, explain(self))


def kept(old: Pass, **changes: Any) -> Pass:
    """A pass with more evidence; what was worked out already stays worked out."""
    new = dataclasses.replace(old, **changes)
    if "explained" in old.__dict__ and "injected" not in changes:
        new.__dict__["explained"] = old.__dict__["explained"]
    return new


@dataclass(frozen=True)
class Named:
    """A tensor that the model holds under a name. ``object`` labels identity: equal labels are one object."""

    name: str
    object: int
    region: Region
    size: int


@dataclass(frozen=True, eq=False)
class Holdings:
    """Names, memory and enumerations.

    Attributes:
        named: every name (aliases too) of parameters, buffers and tensors that the pass read from outside.
        trainable: distinct trainable scalars.
        lists: for each enumeration, how often it lists each of the table's parameters.
        refused: enumerations that were not asked, with the reason.
        stumbles: enumerations that fail because one name of the table stands for another, with what they raised.
        own_counts: what the model says of its own size.
        explained_counts: sizes that are a count of distinct parameters less named position tables.
        dead: trainable V x D parameters that no logit and no loss depends on.
        twin: distinct trainable scalars of the twin with the flag turned; None without one.
    """

    named: tuple[Named, ...]
    trainable: int
    lists: Mapping[str, tuple[tuple[str, int], ...]]
    refused: Mapping[str, str] = field(default_factory=dict)
    stumbles: Mapping[str, str] = field(default_factory=dict)
    own_counts: Mapping[str, int] = field(default_factory=dict)
    explained_counts: tuple[int, ...] = ()
    dead: tuple[str, ...] = ()
    twin: int | None = None


@dataclass(frozen=True, eq=False)
class Loss:
    """The model's own loss: difference quotients along rows that no lookup read, and along rows that one did."""

    unseen: Difference
    seen: Difference
    gradient: Array


@dataclass(frozen=True, eq=False)
class Step:
    """The first optimizer step of a short training, as both sides of the table show it, on some rows.

    Attributes:
        kind: "sgd" (momentum 0.9) or "adamw"; rate and decay as its groups had them.
        rows: which rows of the table.
        before, gradient, after: (rows, D): the table, its accumulated gradient before clipping, and the lookup's side after.
        head: (rows, D) the projection's side after the step; None where its array has other rows or was not seen.
        norm, distinct: of all gradients, as clipping measured it over ``parameters()`` and over distinct parameters.
        clipped: by which the gradient is multiplied, if clipping measured the norm of distinct parameters.
        epsilon: of AdamW.
        corrections: the dtype in which it works out its bias corrections.
        refused: why no step was made.
    """

    kind: str
    rate: float = 0.0
    decay: float = 0.0
    rows: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    before: Array | None = None
    gradient: Array | None = None
    after: Array | None = None
    head: Array | None = None
    norm: float = 0.0
    distinct: float = 0.0
    clipped: float = 1.0
    epsilon: float = 0.0
    corrections: str = "float64"
    dtype: str = "float32"
    refused: str = ""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A few steps of SGD with momentum in float64, by the model and by the reference's hand-derived gradients.

    Attributes:
        steps, rate: how many, and the learning rate.
        seen, expected: the table (V, D) afterwards, as the model holds it and as the reference computes it.
        moved: the largest movement of any weight, the scale of what may differ.
        others: for each other weight, how far the two are apart at most.
    """

    steps: int
    rate: float
    seen: Array
    expected: Array
    moved: float
    others: Mapping[str, float]


@dataclass(frozen=True)
class Lost:
    """A requirement that fails on what became of a model and did not before: what a finding says, kept in its place.

    A case for each operation would keep a table and a gradient for each; this is all that is asked of them later.
    """

    id: str
    cause: str
    message: str
    counterexample: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Trained:
    """A model after a few steps of one optimizer: the first step, and what no longer holds afterwards."""

    step: Step
    lost: tuple[Lost, ...] = ()
    broken: str = ""


@dataclass(frozen=True, eq=False)
class After:
    """One operation, performed on a model that was trained a little, and what was seen of the model that came back.

    Attributes:
        word: of ``lost-on-WORD``.
        spelling: the operation as a user writes it.
        exact: whether it promises the same values.
        weak: whether its passing says nothing.
        halfway: whether it left the model in another precision, where only storage and count are asked.
        lost: what no longer holds, where it was performed.
        before, after: logits (N, C) for the same ids.
        refused: why it could not be performed, for reasons that are not the table's.
        broken: what came back cannot be loaded, or no longer runs.
    """

    word: str
    spelling: str
    exact: bool = True
    weak: bool = False
    halfway: bool = False
    lost: tuple[Lost, ...] = ()
    before: Array | None = None
    after: Array | None = None
    dtype: str = "float32"
    refused: str = ""
    broken: str = ""


@dataclass(frozen=True, eq=False)
class Chain:
    """A sequence of operations that loses the tie, as short as it could be made.

    Attributes:
        words, spellings, lines: of its operations, in order; ``lines`` are Python.
        lost: what no longer holds after the last.
        should: whether one of them is a SHOULD.
        ends: the names of what the lookup and the projection read afterwards, "" where that has none.
        code: a script that shows it without tiecheck, "" where the framework has none.
    """

    words: tuple[str, ...]
    spellings: tuple[str, ...]
    lost: Lost
    should: bool = False
    lines: tuple[str, ...] = ()
    ends: tuple[str, str] = ("", "")
    code: str = ""


@dataclass(frozen=True, eq=False)
class Sequences:
    """Which sequences were tried: of which operations, how many of their ordered pairs, how many drawn and long ones, and how
    many triples of kinds of operations in a row."""

    elements: tuple[str, ...]
    of: int = 0
    pairs: int = 0
    drawn: int = 0
    walks: int = 0
    triples: int = 0
    longest: int = 0
    lost: Chain | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """All the evidence of one example, as requirements read it.

    ``unreached`` are rows that a lookup read and no logit depends on, None where that was not asked; ``instead`` are the rows
    that were read in place of the first, where that could be found.
    ``repeats`` are logits of equal calls in eval mode with the generators left to run; ``missing`` says, by capability,
    why something was not gathered; ``initial`` are logits (N, C) of a model that nothing has trained or moved yet.
    ``trained``, ``trajectory``, ``after`` and ``sequences`` are what became of it later; ``copied`` says that they happened to
    a deepcopy. ``flipped``: in eval mode both uses read one memory at first, and after a pass in train mode no longer.
    """

    declared: Declaration
    passes: tuple[Pass, ...]
    repeats: tuple[Array, ...] = ()
    holdings: Holdings | None = None
    loss: Loss | None = None
    responds: bool = True
    unreached: tuple[int, ...] | None = None
    instead: tuple[int, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    initial: Array | None = None
    trained: tuple[Trained, ...] = ()
    trajectory: Trajectory | None = None
    after: tuple[After, ...] = ()
    sequences: Sequences | None = None
    copied: bool = False
    flipped: bool = False

    @property
    def first(self) -> Pass:
        """The pass in eval mode."""
        return self.passes[0]

    def why(self, capability: str, otherwise: str) -> str:
        """The reason that a capability is absent."""
        return self.missing.get(capability, otherwise)


_CLASSES: dict[str, type] = {
    c.__name__: c
    for c in (
        Probe,
        Region,
        Use,
        Sides,
        Look,
        Gradient,
        Difference,
        Writing,
        Sharp,
        Pass,
        Named,
        Holdings,
        Loss,
        Step,
        Trajectory,
        Lost,
        Trained,
        After,
        Chain,
        Sequences,
        Case,
        Declaration,
    )
}


def dump(case: Case, path: Path) -> None:
    """Write a case to an ``.npz`` file that `load` reads back without torch and without pickle."""
    arrays: dict[str, Array] = {}

    def encode(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            arrays[f"a{len(arrays)}"] = value
            return {"array": f"a{len(arrays) - 1}"}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
            return {"class": type(value).__name__, "fields": fields}
        if isinstance(value, tuple | list):
            return {"tuple": [encode(v) for v in value]}
        if isinstance(value, Mapping):
            return {"map": {k: encode(v) for k, v in value.items()}}
        if isinstance(value, np.generic):
            return value.item()
        return value

    text = json.dumps(encode(case))
    with path.open("wb") as stream:
        np.savez(stream, allow_pickle=False, case=np.array(text), **arrays)


def load(path: Path) -> Case:
    """Read what `dump` wrote. Raises ValueError for any other file."""
    with np.load(path, allow_pickle=False) as stored:
        if "case" not in stored:
            raise ValueError(f"{path} is no evidence of tiecheck")

        def decode(value: Any) -> Any:
            if not isinstance(value, dict):
                return value
            if "array" in value:
                return stored[value["array"]]
            if "tuple" in value:
                return tuple(decode(v) for v in value["tuple"])
            if "map" in value:
                return {k: decode(v) for k, v in value["map"].items()}
            return _CLASSES[value["class"]](**{k: decode(v) for k, v in value["fields"].items()})

        case = decode(json.loads(str(stored["case"])))
    assert isinstance(case, Case)
    return case
