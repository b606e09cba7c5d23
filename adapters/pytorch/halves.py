"""The gradient at the table in two shares: the call that a training made last, once more, and one backward pass."""

from __future__ import annotations

import contextlib
import inspect
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

from .arrays import dense
from .calls import ID_NAMES, find_logits, find_loss, target_keyword
from .ends import TorchEnds
from .restore import Snapshot, Surroundings, named_tensors
from .steps import whole
from .trace import Watch, eager, key_of

_BLOCK = 1 << 20


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
            looked: list[tuple[int, Tensor, bool]] = []
            watch = Watch(
                inner,
                [(name, t) for name, t in named_tensors(inner) if t.layout == torch.strided],
                call.ids,
                snapshot.save_storage,
                on_lookup=lambda index, output: looked.append((index, output, torch.is_grad_enabled())),
            )
            try:
                with _around(call), foreign():
                    with watch:
                        answer = inner(*call.args, **call.kwargs)
                    loss = _loss(inner, call, answer)
                    keys = {key_of(table) for table in tables}
                    by_ids = {i for i, k in enumerate(watch.lookups) if k.by_ids and keys & k.trace.leaves}
                    mine = [(output, followed) for index, output, followed in looked if index in by_ids]
                    graded = [output for output, _ in mine if output.requires_grad]
                    if not graded and not all(followed for _, followed in mine):
                        raise NotJudged(
                            "the lookup is made where autograd does not follow (no_grad, a function's inside)"
                        )
                    return _split(loss, tables, graded)
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
    keyword = target_keyword(inner)
    if keyword is not None:
        given = inspect.signature(inner.forward).bind_partial(*call.args, **call.kwargs).arguments
        own = find_loss(answer) if given.get(keyword) is not None else None
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
    arrived = [(output, grad) for output, grad in zip(looked, grads[len(tables) :], strict=True) if grad is not None]
    sent: tuple[Tensor | None, ...] = (None,) * len(tables)
    if arrived:
        outputs, cotangents = zip(*arrived, strict=True)
        sent = torch.autograd.grad(outputs, tables, cotangents, allow_unused=True)
    sums = [_sums(grad, part) for grad, part in zip(grads, sent, strict=False) if grad is not None]
    total, lookup, projection, product = (sum(column) for column in zip(*sums, strict=True)) if sums else (0.0,) * 4
    cosine = product / math.sqrt(lookup * projection) if lookup and projection else 0.0
    return Shares(float(loss.detach()), math.sqrt(lookup), math.sqrt(projection), math.sqrt(total), cosine)


def _sums(total: Tensor, lookup: Tensor | None) -> list[float]:
    """Squares of a gradient, of its lookups' share and of the rest, and the product of the two, each summed up.

    In blocks, so that nothing of the table's size is made, and in float64 where the device has it.
    """
    dtype = torch.float32 if total.device.type == "mps" else torch.float64
    flat = _flat(total)
    part = torch.zeros((), dtype=dtype, device=total.device).expand(flat.shape) if lookup is None else _flat(lookup)
    sums = torch.zeros(4, dtype=dtype, device=total.device)
    for start in range(0, flat.numel(), _BLOCK):
        t, a = (side[start : start + _BLOCK].to(dtype) for side in (flat, part))
        b = t - a
        sums += torch.stack([t @ t, a @ a, b @ b, a @ b])
    result: list[float] = sums.tolist()
    return result


def _flat(grad: Tensor) -> Tensor:
    return dense(grad).detach().reshape(-1)
