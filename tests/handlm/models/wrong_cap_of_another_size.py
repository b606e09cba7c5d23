"""Logits are capped at 4, and a cap of 9 is declared."""

import numpy as np
from handlm import Taped, tape as t


class M(Taped):
    def __init__(self, rows=33, width=8):
        r = np.random.default_rng(157)
        self.p = {"e": r.normal(0, 0.6, (rows, width)), "u": r.normal(0, 0.4, (width, width))}

    def forward(self, p, ids):
        x, n = t.take(p["e"], ids), ids.shape[1]
        past = t.Var(np.tril(np.ones((n, n)), -1)) @ x
        return t.tanh((x + t.tanh(past @ p["u"])) @ p["e"].T * 0.25) * 4.0


def build():
    return M()


TRUTH = {"declare": {"tied": True, "logit_softcap": 9.0}, "conforms": False, "causes": ["undeclared-softcap"]}
