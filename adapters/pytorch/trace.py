"""Watch one forward pass from below autograd: where every array comes from, what the token ids index, what projects.

A dispatch mode sees each operation of the pass once, whatever the Python above it looks like, and changes no bit of it.
Memory is labelled by its storage object, held weakly so that a freed one can never be taken for a new one.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

LOOKUPS = {"embedding", "index", "index_select", "gather", "_embedding_bag", "_embedding_bag_forward_only"}
# Where the two factors of a product stand among the arguments of its operation.
PRODUCTS = {
    "mm": (0, 1), "bmm": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2), "addbmm": (1, 2), "mv": (0, 1), "addmv": (1, 2),
    "dot": (0, 1), "linear": (0, 1), "convolution": (0, 1), "mul": (0, 1), "_addmm_activation": (1, 2),
}  # fmt: skip
COPIES = {
    "clone",
    "_to_copy",
    "contiguous",
    "copy_",
    "to",
    "_unsafe_view",
    "_reshape_copy",
    "native_dropout",
    "lift_fresh",
}
SCALINGS = {"mul", "mul_", "div", "div_", "neg", "neg_"}
_TORCH = str(Path(torch.__file__).parent)
_HERE = str(Path(__file__).parent)
_WIDTH = {torch.float64: 64, torch.float32: 32, torch.float16: 16, torch.bfloat16: 16}


Window = tuple[int, int, tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Trace:
    """Where the values of one storage come from.

    leaves: storages that existed before the pass; ids: depends on the token ids; lookup, scale: it is that lookup's
    output times a number and nothing else; products: the last products that flowed into it; past: all of them; factors: numbers multiplied on it
    since the last operation of the network; origin: the leaf array that it copies; narrow: the narrower dtype that a lookup's output was cast to; trail: the operations
    on the logits, in place or not; windows: what was read of leaves (2-dimensional and larger ones) otherwise than by a lookup or as a
    product's array: (storage, offset, shape, strides); reads: the lookups that flowed into it.
    """

    leaves: frozenset[int] = frozenset()
    ids: bool = False
    lookup: int | None = None
    scale: float = 1.0
    products: frozenset[int] = frozenset()
    past: frozenset[int] = frozenset()
    factors: tuple[float, ...] = ()
    origin: Tensor | None = None
    narrow: torch.dtype | None = None
    trail: tuple[str, ...] = ()
    windows: frozenset[Window] = frozenset()
    reads: frozenset[int] = frozenset()


@dataclass
class Lookup:
    """One read of rows of an array: ``array`` is (V, D), a view of ``source``; ``rows`` are the row numbers in order.

    ``scales`` is by the memory that the network took the (scaled) output from, ``reader`` the path of the module at work.
    """

    array: Tensor
    source: Tensor
    rows: Tensor
    trace: Trace
    by_ids: bool
    where: str
    autocast: bool
    graded: bool
    padding: int | None = None
    reader: str = ""
    scales: dict[int, float] = field(default_factory=dict)
    narrow: set[torch.dtype | None] = field(default_factory=set)


@dataclass
class Product:
    """One product of an array made of parameters with something that depends on the ids.

    array: (rows, contracted) or, for an elementwise product, both dimensions of unknown order; hidden: (n, contracted).
    """

    op: str
    array: Tensor
    source: Tensor
    hidden: Tensor
    trace: Trace
    hidden_trace: Trace
    where: str
    autocast: bool
    graded: bool
    dtype: torch.dtype
    reader: str = ""


Inject = Callable[[int, Tensor], Tensor | None]


def key_of(tensor: Tensor) -> int:
    """A label of the memory behind a tensor, equal for all views of it."""
    return int(tensor.untyped_storage()._cdata)


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in what an operation of torch is given or returns: torch's own way through any tree takes twenty times as
    long."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the lookups and products of one pass; optionally puts a chosen h into a product (``inject``).

    ``on_lookup`` gets each lookup's number and what it gives. ``selected`` says where one of two lookups of windows on one
    memory was taken for each position: by their numbers, which.
    """

    def __init__(
        self,
        module: nn.Module,
        named: Iterable[tuple[str, Tensor]],
        ids: Tensor,
        on_write: Callable[[Tensor], None] | None = None,
        inject: Inject | None = None,
        on_lookup: Callable[[int, Tensor], None] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: dict[int, str] = {}
        self.leaf: dict[int, Tensor] = {}
        self.traces: dict[int, Trace] = {}
        self.row_views: dict[tuple[int, int], Trace] = {}
        self.lookups: list[Lookup] = []
        self.selected: dict[frozenset[int], Tensor] = {}
        self.products: list[Product] = []
        self.casts: set[torch.dtype] = set()
        self.writes: dict[int, set[int]] = {}
        self.dtypes: set[torch.dtype] = set()
        self._held: dict[int, Any] = {}
        self._current: int | None = None
        self._pending: int | None = None
        self._loops: dict[tuple[int, ...], int] = {}
        self._modules = {id(m): name for name, m in module.named_modules()}
        self._on_write = on_write
        self._inject = inject
        self._on_lookup = on_lookup
        for name, tensor in named:
            self._add_leaf(tensor, name)
        self._hold(ids, Trace(ids=True))

    def _add_leaf(self, tensor: Tensor, name: str) -> Trace:
        key = key_of(tensor)
        if key in self.leaf:
            return self.traces[key]
        self.names[key], self.leaf[key] = name, tensor
        return self._hold(tensor, Trace(frozenset([key]) if tensor.is_floating_point() else frozenset()))

    def _hold(self, tensor: Tensor, trace: Trace) -> Trace:
        key = key_of(tensor)
        if key not in self._held:
            self._held[key] = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
        self.traces[key] = trace
        return trace

    def trace(self, tensor: Tensor) -> Trace:
        """Where a tensor comes from; one that is met for the first time existed before the pass."""
        key = key_of(tensor)
        if self.row_views and key in self.leaf:
            row = self.row_views.get((key, int(tensor.storage_offset())))
            if row is not None and tensor.numel() == self.lookups[row.lookup or 0].array.shape[1]:
                return row
        known = self.traces.get(key)
        if known is None:
            if tensor.is_floating_point() and tensor.numel() > 1:
                return self._add_leaf(tensor, f"a tensor of shape {tuple(tensor.shape)} outside the model's parameters")
            return self._hold(tensor, Trace())
        if known.origin is None and key in self.leaf and tensor.is_floating_point():
            return replace(known, origin=tensor)
        return known

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        inputs = [*_tensors(args), *_tensors(kwargs)]
        if any(t.is_sparse or t.layout != torch.strided for t in inputs):
            return func(*args, **kwargs)
        before = [self.trace(t) for t in inputs]
        self._current = self._pending = None
        if name in PRODUCTS:
            args = self._product(name, args)
        self._note_writes(func, args, kwargs, before)
        out = func(*args, **kwargs)
        outputs = [t for t in _tensors(out) if t.layout == torch.strided]
        if not outputs:
            return out
        merged = self._merge(name, args, inputs, before, outputs[0])
        windows = self._windows(inputs, before)
        reads = _reads(before)
        if windows or reads:
            merged = replace(merged, windows=windows, reads=reads)
        if name == "_to_copy" and merged.leaves and narrower(outputs[0].dtype, inputs[0].dtype):
            self.casts.add(outputs[0].dtype)
        special = self._lookup(name, args, kwargs, outputs[0])
        if special is not None and special.lookup is not None and self._on_lookup is not None:
            self._on_lookup(special.lookup, outputs[0])
        keys = {key_of(t): trace for t, trace in zip(inputs, before, strict=True)}
        fresh = any(key_of(t) not in keys for t in outputs) or name.endswith("_")
        if fresh and not self._carries(name, args, merged):
            self._consumed(inputs, before)
        for tensor in outputs:
            old = keys.get(key_of(tensor))
            if special is not None:
                if old is None:
                    self._hold(tensor, special)
            elif old is None or (name.endswith("_") and key_of(tensor) not in self.leaf):
                self._hold(tensor, merged)
        return out

    def _merge(self, name: str, args: Any, inputs: list[Tensor], before: list[Trace], output: Tensor) -> Trace:
        """The trace of a result: what it depends on, and whether it is still a lookup or a projection times a number."""
        leaves = frozenset().union(*(t.leaves for t in before))
        ids = any(t.ids for t in before)
        step = name.removesuffix("_")
        if self._current is not None:
            past = frozenset([self._current]).union(*(t.past for t in before))
            return Trace(leaves, ids, products=frozenset([self._current]), past=past, trail=(step,))
        factor = self._factor(name, args)
        main = max(before, key=lambda t: (t.ids, len(t.leaves)), default=Trace())
        if factor is not None:
            return replace(
                main,
                leaves=leaves,
                scale=main.scale * factor,
                factors=(*main.factors, factor)[-6:],
                origin=None,
                trail=(*main.trail, step)[-12:] if main.products else (),
            )
        carried = [t for t in before if t.leaves or t.ids]
        if name in COPIES and carried:
            source = carried[-1] if name == "copy_" else carried[0]
            narrow = source.narrow
            if source.lookup is not None and narrower(output.dtype, self.lookups[source.lookup].array.dtype):
                narrow = output.dtype
            return replace(source, leaves=leaves, ids=ids, narrow=narrow)
        if name in ("cat", "stack") and carried and all(t.lookup is not None for t in carried):
            same = all((t.scale, self._same_array(t, carried[0])) == (carried[0].scale, True) for t in carried)
            if same:
                return replace(carried[0], leaves=leaves, ids=ids, origin=None)
        if name == "where" and (taken := self._select(args)) is not None:
            return replace(taken, leaves=leaves, ids=ids, origin=None)
        opaque = ids and any(t.leaves and not t.ids and _is_table(x) for t, x in zip(before, inputs, strict=True))
        products = (
            frozenset()
            if opaque or (name in PRODUCTS and name != "mul")
            else frozenset().union(*(t.products for t in before))
        )
        factors = next((t.factors for t in before if t.products), ()) if products else ()
        trail = next((t.trail for t in before if t.products), ()) if products else ()
        past = frozenset().union(*(t.past for t in before))
        trail = (*trail, step)[-12:] if products else ()
        return Trace(leaves, ids, products=products, past=past, factors=factors, trail=trail)

    def _windows(self, inputs: list[Tensor], before: list[Trace]) -> frozenset[Window]:
        """What an operation reads of leaves by slices, sums and the like, itself or through its inputs."""
        found = [t.windows for t in before if t.windows]
        if self._current is None and self._pending is None:
            own = [
                (key_of(t), int(t.storage_offset()), tuple(t.shape), tuple(t.stride()))
                for t, trace in zip(inputs, before, strict=True)
                if t.dim() > 1 and key_of(t) in self.leaf and t.is_floating_point() and not trace.ids
            ]
            found += [frozenset(own)] if own else []
        return frozenset().union(*found)

    def _consumed(self, inputs: list[Tensor], before: list[Trace]) -> None:
        """An operation of the network takes a lookup's output: it stands for what the lookup gives."""
        for tensor, trace in zip(inputs, before, strict=True):
            if trace.lookup is not None and tensor.is_floating_point():
                self.lookups[trace.lookup].scales[key_of(tensor)] = trace.scale
                self.lookups[trace.lookup].narrow.add(trace.narrow)

    def _carries(self, name: str, args: Any, merged: Trace) -> bool:
        """Whether an operation only hands a lookup's output on: a copy, a number times it, a joining of its parts."""
        if name == "where":
            return merged.lookup is not None
        return name in COPIES or name in ("cat", "stack") or self._factor(name, args) is not None

    def _select(self, args: Any) -> Trace | None:
        """What ``where`` takes position by position from two lookups that read windows on one memory, kept in ``selected``."""
        if len(args) != 3 or not all(isinstance(t, Tensor) for t in args) or args[1].shape != args[2].shape:
            return None
        one, other = self.trace(args[1]), self.trace(args[2])
        if one.lookup is None or other.lookup is None or one.lookup == other.lookup or one.scale != other.scale:
            return None
        a, b = self.lookups[one.lookup], self.lookups[other.lookup]
        taken = args[0].expand(args[1].shape)[..., :1].reshape(-1)
        by_position = args[0].shape[-1:] == (1,) and taken.shape == a.rows.shape == b.rows.shape
        if not by_position or key_of(a.array) != key_of(b.array) or key_of(a.array) not in self.leaf:
            return None
        self.selected[frozenset((one.lookup, other.lookup))] = torch.where(taken, one.lookup, other.lookup)
        return one

    def _same_array(self, one: Trace, other: Trace) -> bool:
        a, b = self.lookups[one.lookup or 0].array, self.lookups[other.lookup or 0].array
        return a.shape == b.shape and (key_of(a) == key_of(b) or one.leaves == other.leaves)

    def _factor(self, name: str, args: Any) -> float | None:
        """The number by which this operation scales its tensor, if that is all that it does."""
        if name not in SCALINGS:
            return None
        if name.startswith("neg"):
            return -1.0
        if len(args) < 2:
            return None
        tensor, number = args[0], args[1]
        if isinstance(tensor, Tensor) and isinstance(number, Tensor) and number.numel() != 1 and tensor.numel() == 1:
            if name.startswith("div"):
                return None
            number = tensor
        if isinstance(number, Tensor):
            if number.numel() != 1 or self.trace(number).ids or number.is_complex() or number.device.type == "meta":
                return None
            number = number.item()
        if isinstance(number, complex) or not isinstance(number, int | float):
            return None
        if name.startswith("div"):
            return 1.0 / number if number else None
        return float(number)

    # --- lookups -------------------------------------------------------------------------------------------------

    def _lookup(self, name: str, args: Any, kwargs: Any, output: Tensor) -> Trace | None:
        if self._pending is not None:
            return Trace(self.lookups[self._pending].trace.leaves, ids=True, lookup=self._pending)
        if name == "select" and isinstance(args[0], Tensor):
            return self._row(args[0], int(args[1]), int(args[2]), output)
        if name not in LOOKUPS or not isinstance(args[0], Tensor) or not args[0].is_floating_point():
            return None
        source, trace = args[0], self.trace(args[0])
        if trace.ids or not trace.leaves or source.dim() < 2:
            return None
        dim, rows, padding = 0, args[1], None
        if name == "index":
            places = [i for i, index in enumerate(args[1]) if index is not None]
            if len(places) != 1:
                return None
            dim, rows = places[0], args[1][places[0]]
        elif name in ("index_select", "gather"):
            dim, rows = int(args[1]) % source.dim(), args[2]
            if name == "gather":
                rows = _gathered(source, dim, rows)
        elif name == "embedding":
            padding = args[2] if len(args) > 2 else kwargs.get("padding_idx", -1)
        if rows is None or rows.dtype in (torch.bool, torch.uint8) or rows.is_floating_point():
            return None
        array = _as_matrix(source, dim)
        if array is None:
            return None
        by_ids = self.trace(rows).ids
        padding = padding if padding is not None and padding >= 0 else None
        index = self._add_lookup(array, source, rows.detach().clone().reshape(-1), trace, by_ids, padding)
        return Trace(trace.leaves, ids=by_ids, lookup=index)

    def _add_lookup(
        self, array: Tensor, source: Tensor, rows: Tensor, trace: Trace, by_ids: bool, padding: int | None = None
    ) -> int:
        (where, reader), autocast = self._where(), _autocast(array)
        self.lookups.append(
            Lookup(array, source, rows, trace, by_ids, where, autocast, _graded(source), padding, reader=reader)
        )
        return len(self.lookups) - 1

    def _row(self, source: Tensor, dim: int, row: int, output: Tensor) -> Trace | None:
        """A Python loop over ``W[int(i)]``: the rows are views, so they are told by their offset, not their storage."""
        if (
            not source.is_floating_point()
            or source.dim() != 2
            or not self.trace(source).leaves
            or self.trace(source).ids
        ):
            return None
        key = (key_of(source), source.storage_offset(), dim, *source.shape, *source.stride())
        row = row % source.shape[dim]
        number = torch.tensor([row], device="cpu")
        if key not in self._loops:
            array = source.detach() if dim == 0 else source.detach().T
            self._loops[key] = self._add_lookup(array, source, number, self.trace(source), True)
        else:
            known = self.lookups[self._loops[key]]
            known.rows = torch.cat([known.rows, number])
        trace = Trace(self.trace(source).leaves, ids=True, lookup=self._loops[key])
        if key_of(output) in self.leaf:
            self.row_views[key_of(output), int(output.storage_offset())] = trace
        if self._on_lookup is not None:
            self._on_lookup(self._loops[key], output)
        return None

    # --- products ------------------------------------------------------------------------------------------------

    def _product(self, name: str, args: Any) -> Any:
        first, second = PRODUCTS[name]
        if len(args) <= second or not isinstance(args[first], Tensor) or not isinstance(args[second], Tensor):
            return args
        a, b = args[first], args[second]
        if not (a.is_floating_point() and b.is_floating_point()):
            return args
        traces = {first: self.trace(a), second: self.trace(b)}
        weights = [i for i, t in traces.items() if t.leaves and not t.ids]
        if name != "mul":
            self.dtypes.add(a.dtype)
        if len(weights) != 1:
            return args
        weight, other = weights[0], first + second - weights[0]
        if not traces[other].ids:
            return args
        shaped = _operands(name, args[weight], args[other], weight == first)
        if shaped is None:
            return args
        array, hidden = shaped
        if not traces[other].leaves:
            hot = _one_hot(hidden)
            if hot is not None and name != "mul":
                self._pending = self._add_lookup(array.T, args[weight], hot, traces[weight], True)
                return args
        if name == "mul" and min(array.shape) < 2:
            return args
        self._current = len(self.products)
        kept = hidden.clone() if hidden.numel() < 1 << 22 else hidden
        (where, reader), autocast = self._where(), _autocast(array)
        source, graded, both = args[weight], _graded(args[weight]), (traces[weight], traces[other])
        self.products.append(
            Product(name, array, source, kept, *both, where, autocast, graded, array.dtype, reader=reader)
        )
        if self._inject is not None:
            chosen = self._inject(self._current, hidden)
            if chosen is not None:
                args = list(args)
                args[other] = _unflatten(name, chosen, args[other], weight == first)
                args = tuple(args)
        return args

    # --- writes and places ---------------------------------------------------------------------------------------

    def _note_writes(self, func: Any, args: Any, kwargs: Any, before: list[Trace]) -> None:
        if not func._schema.is_mutable:
            return
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._written(value, before)
        for argument in func._schema.arguments:
            if argument.alias_info is not None and argument.alias_info.is_write and argument.name in kwargs:
                self._written(kwargs[argument.name], before)

    def _written(self, value: Any, before: list[Trace]) -> None:
        for tensor in _tensors(value):
            if key_of(tensor) in self.leaf:
                if self._on_write is not None:
                    self._on_write(tensor)
                own = key_of(tensor)
                sources = frozenset().union(*(t.leaves for t in before)) - {own}
                self.writes.setdefault(own, set()).update(sources)

    def _where(self) -> tuple[str, str]:
        """File, line and module of the innermost call outside torch and this package, in words; the module's path."""
        frame = sys._getframe(3)
        place, module = "", ""
        while frame is not None:
            file = frame.f_code.co_filename
            if not module:
                owner = frame.f_locals.get("self")
                if isinstance(owner, nn.Module):
                    module = self._modules.get(id(owner), "")
            if not place and not file.startswith((_TORCH, _HERE, "<")):
                place = f"{file}:{frame.f_lineno}"
            if place and module:
                break
            frame = frame.f_back  # type: ignore[assignment]
        return (f"{place} (in {module})" if module else place), module


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """Compiled code runs eagerly while it is watched, and stays compiled afterwards."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def _reads(traces: list[Trace]) -> frozenset[int]:
    """The lookups that flowed into any of several tensors."""
    own = [t.lookup for t in traces if t.lookup is not None]
    return frozenset(own).union(*(t.reads for t in traces))


def _graded(tensor: Tensor) -> bool:
    """Whether autograd follows what is done with a tensor."""
    return tensor.requires_grad and torch.is_grad_enabled()


def _autocast(tensor: Tensor) -> bool:
    return not tensor.is_meta and torch.is_autocast_enabled(tensor.device.type)


def _is_table(tensor: Tensor) -> bool:
    """Whether an operand is a matrix at least: an operation with it that is no known product is one that is not seen through."""
    return len(_real(tensor, -1)) >= 2


def _real(source: Tensor, dim: int) -> list[int]:
    """The dimensions of an array that are more than a repetition, and ``dim``."""
    return [i for i, n in enumerate(source.shape) if (n != 1 and source.stride(i) != 0) or i == dim]


def _as_matrix(source: Tensor, dim: int) -> Tensor | None:
    """The array of rows that indexing along ``dim`` reads, as a (V, D) view."""
    keep = _real(source, dim)
    if len(keep) != 2:
        return None
    if source.dim() != 2:
        source, dim = source[tuple(slice(None) if i in keep else 0 for i in range(source.dim()))], keep.index(dim)
    return source if dim == 0 else source.T


def _gathered(source: Tensor, dim: int, index: Tensor) -> Tensor | None:
    """The row numbers of a gather whose index repeats them along the columns."""
    keep = _real(source, dim)
    if len(keep) != 2:
        return None
    return index.select(next(i for i in keep if i != dim), 0)


def _operands(name: str, weight: Tensor, other: Tensor, weight_first: bool) -> tuple[Tensor, Tensor] | None:
    """(rows, contracted) of the weight and (n, contracted) of what it multiplies, as views where possible."""
    if name == "linear":
        return (weight, other.reshape(-1, other.shape[-1])) if not weight_first and weight.dim() == 2 else None
    if name == "convolution":
        if weight_first or weight.dim() < 3 or weight.numel() != weight.shape[0] * weight.shape[1]:
            return None
        return weight.reshape(weight.shape[:2]), other.movedim(1, -1).reshape(-1, other.shape[1])
    if name == "mul":
        keep = [i for i, size in enumerate(weight.shape) if size != 1 and weight.stride(i) != 0]
        if len(keep) != 2:
            return None
        matrix = weight[tuple(slice(None) if i in keep else 0 for i in range(weight.dim()))]
        return matrix, other
    if name in ("bmm", "baddbmm", "addbmm"):
        if weight.shape[0] != 1 and weight.stride(0) != 0:
            return None
        weight = weight[0]
        hidden = other.transpose(1, 2) if weight_first else other
        return (weight if weight_first else weight.T), hidden.reshape(-1, hidden.shape[-1])
    if name in ("mv", "addmv"):
        return (weight, other[None]) if weight_first else (weight[None], other)
    if name == "dot":
        return weight[None], other[None]
    return (weight, other.T) if weight_first else (weight.T, other)


def _unflatten(name: str, chosen: Tensor, like: Tensor, weight_first: bool) -> Tensor:
    """The inverse of `_operands` for the second operand."""
    chosen = chosen.to(like.dtype)
    if name == "convolution":
        shape = (like.shape[0], *like.shape[2:], like.shape[1])
        return chosen.reshape(shape).movedim(-1, 1).contiguous()
    if name in ("bmm", "baddbmm", "addbmm") and weight_first:
        return chosen.reshape(like.shape[0], like.shape[2], like.shape[1]).transpose(1, 2).contiguous()
    if weight_first and name in ("mm", "addmm"):
        return chosen.T.contiguous()
    return chosen.reshape(like.shape)


def _one_hot(hidden: Tensor) -> Tensor | None:
    """The row numbers of an exactly one-hot matrix, else None."""
    if hidden.dim() != 2 or hidden.shape[1] < 2:
        return None
    ones = hidden == 1
    if bool((ones.sum(1) == 1).all()) and bool((hidden.count_nonzero(1) == 1).all()):
        return ones.to(torch.int8).argmax(1)
    return None


def narrower(one: torch.dtype, other: torch.dtype) -> bool:
    """Whether ``one`` keeps fewer bits than ``other``."""
    return _WIDTH.get(one, 8) < _WIDTH.get(other, 8)


def overlap(one: Tensor, other: Tensor) -> bool:
    """Whether two windows on one memory meet."""
    if key_of(one) != key_of(other):
        return False
    ends = [
        t.storage_offset() + sum((n - 1) * s for n, s in zip(t.shape, t.stride(), strict=True)) for t in (one, other)
    ]
    return one.storage_offset() <= ends[1] and other.storage_offset() <= ends[0]
