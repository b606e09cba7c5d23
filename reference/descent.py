"""Training by hand: what stochastic gradient descent makes of the weights, from the gradients of `oracle.py` alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .config import GPTConfig
from .oracle import Array, Ids, Weights, forward


def cross_entropy(logits: Array, targets: Ids) -> tuple[float, Array]:
    """The mean over B T positions of -log softmax(logits)[target], and R = dL/dlogits = (softmax - onehot) / (B T)."""
    top = logits - logits.max(-1, keepdims=True)
    log_p = top - np.log(np.exp(top).sum(-1, keepdims=True))
    picked = np.take_along_axis(log_p, targets[..., None], -1)
    R = np.exp(log_p)
    np.put_along_axis(R, targets[..., None], np.take_along_axis(R, targets[..., None], -1) - 1, -1)
    return float(-picked.mean()), R / targets.size


def descend(
    config: GPTConfig,
    weights: Mapping[str, np.ndarray],
    ids: Ids,
    targets: Ids,
    *,
    rate: float,
    momentum: float = 0.9,
    steps: int = 3,
) -> Weights:
    """The weights after ``steps`` of SGD with momentum on the mean cross-entropy of one batch.

    v := momentum v + g; w := w - rate v. Where the configuration is tied one table moves by the sum of both shares,
    g_E = dL/dE_in + dL/dE_out, and both names hold it afterwards.

    Args:
        ids, targets: (B, T), integers below V.

    Raises ValueError as `forward` does, and where a tied model is given two tables that differ.
    """
    w: Weights = {name: np.array(array, np.float64) for name, array in weights.items()}
    if config.tied and not np.array_equal(w["E_in"], w["E_out"]):
        raise ValueError("The model is tied, but E_in and E_out differ.")
    velocity = {name: np.zeros_like(array) for name, array in w.items()}
    for _ in range(steps):
        passed = forward(config, w, ids)
        grads = passed.backward(cross_entropy(passed.logits, targets)[1])
        if config.tied:
            grads["E_in"] = grads["E_out"] = grads["E_in"] + grads["E_out"]
        for name, g in grads.items():
            velocity[name] = momentum * velocity[name] + g
            w[name] = w[name] - rate * velocity[name]
    return w
