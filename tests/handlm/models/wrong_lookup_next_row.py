"""Every lookup reads the row after its token's, in an engine whose table is named."""

import numpy as np
from handlm import Model


class Engine(Model):
    unasked = {name: "an engine has no gradients" for name in ("gradient", "stepper", "trained")}

    def __init__(self):
        r = np.random.default_rng(224)
        self.p = {"wte": r.normal(0, 0.3, (41, 12)), "u": r.normal(0, 0.4, (12, 12))}

    def logits(self, ids):
        x, n = self.p["wte"][(ids + 1) % 41], ids.shape[1]
        return (x + np.tanh(np.tril(np.ones((n, n)), -1) @ x @ self.p["u"])) @ self.p["wte"].T


def build():
    return Engine()


TRUTH = {"declare": {"tied": True, "table": "wte"}, "conforms": False, "causes": ["wrong-rows"]}
