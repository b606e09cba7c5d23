"""The steps of torch optimizers, told as they happen; and a module as it behaves between two of them."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from tiecheck.conformance.errors import NotJudged
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from .ends import flattened
from .places import unwrapped
from .tie import groups_of, plain
from .trace import eager

After = Callable[[Any], None]


class Steps:
    """Calls ``after(optimizer)`` when a step of one of ``optimizers`` is done, until it is closed.

    An optimizer that trains a parameter of one of these and is none of them takes that one's place, and its steps are told
    from then on: a script that builds its optimizer anew is to be watched like any other.

    Args:
        optimizer: one, or a list of several that share the parameters; wrapped by accelerate or by Lightning or not.
        after: what it raises comes out of the optimizer's ``step``.

    Raises:
        NotJudged: it has no parameter groups, or no steps that can be followed.
    """

    def __init__(self, optimizer: Any, after: After) -> None:
        self.optimizers = [_inner(one) for one in (optimizer if isinstance(optimizer, list | tuple) else [optimizer])]
        groups_of(self.optimizers)
        self._after = after
        self._others: weakref.WeakSet[Any] = weakref.WeakSet()
        self._undo = contextlib.ExitStack()
        for one in self.optimizers:
            if not isinstance(one, torch.optim.Optimizer):
                self._undo.callback(_wrapped(one, after))
        # Held weakly: a trainer that never comes to its end would else keep its model alive.
        told = weakref.WeakMethod(self._stepped)
        self._undo.callback(register_optimizer_step_post_hook(lambda *step: _tell(told, step)).remove)

    def close(self) -> None:
        """Nothing is told any more, and nothing stays behind."""
        self._undo.close()

    def _stepped(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Some optimizer of the process has made a step."""
        ours = any(optimizer is one for one in self.optimizers)
        if not ours and (optimizer in self._others or not self._replaces(optimizer)):
            self._others.add(optimizer)
            return
        self._after(optimizer)

    def _replaces(self, optimizer: Any) -> bool:
        """Whether it trains what one of ours trains; then it stands in that one's place."""
        trained = _trained(optimizer)
        kept = [one for one in self.optimizers if not trained & _trained(one)]
        if len(kept) == len(self.optimizers):
            return False
        self.optimizers = [*kept, optimizer]
        return True


def _tell(told: weakref.WeakMethod[Any], step: tuple[Any, ...]) -> None:
    method = told()
    if method is not None:
        method(*step)


def _trained(optimizer: Any) -> set[int]:
    return {id(parameter) for group in groups_of(optimizer) for parameter in group["params"]}


def _inner(optimizer: Any) -> Any:
    """The optimizer inside the wrappers that hand its steps on."""
    seen = set()
    while id(optimizer) not in seen:
        seen.add(id(optimizer))
        for name in ("optimizer", "_optimizer"):
            inner = getattr(optimizer, name, None)
            if hasattr(inner, "step") and hasattr(inner, "param_groups"):
                optimizer = inner
                break
    return optimizer


def _wrapped(optimizer: Any, after: After) -> Callable[[], None]:
    """``after`` behind the ``step`` of an optimizer that is none of torch's; gives what takes it away again."""
    original = getattr(optimizer, "step", None)
    if not callable(original):
        raise NotJudged(f"a {type(optimizer).__name__} has no step() to follow")
    watching = [True]

    def step(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if watching:
            after(optimizer)
        return result

    own = vars(optimizer).get("step") if hasattr(optimizer, "__dict__") else None
    try:
        optimizer.step = step
    except AttributeError as error:
        raise NotJudged(f"the steps of a {type(optimizer).__name__} cannot be followed: {error}") from error

    def remove() -> None:
        watching.clear()
        # Where somebody wrapped it once more, only that one can take theirs off.
        if vars(optimizer).get("step") is step:
            if own is None:
                del optimizer.step
            else:
                optimizer.step = own

    return remove


def whole(model: nn.Module) -> nn.Module:
    """The module inside torch's wrappers, where each of its parameters is here as a whole. Raises NotJudged."""
    inner, _ = unwrapped(model)
    if flattened(inner) or not all(plain(parameter) for parameter in inner.parameters()):
        raise NotJudged("parameters are sharded or quantized: a pass takes every rank, and only identity can be asked")
    return inner


@contextlib.contextmanager
def behaving(model: nn.Module) -> Iterator[nn.Module]:
    """The module inside torch's wrappers, to be run between two steps of its training without a trace of that.

    Compiled code runs eagerly; what acts on a gradient as soon as it is there (an optimizer inside the backward pass) does
    not. Raises NotJudged for sharded and flattened parameters.
    """
    inner = whole(model)
    hooks = [p._post_accumulate_grad_hooks for p in inner.parameters()]
    held = [(hook, dict(hook)) for hook in hooks if hook]
    for hook, _ in held:
        hook.clear()
    try:
        with eager():
            yield inner
    finally:
        for hook, content in held:
            hook.update(content)
