"""How a module is called with ids, and where its logits are in what comes back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from tiecheck.conformance.errors import NotJudged
from torch import Tensor, nn

ID_NAMES = ("input_ids", "ids", "idx", "tokens")
TARGET_NAMES = ("labels", "targets", "target", "y")
_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a callable by name; empty where it does not say."""
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


def id_keyword(module: nn.Module) -> str | None:
    """The keyword under which ids must be handed over; None where they go first by position."""
    parameters = parameters_of(module.forward)
    if not parameters or any(p.kind in _POSITIONAL for p in parameters.values()):
        return None
    for name in ID_NAMES:
        if name in parameters:
            return name
    required = [n for n, p in parameters.items() if p.default is p.empty and p.kind is p.KEYWORD_ONLY]
    return required[0] if len(required) == 1 else None


def target_keyword(module: nn.Module) -> str | None:
    """The keyword under which forward takes targets for its own loss, if it has one."""
    parameters = parameters_of(module.forward)
    return next((name for name in TARGET_NAMES if name in parameters), None)


def call(module: nn.Module, ids: Tensor, **more: Any) -> Any:
    """``module(ids)``, by position or by the name that the signature has."""
    keyword = id_keyword(module)
    return module(ids, **more) if keyword is None else module(**{keyword: ids}, **more)


def find_logits(output: Any) -> Tensor:
    """The logits in an output: under ``logits``, bare, or first in a tuple. Raises NotJudged where there are none."""
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(named, Tensor):
        return named
    if isinstance(output, Tensor):
        return output
    if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        return output[0]
    raise NotJudged(f"the model returned no logits: {_describe(output)}")


def find_loss(output: Any) -> Tensor | None:
    """The differentiable scalar among what a call with targets returned, if there is one."""
    candidates: list[Any] = []
    if isinstance(output, Mapping):
        candidates = [output.get("loss"), *output.values()]
    elif isinstance(output, tuple | list):
        candidates = list(output)
    else:
        candidates = [getattr(output, "loss", None), output]
    for value in candidates:
        if isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point() and value.requires_grad:
            return value
    return None


def _describe(output: Any) -> str:
    kind = type(output).__name__
    if isinstance(output, Mapping):
        return f"a {kind} with the keys {', '.join(map(str, list(output)[:6])) or '(none)'}"
    return f"a {kind}"


def positions(logits: Tensor, batch: int, length: int) -> Tensor:
    """Logits as (N, C), one row a position. Raises NotJudged for a shape that has no row for a position."""
    shape = tuple(logits.shape)
    fits = (
        (len(shape) == 3 and shape[0] == batch and 1 <= shape[1] <= length)
        or (len(shape) == 3 and shape[:2] == (length, batch))
        or (len(shape) == 2 and shape[0] in (batch * length, batch))
    )
    if not fits or not logits.is_floating_point():
        raise NotJudged(
            f"for ids of shape ({batch}, {length}) the model returned an array of shape {shape} and dtype "
            f"{str(logits.dtype).removeprefix('torch.')}, not logits of shape ({batch}, {length}, V)"
        )
    return logits.reshape(-1, shape[-1])
