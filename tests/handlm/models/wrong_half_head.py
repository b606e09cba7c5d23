"""The head works on a float16 image of the table."""

import numpy as np
from handlm import Model


class Engine(Model):
    unasked = {name: "an engine has no gradients" for name in ("gradient", "stepper", "trained")}
    width = 16

    def __init__(self):
        r = np.random.default_rng(222)
        draw = lambda *shape: r.normal(0, 0.3, shape).astype(np.float32)
        self.p = {"wte": draw(47, self.width), "u": draw(self.width, self.width)}

    def logits(self, ids):
        x, n = self.p["wte"][ids], ids.shape[1]
        h = x + np.tanh(np.tril(np.ones((n, n), np.float32), -1) @ x @ self.p["u"])
        return h @ self.p["wte"].astype(np.float16).astype(np.float32).T


def build():
    return Engine()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["reduced-precision"]}
