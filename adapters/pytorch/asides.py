"""What is asked aside of the plain passes: a chosen h, the model's own loss, float64, and a control along the body."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from tiecheck.conformance.errors import sentence
from tiecheck.conformance.evidence import Array, Probe
from tiecheck.conformance.foreign import foreign
from torch import Tensor

from . import graph
from .arrays import to_numpy
from .calls import find_loss, target_keyword
from .restore import is_leaf, named_tensors
from .trace import key_of

if TYPE_CHECKING:
    from .subject import TorchSubject


def inject(subject: TorchSubject, probe: Probe, hidden: Array) -> Array | None:
    """Logits (N, C) with the chosen h (N, D) put in at the observed projection; None where that cannot be done."""
    if not subject._products:
        return None
    todo = torch.tensor(hidden, device=subject._place)
    taken: dict[int, int] = {}

    def put(index: int, seen: Tensor) -> Tensor | None:
        if index not in subject._products:
            return None
        if seen.numel() == todo.numel():
            taken[index] = todo.shape[0]
            return todo
        start = sum(taken.values())
        if seen.dim() != 2 or seen.shape[1] != todo.shape[1] or start + seen.shape[0] > todo.shape[0]:
            return None
        taken[index] = seen.shape[0]
        return todo[start : start + seen.shape[0]]

    try:
        _, _, flat = subject._watch(probe, put)
    except (RuntimeError, ValueError, TypeError):
        return None
    return to_numpy(flat).astype(np.float64) if taken else None


def own_loss(subject: TorchSubject, ids: Array, targets: Array) -> tuple[float, Array] | None:
    """The model's own loss for targets and its gradient at the table; None where it has none."""
    keyword = target_keyword(subject.module)
    if keyword is None or subject._derived or subject._table is None:
        return None
    subject._set(False)
    try:
        loss = find_loss(subject._answer(subject._ids(ids), **{keyword: subject._ids(targets)}))
    except Exception as error:
        subject.missing["own_loss"] = f"the model's own loss raised {sentence(error)}"
        return None
    if loss is None:
        return None
    walked = graph.walk(loss)
    leaves = walked.over(subject._table, subject._objects(subject._table))
    subject._reached = {id(leaf) for leaf in walked.leaves}
    subject.backward_passes += 1
    try:
        graph.backward(loss, None, leaves, subject.module)
    except Exception as error:
        graph.clear(leaves, subject.module)
        subject.missing["own_loss"] = f"the backward pass of the model's own loss raised {sentence(error)}"
        return None
    gradient = graph.total(leaves, subject._table)
    graph.clear(leaves, subject.module)
    return float(loss.detach()), gradient


def loss_value(subject: TorchSubject, ids: Array, targets: Array) -> float:
    """The model's own loss alone."""
    keyword = target_keyword(subject.module)
    assert keyword is not None
    subject._set(False)
    loss = find_loss(subject._answer(subject._ids(ids), **{keyword: subject._ids(targets)}))
    return float("nan") if loss is None else float(loss.detach())


@contextlib.contextmanager
def sharpened(subject: TorchSubject) -> Iterator[bool]:
    """Every parameter and buffer in float64 inside the block, memory still shared as before; yields whether it is."""
    tensors = {id(t): t for _, t in subject._named if t.is_floating_point()}
    storages: dict[int | None, Tensor] = {}
    kept = [(t, t.data) for t in tensors.values()]
    view, head, reader, watched, products = (
        subject._table,
        subject._head,
        subject._reader,
        subject._watched,
        subject._products,
    )
    fits = sum(t.numel() for t in tensors.values()) <= 1 << 21 and view is not None and not subject._derived
    if not fits or all(t.dtype == torch.float64 for t in tensors.values()):
        yield False
        return
    assert view is not None
    # Keys are taken before anything is swapped: the table may be the parameter object itself.
    keys = [None if side is None else key_of(side) for side in (view, head)]
    try:
        for tensor, data in kept:
            key = key_of(data)
            if key not in storages:
                flat = torch.empty(0, dtype=data.dtype, device=data.device).set_(data.untyped_storage())
                storages[key] = flat.double()
            tensor.data = storages[key].as_strided(data.shape, data.stride(), data.storage_offset())
        if keys[0] not in storages:
            yield False
            return
        subject._table = storages[keys[0]].as_strided(view.shape, view.stride(), view.storage_offset())
        if head is not None and keys[1] in storages:
            subject._head = storages[keys[1]].as_strided(head.shape, head.stride(), head.storage_offset())
        yield True
    finally:
        for tensor, data in kept:
            tensor.data = data
        subject._table, subject._head, subject._reader, subject._watched, subject._products = (
            view,
            head,
            reader,
            watched,
            products,
        )
        for _, tensor in named_tensors(
            subject.module
        ):  # what the model made meanwhile; a view goes with what it looks at
            made = id(tensor) not in tensors and is_leaf(tensor) and tensor._base is None
            if made and tensor.dtype == torch.float64:
                tensor.data = tensor.data.to(view.dtype)


def control(subject: TorchSubject, probe: Probe, cotangent: Array) -> tuple[float, float] | None:
    """A difference of <R, logits> along the gradient of the network's own parameters: what autograd says, what is."""
    logits = subject._run(probe.ids, probe.train)
    R = torch.tensor(cotangent, device=logits.device).to(logits.dtype)
    mine = {key_of(side) for side in (subject._table, subject._head) if side is not None}
    body = [leaf for leaf in graph.walk(logits).leaves if key_of(leaf) not in mine]
    if not body:
        return None
    subject.backward_passes += 1
    try:
        with foreign():
            grads = torch.autograd.grad(logits, body, R, allow_unused=True)
    except Exception:
        return None
    pairs = [(leaf, grad.detach()) for leaf, grad in zip(body, grads, strict=True) if grad is not None]
    norm = sum(float(grad.double().square().sum()) for _, grad in pairs) ** 0.5
    size = sum(float(leaf.detach().double().square().sum()) for leaf, _ in pairs) ** 0.5
    step = 1e-3 * size / (norm or 1.0)
    values = []
    kept = [leaf.detach().clone() for leaf, _ in pairs]
    with subject.undone(lambda: [leaf.copy_(old) for (leaf, _), old in zip(pairs, kept, strict=True)]):
        for sign in (1, -1):
            with torch.no_grad():
                for (leaf, grad), old in zip(pairs, kept, strict=True):
                    leaf.copy_(old + sign * step * grad)
            values.append(float((cotangent * np.nan_to_num(subject.logits(probe.ids, probe.train))).sum()))
    return norm**2, (values[0] - values[1]) / (2 * step) if norm else 0.0
