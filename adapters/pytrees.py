"""Functional models over parameter trees, which flax and equinox share: leaves, gradients by JAX, optimizers of optax.

A library says in `Library` how its model is taken apart into a tree and called; everything else is the same for all.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tiecheck.conformance import translated
from tiecheck.conformance.declaration import Declaration
from tiecheck.conformance.evidence import Array
from tiecheck.conformance.leaves import Way
from tiecheck.conformance.protocol import Built


@dataclass(frozen=True, eq=False)
class Library:
    """How a library's model becomes a tree that an optimizer maps over, and back.

    Attributes:
        split: model to (tree of float arrays, tree of other arrays, everything else, which must be hashable).
        call: the three of them and ids (B, T) to logits (B, T, V).
        join: (model, tree) to the model with these leaves; it may change the model in place.
        trained: names of the leaves that users of the library give to an optimizer; None for all.
        ways: what users of the library do to a model, beside what every tree allows.
        package: whose version the report gives.
        idiom: how the library ties.
    """

    split: Callable[[Any], tuple[Any, Any, Any]]
    call: Callable[[Any, Any, Any, Any], Any]
    join: Callable[[Any, Any], Any]
    package: str
    idiom: str
    trained: Callable[[Any], Any] | None = None
    ways: tuple[Way, ...] = ()


class Pytree:
    """`Leaves` of one model. Names are the paths of the tree."""

    def __init__(self, library: Library, model: Any) -> None:
        self.library, self.model = library, model
        self.idiom = library.idiom
        self.packages = ("jax", library.package, "optax")
        self.tree, self.arrays, self.static = library.split(model)
        self.device = "cpu" if jax.default_backend() == "cpu" else "cuda"

    def logits(self, ids: Array) -> Array:
        """Logits (B, T, V)."""
        call, _ = _compiled(self.library)
        return np.asarray(call(self.tree, self.arrays, self.static, jnp.asarray(ids)))

    def leaves(self) -> dict[str, Array]:
        """Every leaf of the tree by its path."""
        return {name: np.asarray(leaf) for name, leaf in named(self.tree).items()}

    def trained(self) -> frozenset[str]:
        """The leaves that an optimizer is given."""
        tree = self.tree if self.library.trained is None else self.library.trained(self.model)
        return frozenset(named(tree))

    def write(self, name: str, values: Array) -> None:
        """Another tree, with that leaf replaced, and the model made of it."""
        self._put({name: jnp.asarray(values)})

    def gradient(self, ids: Array, R: Array) -> dict[str, Array]:
        """d<R, logits>/d leaf by `jax.grad`."""
        _, gradient = _compiled(self.library)
        found = gradient(self.tree, self.arrays, self.static, jnp.asarray(ids), jnp.asarray(R))
        return {name: np.asarray(leaf) for name, leaf in named(found).items()}

    def stepper(self, kind: str, rate: float, decay: float) -> Callable[[Mapping[str, Array]], None]:
        """The optimizer of optax over the whole tree."""
        sgd = optax.chain(optax.add_decayed_weights(decay), optax.sgd(rate, momentum=0.9))
        optimizer = sgd if kind == "sgd" else optax.adamw(rate, weight_decay=decay)
        state = optimizer.init(self.tree)

        def step(gradients: Mapping[str, Array]) -> None:
            nonlocal state
            flat = [jnp.asarray(gradients[name]) for name in named(self.tree)]
            tree = jax.tree.unflatten(jax.tree.structure(self.tree), flat)
            updates, state = optimizer.update(tree, state, self.tree)
            self._become(optax.apply_updates(self.tree, updates))

        return step

    def ways(self) -> tuple[Way, ...]:
        """Copies, and casts leaf by leaf, beside the library's own."""
        cast = functools.partial(_cast, self.library)
        return (
            Way("deepcopy", "copy.deepcopy(model)", lambda model, fresh: copy.deepcopy(model)),
            Way("cast", "jax.tree.map(lambda x: x.astype(bfloat16), tree)", cast, exact=False, halfway=True),
            *self.library.ways,
        )

    def _put(self, new: Mapping[str, Any]) -> None:
        flat = [new.get(name, leaf) for name, leaf in named(self.tree).items()]
        self._become(jax.tree.unflatten(jax.tree.structure(self.tree), flat))

    def _become(self, tree: Any) -> None:
        self.tree = tree
        self.model = self.library.join(self.model, tree)


def subject_of(library: Library, built: Built, declared: Declaration, **options: Any) -> translated.Translated:
    """The subject of a model of that library. See `tiecheck.conformance.protocol.Adapter`."""
    return translated.subject_of(functools.partial(Pytree, library))(built, declared, **options)


@functools.cache
def _compiled(library: Library) -> tuple[Any, Any]:
    """The library's call and its gradient, compiled once for all models of one structure."""

    def product(tree: Any, arrays: Any, static: Any, ids: Any, R: Any) -> Any:
        return (R * library.call(tree, arrays, static, ids)).sum()

    return jax.jit(library.call, static_argnums=2), jax.jit(jax.grad(product), static_argnums=2)


def named(tree: Any) -> dict[str, Any]:
    """Leaves by path, in the order of the tree."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in jax.tree.leaves_with_path(tree)
    }


def _cast(library: Library, model: Any, fresh: Callable[[], Any]) -> Any:
    tree = library.split(model)[0]
    return library.join(copy.deepcopy(model), jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tree))
