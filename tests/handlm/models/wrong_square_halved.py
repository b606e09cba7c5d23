"""As many columns as tokens, and the gradient is the mean over the two uses where it should be the sum."""

import numpy as np
from handlm import Taped, tape as t


class M(Taped):
    def __init__(self):
        r = np.random.default_rng(212)
        self.p = {"wte": r.normal(0, 0.2, (24, 24)), "u": r.normal(0, 0.2, (24, 24))}

    def forward(self, p, ids):
        shared = t.Var(p["wte"].v, ((p["wte"], lambda g: g / 2),))
        x, n = t.take(shared, ids), ids.shape[1]
        return (x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1)) @ x @ p["u"])) @ shared.T


def build():
    return M()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["gradient-scaled"]}
