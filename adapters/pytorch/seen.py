"""From the record of a watched pass to what it showed: which array is the table, what the projection read, and h."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch
from tiecheck.conformance.evidence import Region, Use
from torch import Tensor

from .arrays import dtype_name, same_values, tiled, to_numpy
from .trace import Product, Trace, Watch, key_of, narrower

_COPIED = 1 << 22


class Reader:
    """Names and memory of a watched pass, to describe the arrays that its uses read."""

    def __init__(self, watch: Watch, named: list[tuple[str, Tensor]]) -> None:
        self.watch = watch
        self.labels: dict[int, int] = {}
        self.owners: dict[int, list[tuple[str, Tensor]]] = {}
        for name, tensor in named:
            self.owners.setdefault(key_of(tensor), []).append((name, tensor))
            self.label(key_of(tensor))

    def label(self, key: int) -> int:
        """A small number for a storage, in the order in which the model names them."""
        return self.labels.setdefault(key, len(self.labels))

    def region(self, array: Tensor) -> Region:
        """Where an array that is a view of a leaf lies, and under which name."""
        key = key_of(array)
        owner, tensor = self.owner(array)
        kind = "parameter" if isinstance(tensor, torch.nn.Parameter) else "outside"
        if kind == "outside" and any(t is tensor for _, t in self._registered(key)):
            kind = "buffer"
        return Region(
            self.label(key),
            int(array.storage_offset()),
            tuple(array.shape),
            tuple(array.stride()),
            dtype_name(array.dtype),
            owner,
            kind,
            bool(tensor.requires_grad),
        )

    def _registered(self, key: int) -> Iterable[tuple[str, Tensor]]:
        return ((n, t) for n, t in self.owners.get(key, []) if "[" not in n and n in self.buffers)

    buffers: frozenset[str] = frozenset()

    def knows(self, array: Tensor) -> bool:
        """Whether an array lies in memory that was there before the pass."""
        key = key_of(array)
        return bool(self.owners.get(key)) or key in self.watch.leaf

    def owner(self, array: Tensor) -> tuple[str, Tensor]:
        """The name and the tensor that an array is a view of: the one that matches best."""
        key = key_of(array)
        known = self.owners.get(key, [])
        if not known:
            return self.watch.names[key], self.watch.leaf[key]

        def fit(item: tuple[str, Tensor]) -> tuple[bool, bool, int]:
            tensor = item[1]
            exact = tensor.storage_offset() == array.storage_offset() and tensor.numel() == array.numel()
            return (not exact, not isinstance(tensor, torch.nn.Parameter), abs(tensor.numel() - array.numel()))

        return min(known, key=fit)

    def names(self, keys: Iterable[int]) -> tuple[str, ...]:
        """The first name of each storage, sorted."""
        return tuple(sorted(self.owners[k][0][0] if self.owners.get(k) else self.watch.names[k] for k in keys))

    def use(
        self, array: Tensor, trace: Trace, where: str, autocast: bool, dropping: bool = False
    ) -> tuple[Use, Tensor | None]:
        """Describe the (V, D) array that a use read; with it, the leaf view that it is or copies losslessly, if any;
        ``dropping``: or is but for rows that dropout took."""
        view: Tensor | None = None
        narrowed = None
        if key_of(array) in self.watch.leaf:
            view = array
        else:
            source = self._copied(array, trace)
            if source is not None:
                if same_values(array, source):
                    view = source
                elif dropping and _rows_dropped(array, source):
                    view, array = source, source.detach()
                elif narrower(array.dtype, source.dtype) and same_values(array, source.to(array.dtype)):
                    view, narrowed = source, dtype_name(array.dtype)
                else:
                    for dtype in (torch.bfloat16, torch.float16, torch.float32):
                        if narrower(dtype, source.dtype) and same_values(array, source.to(dtype).to(array.dtype)):
                            view, narrowed = source, dtype_name(dtype)
                            break
        refilled: tuple[str, ...] = ()
        if view is not None and self.watch.writes.get(key_of(view)):
            refilled = self.names(self.watch.writes[key_of(view)])
        region = self.region(view) if view is not None else None
        leaves = self.names(trace.leaves) if view is None else (region.owner,) if region else ()
        values = to_numpy(array)
        if values.size <= _COPIED:  # later passes may write into this memory; a large table is put back, row by row
            values = values.copy()
        use = Use(values, region, leaves, narrowed, refilled, where, autocast, dtype_name(array.dtype))
        return use, view

    def _copied(self, array: Tensor, trace: Trace) -> Tensor | None:
        """The leaf view of the same shape that an array seems to copy: the one it was copied from, or its only leaf."""
        candidates: list[Tensor] = [trace.origin] if trace.origin is not None else []
        if len(trace.leaves) == 1:
            key = next(iter(trace.leaves))
            candidates += [t for _, t in self.owners.get(key, [])] or [self.watch.leaf[key]]
        for tensor in candidates:
            squeezed = tensor.squeeze() if tensor.dim() > 2 else tensor
            if squeezed.dim() == 1 and squeezed.numel() == array.numel():
                squeezed = squeezed.reshape(array.shape)
            if squeezed.dim() != 2:
                continue
            for matrix in (squeezed, squeezed.T):
                if matrix.shape == array.shape:
                    return matrix
                if matrix.shape[1] == array.shape[1] and matrix.shape[0] > array.shape[0]:
                    return matrix[: array.shape[0]]
        return None


def _rows_dropped(array: Tensor, source: Tensor) -> bool:
    """Whether an array is another whose rows dropout took or multiplied by one number, as if it had been put behind the lookup
    (S. Merity et al., 2018, section 4.3)."""
    if array.dtype != source.dtype or not array.numel():
        return False
    kept = array.ne(0).any(1)
    if kept.all() or not kept.any():
        return False
    a, b = array[kept].double(), source[kept].double()
    factor = float((a * b).sum() / (b * b).sum().clamp_min(1e-300))
    return factor >= 1 and bool(torch.allclose(a, factor * b, rtol=4 * torch.finfo(array.dtype).eps, atol=0))


@dataclass
class Head:
    """What the projection read, put together from one product or several over parts; ``pieces`` are how many rows of h each
    product read where they are joined."""

    array: Tensor
    trace: Trace
    hidden: Tensor | None
    indices: list[int]
    first: Product
    pieces: tuple[int, ...] = ()


def find_head(watch: Watch, logits: Tensor, columns: int, table: Tensor, known: Collection[int] = ()) -> Head | None:
    """The array of the table's width whose products flow into the logits.

    ``known`` are memories that an earlier pass showed to be the projection's: one position alone may not show it again.
    Row chunks are put together, position chunks joined; where some positions read another array than the table, that one.
    """
    width = table.shape[1]
    products = [(i, watch.products[i]) for i in sorted(watch.trace(logits).products)]
    parts = [(i, p, matrix) for i, p in products if (matrix := _oriented(p, width, columns)) is not None]
    if sum(m.shape[0] for _, _, m in parts) < min(columns, table.shape[0]):
        # A product of the network, of some columns only, or of a matrix of another width.
        return _by_columns(watch, products, columns, table) or _another_width(watch, products, logits, columns, table)
    index, first, array = parts[0]
    if len(parts) == 1:
        stranger = not first.trace.leaves & watch.trace(table).leaves
        fits = array.shape[0] in (columns, table.shape[0]) and _resembles(first, array, logits, columns)
        if stranger and not fits and key_of(array) not in known:
            return None
        return Head(array, first.trace, _hidden(first, width), [index], first)
    indices = [i for i, _, _ in parts]
    derived = all(key_of(m) not in watch.leaf for _, _, m in parts)
    same = derived and all(m.shape == array.shape and p.trace.leaves == first.trace.leaves for _, p, m in parts)
    if same or all(_same_view(m, array) for _, _, m in parts):
        pieces = [h for _, p, _ in parts if (h := _hidden(p, width)) is not None]
        joined = torch.cat(pieces) if len(pieces) == len(parts) else None
        return Head(array, first.trace, joined, indices, first, tuple(h.shape[0] for h in pieces))
    unique = list({(key_of(m), m.storage_offset(), *m.shape): (p, m) for _, p, m in parts}.values())
    if sum(m.shape[0] for _, m in unique) > 4 * columns:
        return None
    strangers = [(i, p, m) for i, p, m in parts if m.shape[0] >= columns and key_of(m) != key_of(table)]
    if strangers and all(m.shape[0] >= columns for _, m in unique):
        index, product, array = strangers[0]
        return Head(array, product.trace, None, [index], product)
    whole = tiled([m for _, m in unique])
    leaves = frozenset().union(*(p.trace.leaves for p, _ in unique))
    trace = Trace(leaves) if whole is None else first.trace
    array = torch.cat([m.detach() for _, m in unique]) if whole is None else whole
    return Head(array, trace, _hidden(first, width), indices, first)


def _by_columns(watch: Watch, products: list[tuple[int, Product]], columns: int, table: Tensor) -> Head | None:
    """Products with blocks of the table's columns, added up: the whole table if they tile it, else the part that is read."""
    parts = [
        (i, p)
        for i, p in products
        if key_of(p.array) == key_of(table) and p.array.shape[0] >= min(columns, table.shape[0])
    ]
    if not parts or key_of(table) not in watch.leaf:
        return None
    offsets = {int(p.array.storage_offset()) for _, p in parts}
    whole = len(offsets) == len(parts) == len(products) and sum(p.array.shape[1] for _, p in parts) == table.shape[1]
    index, first = parts[0]
    return Head(table if whole else first.array, first.trace, None, [index], first)


