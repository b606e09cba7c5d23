"""New tokens were added to the head alone: rows 40 and up of the projection are an array of their own."""

import numpy as np
from handlm import Taped, tape as t


class M(Taped):
    def __init__(self):
        r = np.random.default_rng(116)
        e = r.normal(0, 0.3, (50, 8))
        self.p = {"wte": e, "u": r.normal(0, 0.4, (8, 8)), "new_rows": e[40:].copy()}

    def forward(self, p, ids):
        x, n = t.take(p["wte"], ids), ids.shape[1]
        h = x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1)) @ x @ p["u"])
        return h @ t.concat([p["wte"][:40], p["new_rows"]], 0).T


def build():
    return M()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["partial-tie"]}
