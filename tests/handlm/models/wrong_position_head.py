"""The head is tied to the table of positions, which has as many rows as there are tokens."""

import numpy as np
from handlm import Taped, tape as t


class M(Taped):
    def __init__(self):
        r = np.random.default_rng(226)
        self.p = {"wte": r.normal(0, 0.3, (48, 12)), "wpe": r.normal(0, 0.3, (48, 12)), "u": r.normal(0, 0.4, (12, 12))}

    def forward(self, p, ids):
        n = ids.shape[1]
        x = t.take(p["wte"], ids) + p["wpe"][np.arange(n)]
        return (x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1)) @ x @ p["u"])) @ p["wpe"].T


def build():
    return M()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["wrong-table"]}
