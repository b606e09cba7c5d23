"""As many columns as tokens, and the projection is h E."""

import numpy as np
from handlm import Taped, tape as t


class M(Taped):
    def __init__(self):
        r = np.random.default_rng(218)
        self.p = {"u": r.normal(0, 0.3, (28, 28)), "wte": r.normal(0, 0.3, (28, 28)), "v": r.normal(0, 0.3, (28, 28))}

    def forward(self, p, ids):
        x, n = t.take(p["wte"], ids), ids.shape[1]
        return ((x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1)) @ x @ p["u"])) @ p["v"]) @ p["wte"]


def build():
    return M()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["not-transposed"]}
