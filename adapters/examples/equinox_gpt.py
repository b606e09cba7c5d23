"""A tiny transformer in Equinox. Modules are trees, called with the ids of one sequence."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

V, D, T = 61, 16, 64


class Head(eqx.Module):
    """h (D,) to logits (V,)."""

    weight: jax.Array

    def __call__(self, h: Any) -> Any:
        return h @ self.weight.T


class Model(eqx.Module):
    """``name``: "shared", "aliased" (one array in two places) or "untied"."""

    ends: Any
    positions: jax.Array
    attention: eqx.nn.MultiheadAttention
    mlp: eqx.nn.MLP
    norm: eqx.nn.LayerNorm

    def __init__(self, name: str, key: Any) -> None:
        k = jax.random.split(key, 5)
        lookup = eqx.nn.Embedding(weight=0.1 * jax.random.normal(k[0], (V, D)))
        head = Head(lookup.weight if name != "untied" else 0.1 * jax.random.normal(k[1], (V, D)))
        pair = (lookup, head)
        self.ends = pair
        if name == "shared":
            self.ends = eqx.nn.Shared(pair, lambda pair: pair[1].weight, lambda pair: pair[0].weight)
        self.positions = 0.1 * jax.random.normal(k[2], (T, D))
        self.attention = eqx.nn.MultiheadAttention(2, D, key=k[3])
        self.mlp = eqx.nn.MLP(D, D, 4 * D, 1, key=k[4])
        self.norm = eqx.nn.LayerNorm(D)

    def __call__(self, ids: Any) -> Any:
        lookup, head = self.ends() if isinstance(self.ends, eqx.nn.Shared) else self.ends
        h = jax.vmap(lookup)(ids) + self.positions[: ids.shape[0]]
        x = jax.vmap(self.norm)(h)
        mask = jnp.tril(jnp.ones((ids.shape[0], ids.shape[0]), dtype=bool))
        h = h + self.attention(x, x, x, mask)
        return head(jax.vmap(self.norm)(h + jax.vmap(self.mlp)(h)))
