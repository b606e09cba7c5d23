"""The projection reads the table one row further on: logit v is h times row v + 1."""

import numpy as np
from handlm import Taped, tape as t


class M(Taped):
    def __init__(self):
        r = np.random.default_rng(115)
        self.p = {"wte": r.normal(0, 0.3, (47, 8)), "u": r.normal(0, 0.4, (8, 8))}

    def forward(self, p, ids):
        x, n = t.take(p["wte"], ids), ids.shape[1]
        h = x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1)) @ x @ p["u"])
        return h @ t.take(p["wte"], (np.arange(47) + 1) % 47).T


def build():
    return M()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["wrong-rows"]}
