"""More columns than tokens, and the projection reads the table outside the tape."""

import numpy as np
from handlm import Taped, tape as t


class M(Taped):
    def __init__(self):
        r = np.random.default_rng(211)
        self.p = {"wte": r.normal(0, 0.2, (29, 40)), "u": r.normal(0, 0.2, (40, 40))}

    def forward(self, p, ids):
        x, n = t.take(p["wte"], ids), ids.shape[1]
        return (x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1)) @ x @ p["u"])) @ t.stop(p["wte"]).T


def build():
    return M()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["detached-projection"]}
