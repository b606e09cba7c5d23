"""The head wraps the table's own array into a parameter of its own: two for the optimizer, over one memory."""

import numpy as np
from handlm import Taped, tape as t


class M(Taped):
    def __init__(self):
        r = np.random.default_rng(219)
        table = r.normal(0, 0.3, (38, 12))
        self.p = {"wte": table, "head": table, "u": r.normal(0, 0.4, (12, 12))}

    def write(self, name, values):
        self.p[name][...] = values

    def forward(self, p, ids):
        x, n = t.take(p["wte"], ids), ids.shape[1]
        return (x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1)) @ x @ p["u"])) @ p["head"].T


def build():
    return M()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["two-parameters-one-memory"]}
