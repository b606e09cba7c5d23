"""A tiny transformer in Flax Linen."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

V, D, T = 61, 16, 64


class Model(nn.Module):
    """``kind``: "attend", or any other for a Dense layer of its own."""

    kind: str

    @nn.compact
    def __call__(self, ids: Any) -> Any:
        embed = nn.Embed(V, D, name="embed")
        h = embed(ids) + nn.Embed(T, D, name="positions")(jnp.arange(ids.shape[1]))
        x = nn.LayerNorm()(h)
        h = h + nn.MultiHeadDotProductAttention(2)(x, x, mask=nn.make_causal_mask(ids))
        h = h + nn.Dense(D)(nn.gelu(nn.Dense(4 * D)(nn.LayerNorm()(h))))
        h = nn.LayerNorm()(h)
        return embed.attend(h) if self.kind == "attend" else nn.Dense(V, use_bias=False, name="head")(h)
