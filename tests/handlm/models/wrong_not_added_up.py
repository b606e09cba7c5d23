"""d[ids] += g adds once for each distinct id: a token that is read more than once loses gradient."""

import numpy as np
from handlm import Taped, tape as t


class M(Taped):
    def __init__(self):
        r = np.random.default_rng(220)
        self.p = {"wte": r.normal(0, 0.3, (35, 12)), "u": r.normal(0, 0.4, (12, 12))}

    def forward(self, p, ids):
        x, n = t.index(p["wte"], ids), ids.shape[1]
        return (x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1)) @ x @ p["u"])) @ p["wte"].T


def build():
    return M()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["wrong-gradient"]}
