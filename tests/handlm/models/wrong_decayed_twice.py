"""What is to be decayed is written down by layer, and two layers hold the table."""

import numpy as np
from handlm import Taped, tape as t, optim


class M(Taped):
    decayed = ("wte", "u", "wte")

    def __init__(self):
        r = np.random.default_rng(227)
        self.p = {"wte": r.normal(0, 0.3, (43, 12)), "u": r.normal(0, 0.4, (12, 12))}

    def forward(self, p, ids):
        x, n = t.take(p["wte"], ids), ids.shape[1]
        return (x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1)) @ x @ p["u"])) @ p["wte"].T

    def stepper(self, kind, rate, decay):
        if kind == "sgd":
            return super().stepper(kind, rate, decay)
        opt = optim.make(kind, rate, 0.0)

        def step(grads):
            for n in self.decayed:
                self.p[n] = self.p[n] * (1 - rate * decay)
            for n, g in grads.items():
                self.p[n] = opt.update(n, self.p[n], g)

        return step


def build():
    return M()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["lost-on-step"]}
