"""Two parameters over one array, listed once; the step puts a new array in the place of the first's, and the other keeps the old."""

import copy
import numpy as np
from handlm import Taped, optim, tape as t


class M(Taped):
    def __init__(self):
        r = np.random.default_rng(139)
        table = r.normal(0, 0.3, (35, 10))
        self.held = {"e": table, "head": table, "u": r.normal(0, 0.4, (10, 10))}

    @property
    def p(self):
        """Every array once, by its first name."""
        first = {}
        for name, array in self.held.items():
            first.setdefault(id(array), name)
        return {name: self.held[name] for name in first.values()}

    def write(self, name, values):
        self.held[name][...] = values

    def forward(self, p, ids):
        x, n = t.take(p["e"], ids), ids.shape[1]
        past = t.Var(np.tril(np.ones((n, n)), -1)) @ x
        return (x + t.tanh(past @ p["u"])) @ p.get("head", p["e"]).T

    def stepper(self, kind, rate, decay):
        opt, names = optim.make(kind, rate, decay), set(self.p)

        def step(grads):
            for n in names:
                self.held[n] = opt.update(n, self.held[n], grads[n])

        return step

    def ways(self):
        def twice(m, fresh):
            return copy.deepcopy(m)

        words = ("deepcopy", "train-mode", "freeze")
        return tuple((word, f"model.{word}()", twice, {}) for word in words)


def build():
    return M()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["lost-on-step"]}
