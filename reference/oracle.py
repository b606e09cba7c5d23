"""The same network in NumPy float64, with gradients derived by hand and a separate table for each use.

A tied model is the restriction of L(E_in, E_out) to E_in = E_out = E. This file computes the unrestricted function, so
that the two shares of the tied gradient dL/dE = dL/dE_in + dL/dE_out come apart and each can be checked by itself.
It knows nothing of `GPTConfig.tied` except in `random_weights`, and shares only the configuration with `gpt.py`.

Each operation maps (x, w) to (y, backward): w holds the operation's own weights, and `backward` takes dL/dy to
(dL/dx, dL/dw). Forward and backward stand side by side; `chain` and `residual` put operations together, and the network
is four lines at the end. The loss is L = <R, logits>, the sum of R * logits, for a cotangent R of the caller's choice:
every other loss is this one with R = dL/dlogits (for cross-entropy on tokens y, R = softmax(logits) - onehot(y)).

Letters: B batch, T positions, V vocabulary, D width, H heads, F inner width. All arrays are float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from .config import EPSILON, GPTConfig

Array = NDArray[np.float64]
Ids = NDArray[np.integer]
Weights = dict[str, Array]
Backward = Callable[[Array], tuple[Array, Weights]]
Operation = Callable[[Array, Weights], tuple[Array, Backward]]


# The two ends: the only operations that read a V x D table.


def lookup(ids: Ids, E_in: Array) -> tuple[Array, Callable[[Array], Array]]:
    """x = U E_in: ids (B, T), E_in (V, D) -> (B, T, D), U the one-hot rows. dE_in = U^T dx: only rows that occur."""

    def backward(dx: Array) -> Array:
        dE_in = np.zeros_like(E_in)
        np.add.at(dE_in, ids, dx)  # adds as often as a token occurs, where `dE_in[ids] += dx` would add once
        return dE_in

    return E_in[ids], backward


def projection(h: Array, E_out: Array) -> tuple[Array, Callable[[Array], tuple[Array, Array]]]:
    """logits = h E_out^T: (B, T, D), (V, D) -> (B, T, V). dh = R E_out; dE_out = R^T h: every row, occurring or not."""

    def backward(R: Array) -> tuple[Array, Array]:
        return R @ E_out, np.einsum("btv,btd->vd", R, h)

    return h @ E_out.T, backward


# What stands between them.


def linear(x: Array, w: Weights) -> tuple[Array, Backward]:
    """y = x W^T + b: (B, T, n) -> (B, T, m), W (m, n), b (m). dx = dy W; dW = dy^T x and db = dy, summed over B, T."""
    W, b = w["weight"], w["bias"]

    def backward(dy: Array) -> tuple[Array, Weights]:
        return dy @ W, {"weight": np.einsum("btm,btn->mn", dy, x), "bias": dy.sum((0, 1))}

    return x @ W.T + b, backward


def norm(x: Array, w: Weights) -> tuple[Array, Backward]:
    """y = g z + b with z = (x - mean x) / s, s = sqrt(var x + epsilon), over D: (B, T, D) -> (B, T, D).

    z does not change when x is shifted, and hardly when it is scaled, so dx is dz with both directions taken out:
    dx = (dz - mean dz - z mean(z dz)) / s with dz = g dy.
    """
    g, b = w["weight"], w["bias"]
    centred = x - x.mean(-1, keepdims=True)
    s = np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
    z = centred / s

    def backward(dy: Array) -> tuple[Array, Weights]:
        dz = g * dy
        dx = (dz - dz.mean(-1, keepdims=True) - z * (z * dz).mean(-1, keepdims=True)) / s
        return dx, {"weight": (dy * z).sum((0, 1)), "bias": dy.sum((0, 1))}

    return g * z + b, backward


def gelu(x: Array, w: Weights) -> tuple[Array, Backward]:
    """y = x (1 + t) / 2 with t = tanh(c (x + a x^3)), c = sqrt(2 / pi), a = 0.044715; any shape.

    Hendrycks & Gimpel 2016, the approximation. dy/dx = (1 + t) / 2 + x (1 - t^2) c (1 + 3 a x^2) / 2.
    """
    c, a = np.sqrt(2 / np.pi), 0.044715
    t = np.tanh(c * (x + a * x**3))

    def backward(dy: Array) -> tuple[Array, Weights]:
        return dy * ((1 + t) + x * (1 - t**2) * c * (1 + 3 * a * x**2)) / 2, {}

    return x * (1 + t) / 2, backward


def mix(heads: int, qkv: Array, w: Weights) -> tuple[Array, Backward]:
    """Y = A V, A = softmax(Q K^T / sqrt(D/H)) with the future masked, in each head: (B, T, 3D) -> (B, T, D).

    dV = A^T dY; dA = dY V^T; through softmax, dS = A (dA - sum(A dA)) row by row; dQ = dS K and dK = dS^T Q, scaled.
    """
    B, T, D3 = qkv.shape
    scale = np.sqrt(D3 // 3 // heads)
    q, k, v = qkv.reshape(B, T, 3, heads, -1).transpose(2, 0, 3, 1, 4)  # (B, H, T, D/H) each
    S = np.where(np.tri(T, dtype=bool), q @ k.swapaxes(-1, -2) / scale, -np.inf)
    A = np.exp(S - S.max(-1, keepdims=True))
    A /= A.sum(-1, keepdims=True)

    def backward(dy: Array) -> tuple[Array, Weights]:
        dY = dy.reshape(B, T, heads, -1).transpose(0, 2, 1, 3)
        dA = dY @ v.swapaxes(-1, -2)
        dS = A * (dA - (A * dA).sum(-1, keepdims=True)) / scale
        dqkv = np.stack([dS @ k, dS.swapaxes(-1, -2) @ q, A.swapaxes(-1, -2) @ dY])
        return dqkv.transpose(1, 3, 0, 2, 4).reshape(B, T, D3), {}

    return (A @ v).transpose(0, 2, 1, 3).reshape(B, T, D3 // 3), backward


# How operations are put together.


def chain(**steps: Operation) -> Operation:
    """The operations one after another; step `n` owns the weights called `n.*`, or all of them where `n` starts with _.

    Backwards, the chain rule: the same steps in reverse, each handing dL/dx to the one before.
    """

    def operation(x: Array, w: Weights) -> tuple[Array, Backward]:
        backwards: list[tuple[str, Backward]] = []
        for name, step in steps.items():
            prefix = "" if name.startswith("_") else f"{name}."
            own = {key.removeprefix(prefix): value for key, value in w.items() if key.startswith(prefix)}
            x, step_backward = step(x, own)
            backwards.append((prefix, step_backward))

        def backward(dx: Array) -> tuple[Array, Weights]:
            dw: Weights = {}
            for prefix, step_backward in reversed(backwards):
                dx, own = step_backward(dx)
                dw |= {prefix + key: value for key, value in own.items()}
            return dx, dw

        return x, backward

    return operation


def residual(f: Operation) -> Operation:
    """y = x + f(x), any shape. dx = dy + f'(x)^T dy."""

    def operation(x: Array, w: Weights) -> tuple[Array, Backward]:
        y, f_backward = f(x, w)

        def backward(dy: Array) -> tuple[Array, Weights]:
            dx, dw = f_backward(dy)
            return dy + dx, dw

        return x + y, backward

    return operation


