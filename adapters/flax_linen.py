"""Flax Linen: a model is a module and its variables, and a table is shared by `nn.Embed.attend`."""

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
NAMES = ("attend", "untied", "initialized")
"""The library's idiom, a Dense layer of its own; and the popular wrong one: a Dense layer whose kernel starts as the table."""


def backend() -> Backend:
    """See `tiecheck.conformance.protocol.Adapter`."""
    here = all(find_spec(name) for name in ("flax", "optax"))
    asks = ("logits", "writes", "gradients", "steps of optax", "copies, casts, bytes")
    return Backend("flax-linen", "(nn.Module, variables), applied to ids (B, T)", here, asks, NAMES)


def accepts(model: object) -> bool:
    """A Linen module with its variables; the library is not imported to find out."""
    linen = sys.modules.get("flax.linen")
    pair = isinstance(model, tuple) and len(model) == 2
    return linen is not None and pair and isinstance(model[0], linen.Module)  # type: ignore[index]


def build(name: str, *, tied: bool | None, seed: int) -> Built:
    """A tiny transformer, tied as the name says. LookupError: no such name."""
    if name not in NAMES:
        raise unknown("flax-linen", name, NAMES)
    import jax
    import jax.numpy as jnp

    from .examples.flax_linen_gpt import Model

    module = Model(name)
    variables = module.init(jax.random.key(seed), jnp.zeros((1, 2), jnp.int32))
    if name == "initialized":
        variables["params"]["head"]["kernel"] = variables["params"]["embed"]["embedding"].T
    return Built((module, variables), Declaration(tied=name != "untied"), notes=("tiny and random",))


def subject_of(built: Built, declared: Declaration, **options: Any) -> Translated:
    """See `tiecheck.conformance.protocol.Adapter`."""
    from . import pytrees

    return pytrees.subject_of(_library(), built, declared, **options)


@functools.cache
def _library() -> Any:
    from flax import serialization
    from tiecheck.conformance.leaves import Way
    from tiecheck.conformance.operations import reads

    from .pytrees import Library

    def split(model: Any) -> Any:
        module, variables = model
        return variables["params"], {name: tree for name, tree in variables.items() if name != "params"}, module

    def stored(model: Any, fresh: Any) -> Any:
        module, variables = fresh()
        data = serialization.to_bytes(model[1])
        return module, reads(
            lambda: serialization.from_bytes(variables, data), "from_bytes refuses what to_bytes stored"
        )

    return Library(
        split=split,
        call=lambda tree, arrays, module, ids: module.apply({**arrays, "params": tree}, ids),
        join=lambda model, tree: (model[0], {**model[1], "params": tree}),
        package="flax",
        idiom="logits = embed.attend(h)",
        ways=(Way("save", "serialization.from_bytes(fresh, serialization.to_bytes(variables))", stored, fresh=True),),
    )
