"""Put a module back as it was: weights, gradients, modes, attributes, hooks, generators, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np
import torch
from tiecheck.conformance.errors import NotJudged
from torch import Tensor, nn

# Tensors up to this size, and models up to eight times it, are copied at once; larger ones just before a write.
_SMALL = 1 << 23
_CONTAINERS = (dict, list, set)


class Surroundings:
    """What a model may change outside itself: default dtype, threads, grad mode, random generators. Put back on exit."""

    def __enter__(self) -> Surroundings:
        self._globals = (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled())
        self._random = (random.getstate(), np.random.get_state(), torch.get_rng_state())
        self._cuda = (
            torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        torch.set_default_dtype(self._globals[0])
        torch.set_num_threads(self._globals[1])
        torch.set_grad_enabled(self._globals[2])
        random.setstate(self._random[0])
        np.random.set_state(self._random[1])
        torch.set_rng_state(self._random[2])
        if self._cuda is not None:
            torch.cuda.set_rng_state_all(self._cuda)


def seed_torch(seed: int) -> None:
    """`torch.manual_seed` without what that costs where no device is in use: a stack trace for each kind of device, kept for
    the day that one is, which takes longer than a pass of a small model."""
    if torch.cuda.is_initialized() or torch.xpu.is_initialized() or torch.backends.mps.is_available():  # type: ignore[no-untyped-call]
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


class Snapshot:
    """The state of a module, taken on entry and restored on exit, also after an exception or Ctrl-C.

    `save` copies one tensor ahead of a write; small models are copied whole.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __enter__(self) -> Snapshot:
        module = self.module
        self._modules = [(m, dict(m.__dict__), dict(_contents(m))) for m in module.modules()]
        tensors = {id(t): t for _, t in named_tensors(module)}
        self._tensors = list(tensors.values())
        self._state = [(t, t.data, t.requires_grad, t.grad if is_leaf(t) else None) for t in self._tensors]
        self._values: dict[int, tuple[Tensor, Tensor]] = {}
        whole = sum(t.numel() * t.element_size() for t in self._tensors) <= 8 * _SMALL
        for tensor in self._tensors:
            if tensor.device.type != "meta" and (whole or tensor.numel() * tensor.element_size() <= _SMALL // 8):
                self.save(tensor)
        for tensor in self._tensors:
            if is_leaf(tensor) and tensor.grad is not None:
                tensor.grad = None
        return self

    def save(self, tensor: Tensor) -> None:
        """Keep the values of ``tensor`` (its first copy counts)."""
        if id(tensor) not in self._values:
            with torch.no_grad():
                self._values[id(tensor)] = (tensor.data, tensor.detach().clone())

    def save_storage(self, tensor: Tensor) -> None:
        """Keep the values of every tensor of the module that shares memory with ``tensor``."""
        pointer = tensor.untyped_storage()._cdata
        for own in self._tensors:
            if own.device.type != "meta" and own.untyped_storage()._cdata == pointer:
                self.save(own)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for module, attributes, contents in self._modules:
            for name in set(module.__dict__) - set(attributes):
                del module.__dict__[name]
            module.__dict__.update(attributes)
            for name, content in contents.items():
                _refill(module.__dict__[name], content)
        with torch.no_grad():
            for tensor, data, requires_grad, grad in self._state:
                if tensor.data_ptr() != data.data_ptr() or tensor.dtype != data.dtype or tensor.shape != data.shape:
                    tensor.data = data
                if is_leaf(tensor):
                    tensor.requires_grad_(requires_grad)
                    tensor.grad = grad
            for data, values in self._values.values():
                if not _same_bits(data, values):
                    data.copy_(values)


def _contents(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, value in module.__dict__.items():
        if isinstance(value, _CONTAINERS):
            yield name, value.copy()


def _refill(container: Any, content: Any) -> None:
    if container == content if isinstance(container, set) else _identical(container, content):
        return
    container.clear()
    if isinstance(container, list):
        container.extend(content)
    else:
        container.update(content)


def _identical(one: Any, other: Any) -> bool:
    if len(one) != len(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(one[k] is other[k] for k in one)
    return all(a is b for a, b in zip(one, other, strict=True))


def _same_bits(one: Tensor, other: Tensor) -> bool:
    if one.numel() == 0:
        return True
    return torch.equal(one, other) or torch.equal(
        one.contiguous().view(torch.uint8) if one.dim() else one.reshape(1).view(torch.uint8),
        other.contiguous().view(torch.uint8) if other.dim() else other.reshape(1).view(torch.uint8),
    )


def is_leaf(tensor: Tensor) -> bool:
    """Whether a tensor has no history; torch may refuse to say it of a kept view whose base was written since: that has one."""
    try:
        return tensor.is_leaf
    except RuntimeError:
        return False


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every name of every tensor that the module holds: parameters, buffers, plain attributes; aliases included.

    Raises NotJudged where the module's own lists hold something else.
    """
    for kind in ("named_parameters", "named_buffers"):
        for named in getattr(module, kind)(remove_duplicate=False):
            if not (isinstance(named, tuple) and len(named) == 2 and isinstance(named[1], Tensor)):
                raise NotJudged(f"the model's own {kind}() does not list pairs of a name and a tensor")
            yield str(named[0]), named[1]
    for prefix, part in module.named_modules(remove_duplicate=False):
        for name, value in part.__dict__.items():
            items = [(name, value)] if isinstance(value, Tensor) else []
            if isinstance(value, list | tuple):
                items = [(f"{name}[{i}]", v) for i, v in enumerate(value) if isinstance(v, Tensor)]
            elif isinstance(value, dict) and name not in ("_parameters", "_buffers", "_modules"):
                items = [(f"{name}[{k!r}]", v) for k, v in value.items() if isinstance(v, Tensor)]
            for label, tensor in items:
                yield f"{prefix}.{label}" if prefix else label, tensor


def registered(module: nn.Module) -> Iterator[nn.Parameter]:
    """What torch registers, also where the module overrides ``parameters()``."""
    for part in module.modules():
        for parameter in part._parameters.values():
            if parameter is not None:
                yield parameter
