"""The projection of the last rows reads a copy that was made when the model was built, as for another device."""

import numpy as np
from handlm import Model


class M(Model):
    def __init__(self):
        r = np.random.default_rng(137)
        self.p = {"e": r.normal(0, 0.3, (33, 9)), "u": r.normal(0, 0.4, (9, 9))}
        self.kept = self.p["e"][15:].copy()

    def logits(self, ids):
        x = self.p["e"][ids]
        past = np.cumsum(x, 1) / np.arange(1, ids.shape[1] + 1)[:, None]
        return (x + np.tanh(past @ self.p["u"])) @ np.r_[self.p["e"][:15], self.kept].T


def build():
    return M()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["partial-tie"]}
