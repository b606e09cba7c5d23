"""Dropout at a rate of 2 % that evaluation does not turn off, from a generator of its own."""

import numpy as np
from handlm import Taped, tape as t


class M(Taped):
    def __init__(self):
        r = np.random.default_rng(119)
        self.p = {"wte": r.normal(0, 0.3, (45, 8)), "u": r.normal(0, 0.4, (8, 8))}
        self.rng = np.random.default_rng(1)

    def forward(self, p, ids):
        x, n = t.take(p["wte"], ids), ids.shape[1]
        h = x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1)) @ x @ p["u"])
        return (h * (self.rng.random(h.shape) > 0.02).astype(float)) @ p["wte"].T


def build():
    return M()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["nondeterministic"]}
