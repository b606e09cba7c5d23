"""Flax NNX: modules hold variables, and a table is shared by `nnx.Embed.attend`, or by one `nnx.Param` under two names."""

from __future__ import annotations

import functools
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tiecheck.conformance.declaration import Declaration
from tiecheck.conformance.protocol import Backend, Built, unknown

if TYPE_CHECKING:
    from tiecheck.conformance.translated import Translated

FLAG = False
NAMES = ("attend", "same-param", "untied", "copied", "transposed")
"""The library's idiom, one variable under two names, two variables; and the popular wrong ones: another variable with the
same array, and one with its transpose as a Dense layer's kernel."""


def backend() -> Backend:
    """See `tiecheck.conformance.protocol.Adapter`."""
    here = all(find_spec(name) for name in ("flax", "optax"))
    asks = ("logits", "writes", "gradients", "steps of optax", "copies, casts, states")
    return Backend("flax-nnx", "nnx.Module, called with ids (B, T)", here, asks, NAMES)


def accepts(model: object) -> bool:
    """Any NNX module; the library is not imported to find out."""
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(model, nnx.Module)


def build(name: str, *, tied: bool | None, seed: int) -> Built:
    """A tiny transformer, tied as the name says. LookupError: no such name."""
    if name not in NAMES:
        raise unknown("flax-nnx", name, NAMES)
    from flax import nnx

    from .examples.flax_nnx_gpt import Model

    return Built(Model(name, nnx.Rngs(seed)), Declaration(tied=name != "untied"), notes=("tiny and random",))


def subject_of(built: Built, declared: Declaration, **options: Any) -> Translated:
    """See `tiecheck.conformance.protocol.Adapter`."""
    from . import pytrees

    return pytrees.subject_of(_library(), built, declared, **options)


@functools.cache
def _library() -> Any:
    import jax
    import jax.numpy as jnp
    from flax import nnx
    from tiecheck.conformance.leaves import Way
    from tiecheck.conformance.operations import reads

    from .pytrees import Library

    def floats(path: Any, value: Any) -> bool:
        return hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jnp.floating)

    def split(model: Any) -> Any:
        model.eval()
        graph, state, others = nnx.split(model, floats, ...)
        return nnx.to_pure_dict(state), (state, others), graph

    def whole(tree: Any, state: Any) -> Any:
        state = jax.tree.map(lambda leaf: leaf, state)  # a state of its own: the next line writes into it
        nnx.replace_by_pure_dict(state, tree)
        return state

    def call(tree: Any, arrays: Any, graph: Any, ids: Any) -> Any:
        state, others = arrays
        return nnx.merge(graph, whole(tree, state), others)(ids)

    def join(model: Any, tree: Any) -> Any:
        nnx.update(model, whole(tree, nnx.state(model, floats)))
        return model

    def loaded(model: Any, fresh: Any) -> Any:
        other = fresh()
        reads(lambda: nnx.update(other, nnx.state(model)), "a fresh model refuses the state")
        return other

    def modes(model: Any, fresh: Any) -> Any:
        for _ in range(3):
            model.train()
            model.eval()
        return model

    return Library(
        split=split,
        call=call,
        join=join,
        package="flax",
        idiom="logits = self.embed.attend(h)",
        trained=lambda model: nnx.to_pure_dict(nnx.state(model, nnx.Param)),
        ways=(
            Way("load", "nnx.update(fresh, nnx.state(model))", loaded, fresh=True),
            Way("train-mode", "model.train(); model.eval()", modes),
        ),
    )
