"""Token types are rows 0 and 1 of the table itself: a third use of it, which reads rows that are none of the ids."""

import numpy as np
from handlm import Taped, tape as t


class M(Taped):
    def __init__(self):
        r = np.random.default_rng(201)
        self.p = {"wte": r.normal(0, 0.3, (42, 14)), "u": r.normal(0, 0.4, (14, 14))}

    def forward(self, p, ids):
        x, n = t.take(p["wte"], ids) + t.take(p["wte"], ids % 2) * 0.5, ids.shape[1]
        h = x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1)) @ x @ p["u"])
        return h @ p["wte"].T


def build():
    return M()


TRUTH = {"declare": {"tied": True}, "conforms": True}
