import copy, io, pickle
import numpy as np
from . import optim, tape


class Model:
    """What every model here has: a dict ``p`` of arrays by name, each array once."""

    def leaves(self):
        return dict(self.p)

    def write(self, name, values):
        self.p[name] = np.array(values)


class Taped(Model):
    """``forward(p, ids)`` on Vars; gradients by the tape."""

    def forward(self, p, ids):
        raise NotImplementedError

    def logits(self, ids):
        return self.forward({n: tape.Var(a) for n, a in self.p.items()}, np.asarray(ids)).v

    def gradient(self, ids, R):
        p = {n: tape.Var(a) for n, a in self.p.items()}
        tape.backward(self.forward(p, np.asarray(ids)), R)
        return {n: np.zeros_like(v.v) if v.g is None else v.g for n, v in p.items()}

    def stepper(self, kind, rate, decay):
        opt = optim.make(kind, rate, decay)

        def step(grads):
            for n, g in grads.items():
                self.p[n] = opt.update(n, self.p[n], np.asarray(g, self.p[n].dtype))

        return step

    def ways(self):
        return simple_ways()


# ways: (word, spelling, perform, flags)
def state(m):
    return {n: np.array(a) for n, a in m.leaves().items()}


def load(m, values):
    for n, a in values.items():
        m.write(n, a)
    return m


def saved(m, fresh):
    f = io.BytesIO()
    np.savez(f, **state(m))
    f.seek(0)
    return load(fresh(), dict(np.load(f)))


def simple_ways():
    return (
        ("deepcopy", "copy.deepcopy(model)", lambda m, fresh: copy.deepcopy(m), {}),
        ("pickle", "pickle.loads(pickle.dumps(model))", lambda m, fresh: pickle.loads(pickle.dumps(m)), {}),
        ("load", "load(fresh, state(model))", lambda m, fresh: load(fresh(), state(m)), {}),
        ("save", "np.savez and load into a fresh one", saved, {}),
    )
