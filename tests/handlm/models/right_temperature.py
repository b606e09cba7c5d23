"""A list of arrays, one temperature per token at the output (declared by name), decay on matrices alone, freeze and thaw."""

import copy
import numpy as np
from handlm import Model, optim, tape as t


class Listed(Model):
    NAMES = ("table", "w", "temperature")

    def __init__(self):
        r = np.random.default_rng(43)
        self.arrays = [r.normal(0, 0.4, (38, 9)), r.normal(0, 0.4, (9, 9)), np.ones(38)]
        self.frozen = set()

    def leaves(self):
        return dict(zip(self.NAMES, self.arrays))

    def write(self, name, values):
        self.arrays[self.NAMES.index(name)] = np.array(values)

    def forward(self, ps, ids):
        e, w, s = ps
        x, n = t.take(e, ids), ids.shape[1]
        h = x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1) * 0.5) @ x @ w)
        return (h @ e.T) * s

    def logits(self, ids):
        return self.forward([t.Var(a) for a in self.arrays], ids).v

    def trained(self):
        return [n for n in self.NAMES if n not in self.frozen]

    def gradient(self, ids, R):
        ps = [t.Var(a) for a in self.arrays]
        t.backward(self.forward(ps, ids), R)
        return {n: v.g for n, v in zip(self.NAMES, ps) if n not in self.frozen}

    def stepper(self, kind, rate, decay):
        group = {True: optim.make(kind, rate, decay), False: optim.make(kind, rate, 0.0)}

        def step(grads):
            for i, n in enumerate(self.NAMES):
                if n in grads and n not in self.frozen:
                    a = self.arrays[i]
                    self.arrays[i] = group[a.ndim == 2].update(n, a, grads[n])

        return step

    def ways(self):
        def freeze(m, fresh):
            m.frozen = {"table"}
            m.frozen = set()
            return m

        return (
            ("deepcopy", "copy.deepcopy(model)", lambda m, fresh: copy.deepcopy(m), {}),
            ("freeze", "freeze and thaw", freeze, {}),
        )


def build():
    return Listed()


TRUTH = {"declare": {"tied": True, "output_scale": "temperature"}, "conforms": True}
