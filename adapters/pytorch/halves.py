"""The gradient at the table in two shares: the call that a training made last, once more, and one backward pass."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from tiecheck.conformance.errors import NotJudged, sentence
from tiecheck.conformance.foreign import foreign
from tiecheck.conformance.protocol import Shares
from torch import Tensor, nn

from .calls import ID_NAMES, find_logits, find_loss, target_keyword
from .ends import TorchEnds
from .restore import Snapshot, Surroundings, named_tensors
from .steps import whole
from .trace import Watch, eager, key_of


@dataclass(frozen=True)
class Call:
    """How a training called its model: with what, which of it are the ids (B, T), and the autocast around it."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    ids: Tensor
    autocast: tuple[str, bool, torch.dtype]


class Recorder:
    """Keeps the latest call of ``model`` that autograd followed. See `tiecheck.conformance.protocol.Recorder`.

    Args:
        model: as the training calls it.
        ignored: whether a call that is made now is none of the training's.
    """

    def __init__(self, model: nn.Module, ignored: Callable[[], bool]) -> None:
        self._inner = whole(model)
        self._ignored = ignored
        self._latest: Call | None = None
        self._hook = model.register_forward_pre_hook(self._called, with_kwargs=True)

    def close(self) -> None:
        """Nothing stays on the model."""
        self._hook.remove()
        self._latest = None

    def _called(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._ignored() or not torch.is_grad_enabled():
            return
        ids = _ids(args, kwargs)
        if ids is not None:
            kind = ids.device.type
            around = (kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
            self._latest = Call(args, kwargs, ids, around)

    def measured(self, ends: TorchEnds) -> Shares:
        """The shares of the latest call, in the mode that the model is in, and the model back as it was."""
        call = self._latest
        if call is None:
            raise NotJudged("the model that is watched was not called with token ids (B, T), but another part of it")
        tables = [t for t in (reference() for reference in ends.tables) if t is not None and t.requires_grad]
        if not tables:
            raise NotJudged("the table is frozen, and has no gradient")
        inner = self._inner
        with Surroundings(), Snapshot(inner) as snapshot, torch.enable_grad(), eager():
            looked: list[tuple[int, Tensor]] = []
            watch = Watch(
                inner,
                [(name, t) for name, t in named_tensors(inner) if t.layout == torch.strided],
                call.ids,
                snapshot.save_storage,
                on_lookup=lambda index, output: looked.append((index, output)),
            )
            try:
                with _around(call), foreign():
                    with watch:
                        answer = inner(*call.args, **call.kwargs)
                    loss = _loss(inner, call, answer)
                    keys = {key_of(table) for table in tables}
                    mine = [o for i, o in looked if watch.lookups[i].by_ids and keys & watch.lookups[i].trace.leaves]
                    return _split(loss, tables, [output for output in mine if output.requires_grad])
            except NotJudged:
                raise
            except Exception as error:
                raise NotJudged(f"the pass was refused: {sentence(error)}") from error


@contextlib.contextmanager
def _around(call: Call) -> Iterator[None]:
    kind, enabled, dtype = call.autocast
    with torch.autocast(kind, dtype=dtype, enabled=True) if enabled else contextlib.nullcontext():
        yield


def _ids(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The first whole numbers (B, T) of a call, by name where one is known."""
    named = [kwargs[name] for name in ID_NAMES if name in kwargs]
    for value in (*named, *args, *kwargs.values()):
        if isinstance(value, Tensor) and value.dim() == 2 and value.dtype in (torch.int64, torch.int32):
            return value
    return None


def _loss(inner: nn.Module, call: Call, answer: Any) -> Tensor:
    """The model's own loss where this call gave one, else cross-entropy of the next token. Raises NotJudged."""
    if target_keyword(inner) is not None:
        own = find_loss(answer)
        if own is not None:
            return own.reshape(())
    logits, (batch, length) = find_logits(answer), call.ids.shape
    if logits.dim() == 2 and logits.shape[0] == batch * length:
        logits = logits.reshape(batch, length, -1)
    if logits.dim() == 3 and logits.shape[:2] == (length, batch) and length != batch:
        logits = logits.transpose(0, 1)
    if logits.dim() != 3 or logits.shape[:2] != (batch, length) or length < 2:
        raise NotJudged(
            f"there is no loss: the model returned none, and no logits for the next token of ids ({batch}, {length})"
        )
    targets = call.ids[:, 1:].reshape(-1).long()
    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets.to(logits.device))


def _split(loss: Tensor, tables: list[Tensor], looked: list[Tensor]) -> Shares:
    """Both shares. The gradient is taken at the lookups' results along with the tables, and sent on from there alone."""
    grads = torch.autograd.grad(loss, [*tables, *looked], retain_graph=True, allow_unused=True)
    total = [_dense(grad, table) for grad, table in zip(grads, tables, strict=False)]
    arrived = [(output, grad) for output, grad in zip(looked, grads[len(tables) :], strict=True) if grad is not None]
    sent: tuple[Tensor | None, ...] = (None,) * len(tables)
    if arrived:
        outputs, cotangents = zip(*arrived, strict=True)
        sent = torch.autograd.grad(outputs, tables, cotangents, allow_unused=True)
    lookup = [_dense(grad, table) for grad, table in zip(sent, tables, strict=True)]
    whole_norm, lookup_norm = _norm(total), _norm(lookup)
    projection = [t.sub_(part) for t, part in zip(total, lookup, strict=True)]
    rest = _norm(projection)
    inner = sum(float((a.mul_(b)).sum(dtype=torch.float64)) for a, b in zip(lookup, projection, strict=True))
    cosine = inner / (lookup_norm * rest) if lookup_norm and rest else 0.0
    return Shares(float(loss.detach()), lookup_norm, rest, whole_norm, cosine)


def _dense(grad: Tensor | None, table: Tensor) -> Tensor:
    """A gradient as an array of its own, in float32 at least; zeros where there is none."""
    if grad is None:
        return torch.zeros_like(table, dtype=torch.promote_types(table.dtype, torch.float32))
    grad = grad.to_dense() if grad.layout != torch.strided else grad
    return grad.detach().to(torch.promote_types(grad.dtype, torch.float32), copy=True)


def _norm(parts: list[Tensor]) -> float:
    return math.sqrt(sum(float(torch.linalg.vector_norm(part, dtype=torch.float64)) ** 2 for part in parts))
