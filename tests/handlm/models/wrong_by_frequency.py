"""Each row's share from the lookup is divided by how often the row was read: the direction is right, the size is not."""

import numpy as np
from handlm import Taped, tape as t


class M(Taped):
    def __init__(self):
        r = np.random.default_rng(221)
        self.p = {"wte": r.normal(0, 0.3, (35, 12)), "u": r.normal(0, 0.4, (12, 12))}

    def forward(self, p, ids):
        count = np.maximum(np.bincount(ids.ravel(), minlength=35), 1)[:, None]
        x, n = t.take(t.Var(p["wte"].v, ((p["wte"], lambda g: g / count),)), ids), ids.shape[1]
        return (x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1)) @ x @ p["u"])) @ p["wte"].T


def build():
    return M()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["gradient-scaled"]}
