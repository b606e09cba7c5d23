"""Declared untied and with a matrix for each use in its file; the projection reads the lookup's all the same."""

import numpy as np
from handlm import Model


class M(Model):
    def __init__(self):
        r = np.random.default_rng(151)
        self.p = {"e": r.normal(0, 0.3, (30, 10)), "out": r.normal(0, 0.3, (30, 10)), "u": r.normal(0, 0.4, (10, 10))}

    def logits(self, ids):
        x = self.p["e"][ids]
        past = np.cumsum(x, 1) / np.arange(1, ids.shape[1] + 1)[:, None]
        return (x + np.tanh(past @ self.p["u"])) @ self.p["e"].T


def build():
    return M()


TRUTH = {"declare": {"tied": False}, "conforms": False, "causes": ["forced-tie"]}
