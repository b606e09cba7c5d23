"""Padded to 64 rows, 50 legal; the columns beyond are masked with -1e9."""

import numpy as np
from handlm import Taped, tape as t


class Masked(Taped):
    def __init__(self):
        r = np.random.default_rng(44)
        self.p = {"wte": r.normal(0, 0.3, (64, 8)), "a": r.normal(0, 0.5, (8, 8))}

    def forward(self, p, ids):
        x, n = t.take(p["wte"], ids), ids.shape[1]
        z = (x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1) * 0.3) @ x @ p["a"])) @ p["wte"].T
        legal = (np.arange(64) < 50).astype(float)
        return z * legal + (1 - legal) * -1e9


def build():
    return Masked()


TRUTH = {"declare": {"tied": True, "vocabulary": 50}, "conforms": True}
