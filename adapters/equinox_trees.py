"""Equinox: modules are trees, and a table is shared by `eqx.nn.Shared`, which leaves one leaf of it in the tree."""

from __future__ import annotations

import functools
import io
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tiecheck.conformance.declaration import Declaration
from tiecheck.conformance.protocol import Backend, Built, unknown

if TYPE_CHECKING:
    from tiecheck.conformance.translated import Translated

FLAG = False
NAMES = ("shared", "untied", "aliased")
"""The library's idiom, two leaves, and the popular wrong one: one array put in two places."""


def backend() -> Backend:
    """See `tiecheck.conformance.protocol.Adapter`."""
    here = all(find_spec(name) for name in ("equinox", "optax"))
    asks = ("logits", "writes", "gradients", "steps of optax", "copies, casts, files")
    return Backend("equinox", "eqx.Module, called with ids (T,) and mapped over the batch", here, asks, NAMES)


def accepts(model: object) -> bool:
    """Any equinox module; the library is not imported to find out."""
    library = sys.modules.get("equinox")
    return library is not None and isinstance(model, library.Module)


def build(name: str, *, tied: bool | None, seed: int) -> Built:
    """A tiny transformer, tied as the name says. LookupError: no such name."""
    if name not in NAMES:
        raise unknown("equinox", name, NAMES)
    import jax

    from .examples.equinox_gpt import Model

    return Built(Model(name, jax.random.key(seed)), Declaration(tied=name != "untied"), notes=("tiny and random",))


def subject_of(built: Built, declared: Declaration, **options: Any) -> Translated:
    """See `tiecheck.conformance.protocol.Adapter`."""
    from . import pytrees

    return pytrees.subject_of(_library(), built, declared, **options)


@functools.cache
def _library() -> Any:
    import equinox as eqx
    import jax
    from tiecheck.conformance.leaves import Way
    from tiecheck.conformance.operations import reads

    from .pytrees import Library

    def split(model: Any) -> Any:
        tree, rest = eqx.partition(model, eqx.is_inexact_array)
        arrays, static = eqx.partition(rest, eqx.is_array)
        return tree, arrays, static

    def call(tree: Any, arrays: Any, static: Any, ids: Any) -> Any:
        return jax.vmap(eqx.nn.inference_mode(eqx.combine(tree, arrays, static)))(ids)

    def files(model: Any, fresh: Any) -> Any:
        eqx.tree_serialise_leaves(file := io.BytesIO(), model)
        file.seek(0)
        other, problem = fresh(), "tree_deserialise_leaves refuses what was stored"
        return reads(lambda: eqx.tree_deserialise_leaves(file, other), problem)

    return Library(
        split=split,
        call=call,
        join=lambda model, tree: eqx.combine(tree, eqx.filter(model, eqx.is_inexact_array, inverse=True)),
        package="equinox",
        idiom="eqx.nn.Shared((embedding, head), lambda pair: pair[1].weight, lambda pair: pair[0].weight)",
        ways=(
            Way(
                "save",
                "eqx.tree_serialise_leaves(file, model); eqx.tree_deserialise_leaves(file, fresh)",
                files,
                fresh=True,
            ),
            Way("train-mode", "eqx.nn.inference_mode(model)", lambda model, fresh: eqx.nn.inference_mode(model)),
        ),
    )