def _another_width(
    watch: Watch, products: list[tuple[int, Product]], logits: Tensor, columns: int, table: Tensor
) -> Head | None:
    """The last product with a matrix of its own of ``columns`` rows, where the network has widened what it looked up."""
    own = watch.trace(table).leaves
    for index, product in reversed(products):
        array = product.array
        if array.shape[0] == columns and not product.trace.leaves & own and _resembles(product, array, logits, columns):
            return Head(array, product.trace, _hidden(product, array.shape[1]), [index], product)
    return None


def _resembles(product: Product, array: Tensor, logits: Tensor, columns: int) -> bool:
    """Whether logits follow the product at all: a last layer of the network of just that many rows does not."""
    hidden = _hidden(product, array.shape[1])
    flat = logits.detach().reshape(-1, logits.shape[-1])
    if hidden is None or hidden.is_meta or hidden.shape[0] != flat.shape[0]:
        return True
    if not flat.any() or flat.isnan().any() or flat.isposinf().any():
        return True  # memory that was never filled: the values say nothing
    count = min(columns, array.shape[0], 512)
    one = (hidden.detach().double() @ array[:count].detach().double().T).nan_to_num()
    other = flat[:, :count].double().nan_to_num()
    # A bias per token may outweigh the products: without the mean over positions it is gone.
    if _correlated(one, other):
        return True
    return one.shape[0] > 1 and _correlated(one - one.mean(0, keepdim=True), other - other.mean(0, keepdim=True))


