"""A tiny transformer in Flax NNX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

V, D, T = 61, 16, 64


class Model(nnx.Module):
    """``name``: how its two ends are tied, or not."""

    def __init__(self, name: str, rngs: nnx.Rngs) -> None:
        self.name = name
        self.embed = nnx.Embed(V, D, rngs=rngs)
        self.positions = nnx.Embed(T, D, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, D, decode=False, rngs=rngs)
        self.mlp = nnx.Sequential(nnx.Linear(D, 4 * D, rngs=rngs), nnx.gelu, nnx.Linear(4 * D, D, rngs=rngs))
        self.norms = nnx.List([nnx.LayerNorm(D, rngs=rngs) for _ in range(3)])
        if name == "same-param":
            self.head = self.embed.embedding
        elif name == "copied":
            self.head = nnx.Param(self.embed.embedding[...])
        elif name == "untied":
            self.head = nnx.Param(0.1 * jax.random.normal(rngs.params(), (V, D)))
        elif name == "transposed":
            self.dense = nnx.Linear(D, V, use_bias=False, rngs=rngs)
            self.dense.kernel = nnx.Param(self.embed.embedding[...].T)

    def __call__(self, ids: Any) -> Any:
        h = self.embed(ids) + self.positions(jnp.arange(ids.shape[1]))
        h = h + self.attention(self.norms[0](h), mask=nnx.make_causal_mask(ids))
        h = self.norms[2](h + self.mlp(self.norms[1](h)))
        if self.name == "attend":
            return self.embed.attend(h)
        return self.dense(h) if self.name == "transposed" else h @ self.head.T
