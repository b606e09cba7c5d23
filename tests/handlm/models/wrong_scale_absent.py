"""A scale per token is declared by its name, and nothing is multiplied by it."""

import numpy as np
from handlm import Taped, tape as t


class M(Taped):
    def __init__(self):
        r = np.random.default_rng(216)
        self.p = {"wte": r.normal(0, 0.3, (33, 10)), "u": r.normal(0, 0.4, (10, 10)), "scale": r.uniform(0.5, 1.5, 33)}

    def forward(self, p, ids):
        x, n = t.take(p["wte"], ids), ids.shape[1]
        return (x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1)) @ x @ p["u"])) @ p["wte"].T


def build():
    return M()


TRUTH = {"declare": {"tied": True, "output_scale": "scale"}, "conforms": False, "causes": ["declared-but-absent"]}