def _correlated(one: Tensor, other: Tensor) -> bool:
    """Whether rows of products (N, C) go with rows of logits (N, C), each with the one that it resembles most."""
    one, other = one - one.mean(1, keepdim=True), other - other.mean(1, keepdim=True)
    sizes = one.norm(dim=1)
    one = one[sizes > 1e-9 * sizes.max()]  # h may be zero at a padding row: such a position tells nothing
    if not one.shape[0]:
        return False
    best = (one @ other.T) / (one.norm(dim=1)[:, None] * other.norm(dim=1)[None] + 1e-300)
    # Of n unrelated rows the best correlation over c columns is about sqrt(2 ln n / c).
    chance = math.sqrt(2 * math.log(max(best.shape[1], 2)) / one.shape[1])
    return bool(best.max(1).values.mean() > min(0.25 + chance, 0.9))


def _oriented(product: Product, width: int, columns: int) -> Tensor | None:
    array = product.array
    if product.op == "mul" and array.shape[1] != width and array.shape[0] == width:
        return array.T
    return array if array.shape[1] == width else None


def _hidden(product: Product, width: int) -> Tensor | None:
    hidden = product.hidden
    if product.op != "mul":
        return hidden
    if product.array.shape[1] == width and hidden.shape[-1] == width:
        return hidden.reshape(-1, width)
    if hidden.dim() > 1 and hidden.shape[-2] == width and hidden.shape[-1] == 1:
        return hidden.reshape(-1, width)
    return None


def _same_view(one: Tensor, other: Tensor) -> bool:
    return (
        key_of(one) == key_of(other)
        and one.storage_offset() == other.storage_offset()
        and one.shape == other.shape
        and one.stride() == other.stride()
    )


def rounded(scales: Iterable[float]) -> tuple[float, ...]:
    """The finite numbers, in order."""
    return tuple(sorted(float(s) for s in scales if math.isfinite(s)))
