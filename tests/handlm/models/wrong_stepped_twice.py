"""Each layer hands its arrays to the optimizer, so the shared table is in the list twice and stepped twice."""

import numpy as np
from handlm import Taped, tape as t, optim


class M(Taped):
    def __init__(self):
        r = np.random.default_rng(109)
        self.p = {"shared": r.normal(0, 0.3, (41, 8)), "u": r.normal(0, 0.4, (8, 8))}
        self.layers = [("shared",), ("u",), ("shared",)]

    def forward(self, p, ids):
        x, n = t.take(p["shared"], ids), ids.shape[1]
        return (x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1)) @ x @ p["u"])) @ p["shared"].T

    def trained(self):
        return [n for layer in self.layers for n in layer]

    def stepper(self, kind, rate, decay):
        opt = optim.make(kind, rate, decay)

        def step(grads):
            for n in self.trained():
                self.p[n] = opt.update(n, self.p[n], grads[n])

        return step


def build():
    return M()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["listed-twice", "lost-on-step"]}