def network(config: GPTConfig) -> Operation:
    """h_0 (B, T, D) -> h (B, T, D): all blocks, and in GPT-2 the final norm."""
    attention = chain(qkv=linear, _mix=partial(mix, config.heads), out=linear)
    mlp = chain(up=linear, _gelu=gelu, down=linear)
    if config.pre_norm:
        block = chain(
            _1=residual(chain(norm_1=norm, attention=attention)),
            _2=residual(chain(norm_2=norm, mlp=mlp)),
        )
    else:
        block = chain(_1=residual(chain(attention=attention)), norm_1=norm, _2=residual(chain(mlp=mlp)), norm_2=norm)
    blocks = chain(**{str(layer): block for layer in range(config.layers)})
    return chain(blocks=blocks, norm=norm) if config.pre_norm else chain(blocks=blocks)


@dataclass(frozen=True)
class Forward:
    """One pass: `logits` (B, T, V), the final hidden state `h` (B, T, D), and the way back."""

    logits: Array
    h: Array
    backward: Callable[[Array], Weights]
    """R = dL/dlogits (B, T, V) -> dL/dw for every weight, by the names and shapes of `weight_shapes`."""


def forward(config: GPTConfig, weights: Mapping[str, np.ndarray], ids: Ids) -> Forward:
    """ids (B, T), integers in 0 .. V-1, through the network with `weights` (names and shapes: `weight_shapes`).

    Raises ValueError where a weight is missing, superfluous or of another shape, where `ids` are not as said, and
    where T exceeds the context.
    """
    w = {name: np.asarray(array, np.float64) for name, array in weights.items()}
    expected = weight_shapes(config)
    if wrong := sorted(n for n in w.keys() | expected if n not in w or w[n].shape != expected.get(n)):
        raise ValueError(f"Weights that are missing, superfluous or of another shape than configured: {wrong}.")
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"ids must be integers of shape (B, T), not {ids.dtype} of shape {ids.shape}.")
    T = ids.shape[1]
    if config.context < T:
        raise ValueError(f"The sequence has {T} positions, but the context is {config.context}.")
    if ids.size and not (ids.min() >= 0 and ids.max() < config.vocabulary):
        raise ValueError(f"ids must lie in 0 .. {config.vocabulary - 1}, not in {ids.min()} .. {ids.max()}.")

    x, lookup_backward = lookup(ids, w["E_in"])
    h, network_backward = network(config)(x + w["P"][:T], w)
    logits, projection_backward = projection(h, w["E_out"])

    def backward(R: Array) -> Weights:
        if R.shape != logits.shape:
            raise ValueError(f"R must have the shape {logits.shape} of the logits, not {R.shape}.")
        dh, dE_out = projection_backward(np.asarray(R, np.float64))
        dh_0, dw = network_backward(dh)
        dP = np.zeros_like(w["P"])
        dP[:T] = dh_0.sum(0)
        return {"E_in": lookup_backward(dh_0), "E_out": dE_out, "P": dP, **dw}

    return Forward(logits, h, backward)


