"""What an adapter brings: a module with `accepts`, `subject_of`, and where it has names of its own, `build`.

An adapter is found through the entry-point group ``tiecheck.adapters``; its entry's name is the BACKEND of the target
``BACKEND:NAME``. NumPy is the only thing that crosses the boundary. Shapes: ids (B, T) integers; logits (N, C) float64,
one row a position; table (V, D).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from .declaration import Declaration
from .evidence import Array


@runtime_checkable
class Subject(Protocol):
    """Three things that every subject can do. Entering it may move it off what is neutral; leaving puts it back.

    What a subject can do beyond that it has as a method of the name below; a method that is missing, or a reason under
    its name in ``missing``, makes requirements skip:

    - ``look(probe) -> Look | None``: one watched pass
    - ``gradient(probe, cotangent, again=False) -> (logits, dtype, Gradient)``; ``cotangent(shape)`` draws R for the logits
    - ``edges(probe, calls) -> tuple[int, ...]``
    - ``inject(probe, hidden) -> logits | None``: a chosen h at the projection
    - ``holdings(probe, twin) -> Holdings``: with ``twin``, the twin with the flag turned is counted too
    - ``own_loss(ids, targets) -> (value, dL/dE) | None`` and ``loss_value(ids, targets)``
    - ``sharpened()``: a context in which everything is float64; yields whether it is
    - ``head() -> (V, D)``: the projection's own array, where it is another than the table and no pass can be watched
    - ``control(probe, cotangent) -> (claimed, quotient)``: one difference along the network's own parameters
    - ``can_write(side)``: whether rows lie in memory as rows (without it: they do)
    - ``dtypes``: every dtype that the table could have, known before any pass
    - ``quantized(values)``: values as the table's dtype holds them
    - ``initial(ids)``: logits with what is neutral at initialization put back for the moment
    - ``steps(probe, kind, count) -> Step``: train a model of the run's own with "sgd" or "adamw"
    - ``trajectory(probe, steps) -> Trajectory | None``: the same beside the reference, where the weights map onto it
    - ``operations() -> tuple[Operation, ...]``, ``copied()`` and ``again(model)``, the subjects of a deepcopy and of a model
      that was built afresh, which belong to the run: entering those puts nothing back
    - ``assign(to, of)``: let one name of the model hold the very tensor of another
    - ``sides(probe) -> Sides``: which array each use reads, where no pass can be watched; ``idiom``: how its framework ties
    - ``shares(other)``: whether two subjects hold any memory together; ``size()``: scalars that a model holds
    """

    name: str
    notes: tuple[str, ...]
    missing: dict[str, str]
    forward_passes: int
    backward_passes: int

    def __enter__(self) -> Any: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def logits(self, ids: Array, train: bool = False, reseed: bool = True) -> Array:
        """Logits (N, C). ``reseed`` fixes the generators first. Raises NotJudged where there are none."""
        ...

    def table(self) -> Array:
        """The table (V, D)."""
        ...

    def written(self, side: str, rows: Array, values: Array) -> AbstractContextManager[None]:
        """A block inside which rows of the table (``side`` "table") or of the projection's array ("head") hold ``values``."""
        ...


@dataclass(frozen=True)
class Built:
    """A model before it is judged.

    Attributes:
        model: what the framework calls a model.
        declaration: what its config or factory declares; None where nothing does.
        flag: whether it was built with the tie flag that was asked for (then ``--declare`` decides how it is built).
        notes: sentences that the reader should see with the verdict.
        untrained: whether its weights are as its initialization drew them, for all that is known.
        twin: trainable scalars of the same model with the flag turned, computed on demand.
        extra: for the adapter itself.
        tied: what a factory's keyword was when it was built; None where it has none, or its default says nothing.
    """

    model: Any
    declaration: Declaration | None = None
    flag: bool = False
    notes: tuple[str, ...] = ()
    untrained: bool = True
    twin: Callable[[], int | None] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    tied: bool | None = None


@dataclass(frozen=True)
class Backend:
    """What ``tiecheck list`` says of an adapter.

    Attributes:
        name: the BACKEND of ``BACKEND:NAME``.
        summary: what it judges.
        installed: whether what it needs is importable here.
        asks: capabilities, in words.
        names: the names that ``BACKEND:NAME`` takes, or one sentence for them.
    """

    name: str
    summary: str
    installed: bool
    asks: tuple[str, ...]
    names: tuple[str, ...] = ()


