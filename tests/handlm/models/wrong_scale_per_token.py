"""A temperature for each token at the output that nobody declared."""

import numpy as np
from handlm import Taped, tape as t


class M(Taped):
    def __init__(self, rows=41, width=8, dtype=np.float32):
        r = np.random.default_rng(131)
        p = {
            "e": r.normal(0, 0.3, (rows, width)),
            "u": r.normal(0, 0.4, (width, width)),
            "hot": np.linspace(0.8, 1.3, rows),
        }
        self.p = {n: a.astype(dtype) for n, a in p.items()}

    def forward(self, p, ids):
        x, n = t.take(p["e"], ids), ids.shape[1]
        past = t.Var(np.tril(np.ones((n, n), x.v.dtype), -1)) @ x
        return ((x + t.tanh(past @ p["u"])) @ p["e"].T) * p["hot"]


def build():
    return M()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["undeclared-scale"]}