def gradients(config: GPTConfig, weights: Mapping[str, np.ndarray], ids: Ids, R: Array) -> Weights:
    """dL/dw of L = <R, logits> for every weight, R (B, T, V). A tied model owes the sum of "E_in" and "E_out".

    Raises ValueError as `forward` does, and where R has not the shape of the logits.
    """
    return forward(config, weights, ids).backward(R)


def weight_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Every weight's name and shape. Those between the tables are called as in `gpt.py`; matrices are (out, in)."""
    V, D, F = config.vocabulary, config.width, config.inner_width
    shapes: dict[str, tuple[int, ...]] = {"E_in": (V, D), "E_out": (V, D), "P": (config.context, D)}
    maps = {"attention.qkv": (3 * D, D), "attention.out": (D, D), "mlp.up": (F, D), "mlp.down": (D, F)}
    for layer in range(config.layers):
        for name, (rows, columns) in maps.items():
            shapes |= {f"blocks.{layer}.{name}.weight": (rows, columns), f"blocks.{layer}.{name}.bias": (rows,)}
        for name in ("norm_1", "norm_2"):
            shapes |= {f"blocks.{layer}.{name}.weight": (D,), f"blocks.{layer}.{name}.bias": (D,)}
    return shapes | ({"norm.weight": (D,), "norm.bias": (D,)} if config.pre_norm else {})


def random_weights(config: GPTConfig, rng: np.random.Generator) -> Weights:
    """Weights drawn for testing, not for training: biases and gains too, so that no term of a formula is 0 or 1.

    E_out is a copy of E_in where the configuration is tied, and drawn by itself where not.
    """
    weights: Weights = {}
    for name, shape in weight_shapes(config).items():
        drawn = rng.standard_normal(shape)
        if len(shape) == 2 and name.startswith("blocks"):
            drawn /= np.sqrt(shape[1])  # keeps the scale of x, so that softmax and GELU are not saturated
        weights[name] = 1 + drawn / 4 if "norm" in name and name.endswith("weight") else drawn
    if config.tied:
        weights["E_out"] = weights["E_in"].copy()
    return weights
