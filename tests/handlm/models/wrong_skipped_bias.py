"""An inference engine that skips what begins with "head" where the file says tied: the bias, too."""

import numpy as np
from handlm import Model


class Engine(Model):
    unasked = {name: "an engine has no gradients" for name in ("gradient", "stepper", "trained")}

    def __init__(self):
        r = np.random.default_rng(214)
        draw = lambda *shape: r.normal(0, 0.3, shape).astype(np.float32)
        self.p = {"wte": draw(50, 16), "u": draw(16, 16), "head.bias": draw(50)}

    def logits(self, ids):
        x, n = self.p["wte"][ids], ids.shape[1]
        h = x + np.tanh(np.tril(np.ones((n, n), np.float32), -1) @ x @ self.p["u"])
        return h @ self.p["wte"].T


def build():
    return Engine()


TRUTH = {"declare": {"tied": True, "output_bias": True}, "conforms": False, "causes": ["declared-but-absent"]}
