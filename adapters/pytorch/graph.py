"""The autograd graph: which leaves the logits reach, by how many edges, and the gradient at an array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tiecheck.conformance.evidence import Array
from tiecheck.conformance.foreign import foreign
from torch import Tensor, nn

from .arrays import dense, to_numpy
from .restore import registered
from .trace import key_of


@dataclass
class Graph:
    """Leaves that a result depends on, each with the number of edges that enter its accumulator."""

    counts: dict[int, int]
    leaves: list[Tensor]

    def over(self, view: Tensor, known: Sequence[Tensor]) -> list[Tensor]:
        """The leaves that lie over the memory of ``view``."""
        key = key_of(view)
        found = [leaf for leaf in self.leaves if key_of(leaf) == key]
        # A use inside a re-entrant checkpoint is not in the graph, but its backward reaches the parameter all the same.
        return found or [leaf for leaf in known if leaf.requires_grad]

    def edges(self, leaves: Sequence[Tensor]) -> int:
        """Edges into any of ``leaves``."""
        return sum(self.counts.get(id(leaf), 0) for leaf in leaves)


def walk(result: Tensor) -> Graph:
    """Walk the autograd graph of a tensor from its end to its leaves."""
    counts: dict[int, int] = {}
    leaves: dict[int, Tensor] = {}
    if result.grad_fn is None:
        return Graph({id(result): 1}, [result]) if result.requires_grad else Graph({}, [])
    seen = {result.grad_fn}
    todo: list[Any] = [result.grad_fn]
    while todo:
        node = todo.pop()
        for after, _ in node.next_functions:
            if after is None:
                continue
            variable = getattr(after, "variable", None)
            if variable is not None:
                leaves[id(variable)] = variable
                counts[id(variable)] = counts.get(id(variable), 0) + 1
            elif after not in seen:
                seen.add(after)
                todo.append(after)
    return Graph(counts, list(leaves.values()))


def backward(
    result: Tensor, cotangent: Tensor | None, leaves: list[Tensor], module: nn.Module, keep: bool = False
) -> None:
    """``result.backward(cotangent)`` into the table's leaves alone; whole where re-entrant checkpoints refuse that."""
    if not keep:
        clear(leaves, module)
    if not leaves:
        return
    before = [None if leaf.grad is None else leaf.grad.clone() for leaf in leaves]
    reached = {id(leaf) for leaf in walk(result).leaves}
    with foreign():  # hooks, and functions with a backward of their own
        try:
            if any(id(leaf) not in reached for leaf in leaves):
                raise RuntimeError("a leaf outside the graph")
            result.backward(cotangent, inputs=leaves, retain_graph=True)  # type: ignore[no-untyped-call]
        except RuntimeError:
            for leaf, grad in zip(leaves, before, strict=True):
                leaf.grad = grad
            result.backward(cotangent)  # type: ignore[no-untyped-call]


def clear(leaves: Sequence[Tensor], module: nn.Module) -> None:
    """Drop the gradients that a pass left."""
    for leaf in [*leaves, *registered(module)]:
        if leaf.grad is not None:
            leaf.grad = None


def total(leaves: Sequence[Tensor], view: Tensor) -> Array:
    """The gradients of all leaves over one memory, summed, in the coordinates of ``view`` (V, D)."""
    result: Tensor | None = None
    for leaf in leaves:
        grad = leaf.grad
        if grad is None:
            continue
        mapped = _mapped(dense(grad), leaf, view)
        result = mapped if result is None else result + mapped
    return to_numpy(
        result if result is not None else torch.zeros(1, 1, dtype=view.dtype, device="cpu").expand(view.shape)
    )


