"""Ids are clipped to one less than there are rows: the last token reads the row before its own."""

import numpy as np
from handlm import Taped, tape as t


class M(Taped):
    def __init__(self):
        r = np.random.default_rng(223)
        self.p = {"wte": r.normal(0, 0.3, (38, 14)), "u": r.normal(0, 0.4, (14, 14))}

    def rows(self, ids):
        return np.clip(ids, 0, 36)

    def forward(self, p, ids):
        x, n = t.take(p["wte"], self.rows(ids)), ids.shape[1]
        return (x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1)) @ x @ p["u"])) @ p["wte"].T


def build():
    return M()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["wrong-rows"]}
