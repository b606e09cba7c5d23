"""The lookup's share is declared to be halved, and is whole."""

import numpy as np
from handlm import Taped, tape as t


class M(Taped):
    def __init__(self):
        r = np.random.default_rng(217)
        self.p = {"wte": r.normal(0, 0.3, (39, 12)), "u": r.normal(0, 0.4, (12, 12))}

    def forward(self, p, ids):
        x, n = t.take(p["wte"], ids), ids.shape[1]
        return (x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1)) @ x @ p["u"])) @ p["wte"].T


def build():
    return M()


TRUTH = {"declare": {"tied": True, "input_gradient_scale": 0.5}, "conforms": False, "causes": ["declared-but-absent"]}