def _mapped(grad: Tensor, leaf: Tensor, view: Tensor) -> Tensor:
    """A leaf's gradient seen through ``view``: the same window on it as ``view`` is on the leaf's memory."""
    if grad.shape == view.shape and leaf.stride() == view.stride() and leaf.storage_offset() == view.storage_offset():
        return grad
    start = leaf.storage_offset()
    span = 1 + sum((n - 1) * s for n, s in zip(leaf.shape, leaf.stride(), strict=True)) if leaf.numel() else 0
    flat = torch.zeros(span, dtype=grad.dtype, device=grad.device)
    flat.as_strided(leaf.shape, leaf.stride()).copy_(grad)
    last = view.storage_offset() + sum((n - 1) * s for n, s in zip(view.shape, view.stride(), strict=True))
    if view.storage_offset() >= start and last < start + span:
        return flat.as_strided(view.shape, view.stride(), view.storage_offset() - start)
    # The leaf covers the view in part: put it into a memory that holds both.
    low, high = min(start, view.storage_offset()), max(start + span, last + 1)
    both = torch.zeros(high - low, dtype=grad.dtype, device=grad.device)
    both[start - low : start - low + span] = flat
    return both.as_strided(view.shape, view.stride(), view.storage_offset() - low)


def routes(
    one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], leaves: Sequence[Tensor], seed: int
) -> list[tuple[Tensor, tuple[float, float, float]]]:
    """Send one cotangent (V, D) back through two computed arrays: for each leaf the norms of what arrives, and of the gap.

    Empty where both are one tensor, which sends everything on alike.
    """
    bases = [source._base if source._base is not None else source for _, source in (one, other)]
    if key_of(bases[0]) == key_of(bases[1]) or one[0].shape != other[0].shape:
        return []
    drawn = torch.randn(one[0].shape, generator=torch.Generator("cpu").manual_seed(seed), device="cpu").to(one[0])
    drawn = drawn.to(other[0].dtype).to(drawn.dtype)  # what both hold: autocast's projection reads a narrower copy
    arrived: list[list[Tensor]] = []
    for base, (array, _) in zip(bases, (one, other), strict=True):
        if not base.requires_grad:
            arrived.append([torch.zeros_like(leaf) for leaf in leaves])
            continue
        cotangent = torch.zeros_like(base, memory_format=torch.preserve_format)
        cotangent.as_strided(array.shape, array.stride(), array.storage_offset()).copy_(drawn)
        grads = torch.autograd.grad(base, list(leaves), cotangent, allow_unused=True, retain_graph=True)
        arrived.append([torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, grads, strict=True)])
    out = []
    for leaf, a, b in zip(leaves, *arrived, strict=True):
        norms = (float(a.norm()), float(b.norm()), float((a - b).norm()))
        if norms[0] or norms[1]:
            out.append((leaf, norms))
    return out


def _made_from(tensor: Tensor, other: Tensor) -> bool:
    """Whether the graph of one tensor leads back to another."""
    seen, waiting = set(), [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node is other.grad_fn or getattr(node, "variable", None) is other:
            return True
        waiting.extend(function for function, _ in node.next_functions)
    return False


def at_arrays(
    result: Tensor, cotangent: Tensor, arrays: Sequence[tuple[Tensor, Tensor]], shape: tuple[int, ...]
) -> Array | None:
    """dL/dE where E is computed: the gradient at each distinct computed tensor behind ``arrays``, summed as (V, D).

    ``arrays`` are pairs of the (rows, D) view and the tensor of the pass that it is a view of.
    """
    bases: dict[int, tuple[Tensor, Tensor]] = {}
    for array, source in arrays:
        base = source._base if source._base is not None else source
        bases.setdefault(key_of(base), (base, array))
    wanted = [(base, array) for base, array in bases.values() if base.requires_grad]
    # What was made from another of them on the way (a contiguous copy) has handed its gradient on to that one.
    wanted = [(b, a) for b, a in wanted if not any(o is not b and _made_from(b, o) for o, _ in wanted)]
    if not wanted:
        return None
    grads = torch.autograd.grad(result, [b for b, _ in wanted], cotangent, allow_unused=True, retain_graph=True)
    total_: Tensor | None = None
    for (base, array), grad in zip(wanted, grads, strict=True):
        # Of a head that is read in parts, what they are parts of.
        view = base if tuple(base.shape) == shape else array
        if grad is None or view.shape != shape:
            continue
        mapped = _mapped(dense(grad), base, view)
        total_ = mapped if total_ is None else total_ + mapped
    return to_numpy(total_) if total_ is not None else None
