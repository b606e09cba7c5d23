"""Tensors as arrays of numbers and as windows on memory: to NumPy, compared, put together."""

from __future__ import annotations

import numpy as np
import torch
from tiecheck.conformance.evidence import Array
from torch import Tensor

from .trace import key_of

_CHUNK = 4096


def to_numpy(tensor: Tensor) -> Array:
    """A tensor as NumPy; what NumPy lacks is widened without loss to float32."""
    return np.asarray(wide(tensor.detach()).cpu().numpy())


def dtype_name(dtype: torch.dtype) -> str:
    """``float32`` for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")


def wide(tensor: Tensor) -> Tensor:
    """The tensor in a dtype that holds every value of it."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def dense(grad: Tensor) -> Tensor:
    """A gradient with every entry of it, a sparse one too."""
    return grad.to_dense() if grad.layout != torch.strided else grad


def same_values(one: Tensor, other: Tensor) -> bool:
    """Bit for bit after widening; row chunks keep the memory small."""
    if one.shape != other.shape:
        return False
    if (
        key_of(one) == key_of(other)
        and one.stride() == other.stride()
        and one.storage_offset() == other.storage_offset()
    ):
        return True
    double = torch.float64 in (one.dtype, other.dtype)
    for start in range(0, one.shape[0], _CHUNK):
        a, b = one[start : start + _CHUNK].detach(), other[start : start + _CHUNK].detach()
        if not torch.equal(a.double() if double else wide(a), b.double() if double else wide(b)):
            return False
    return True


def tiled(parts: list[Tensor]) -> Tensor | None:
    """The one view that row chunks of a leaf tile without gap, else None."""
    first = parts[0]
    step = first.stride(0)
    rows = 0
    for part in parts:
        expected = first.storage_offset() + rows * step
        if key_of(part) != key_of(first) or part.storage_offset() != expected or part.stride(1) != first.stride(1):
            return None
        if part.shape[0] > 1 and part.stride(0) != step:
            return None
        rows += part.shape[0]
    return first.as_strided((rows, first.shape[1]), (step, first.stride(1)), first.storage_offset())
