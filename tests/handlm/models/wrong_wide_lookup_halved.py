"""More columns than tokens, and half of the lookup's share."""

import numpy as np
from handlm import Taped, tape as t


class M(Taped):
    def __init__(self):
        r = np.random.default_rng(213)
        self.p = {"wte": r.normal(0, 0.2, (29, 40)), "u": r.normal(0, 0.2, (40, 40))}

    def forward(self, p, ids):
        x, n = t.take(t.Var(p["wte"].v, ((p["wte"], lambda g: g / 2),)), ids), ids.shape[1]
        return (x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1)) @ x @ p["u"])) @ p["wte"].T


def build():
    return M()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["gradient-scaled"]}