class Ends(Protocol):
    """Both ends of one tied model, kept so that asking again costs microseconds and keeps no model alive."""

    def unchanged(self, model: Any) -> bool:
        """Whether the model holds at every place that matters the very object that it held when the ends were found."""
        ...

    def listed(self, model: Any, optimizer: Any) -> None:
        """Raises TieLost unless the optimizer (or several, in a list) holds the table's parameter exactly once."""
        ...

    def described(self) -> str:
        """The table by all of its names, with its shape and dtype, for one line."""
        ...


class Steps(Protocol):
    """The steps of one or several optimizers, told as they happen.

    ``optimizers`` are those that are followed: the ones that were handed in, or what took the place of one.
    """

    optimizers: list[Any]

    def close(self) -> None:
        """Nothing is told any more, and nothing stays behind."""
        ...


@dataclass(frozen=True)
class Shares:
    """The gradient at the table in two shares, of one pass.

    Attributes:
        loss: of which it is the gradient.
        lookup: norm of what the lookups by the ids give.
        projection: norm of the rest, which is the projection's.
        total: norm of their sum.
        cosine: between the two shares; 0 where one of them is zero.
    """

    loss: float
    lookup: float
    projection: float
    total: float
    cosine: float


class Recorder(Protocol):
    """Remembers how a training calls its model, to make the same call once more."""

    def measured(self, ends: Any) -> Shares:
        """The shares at the table that ``ends`` holds, for the latest call. Raises NotJudged."""
        ...

    def close(self) -> None:
        """Nothing stays on the model."""
        ...


class Adapter(Protocol):
    """The functions of an adapter module.

    One that can be asked for identity alone has a further one, which `assert_tied` needs:
    ``ends_of(model, ids, before) -> Ends``. It finds both ends, raises TieLost where they are not one table and NotJudged
    where they cannot be found; ``before`` is what it gave for this model the last time, where that has changed.

    One whose models are trained by an optimizer has three more for `watch`:

    - ``steps_of(optimizer, after) -> Steps``: calls ``after(optimizer)`` whenever a step is done
    - ``behaving(model)``: a block in which the model that it gives may be judged between two steps
    - ``shares_of(model, ignored) -> Recorder``: each use's share of the gradient; ``ignored()`` says whether a call of the
      model is none of the training's

    What else the module may say, each with what its absence means:

    - ``FLAG``: whether ``build`` heeds ``tied``, so that ``--declare`` decides how a model is built (absent: it does)
    - ``FLAG_NAME``: what its users call that flag (absent: "tied")
    - ``about_flag(name, seed) -> tuple[str, ...]``: sentences on the places at which a model has the flag, and which of them
      counts; asked under ``--declare both`` alone, since it may build several models (absent: nothing to say)
    - ``SHOWN``: the names that a matrix judges, where it shows only a few of them (absent: all that `backend` lists)
    - ``every() -> tuple[str, ...]``: the names that a matrix judges where it is asked for all (absent: the same as without)
    - ``BROKEN``: whether its models are broken on purpose, and left out of a matrix that is not asked for all (absent: no)
    """

    def backend(self) -> Backend:
        """What it is, without importing the framework."""
        ...

    def accepts(self, model: object) -> bool:
        """Whether it can judge this object; must not import a framework that is not loaded already."""
        ...

    def build(self, name: str, *, tied: bool | None, seed: int) -> Built:
        """The model of that name, with the tie flag as asked (None: as its config has it). LookupError: no such name."""
        ...

    def subject_of(
        self,
        built: Built,
        declared: Declaration,
        *,
        name: str,
        seed: int,
        device: str | None,
        dtype: str | None,
        optimizer: Any,
    ) -> Subject:
        """The subject that answers for a built model."""
        ...


def unknown(backend: str, name: str, names: Iterable[str]) -> LookupError:
    """What ``build`` raises for a name that it does not have."""
    return LookupError(f"{backend} has no model {name!r} here; there are {', '.join(names)}")


def adapters() -> dict[str, Any]:
    """Every installed adapter by the name of its entry point, not yet imported."""
    return {point.name: point for point in sorted(entry_points(group="tiecheck.adapters"), key=lambda p: p.name)}
