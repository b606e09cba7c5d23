"""The adapter of the framework by hand."""

from handlm import Model
from tiecheck.conformance import translated
from tiecheck.conformance.leaves import Way
from tiecheck.conformance.protocol import Backend

FLAG = False


def backend():
    return Backend("handlm", "models in NumPy by hand", True, ("logits", "writes", "gradients"), ())


def accepts(model):
    return isinstance(model, Model)


def build(name, *, tied, seed):
    raise LookupError(f"handlm has no model {name!r}")


class Leaves:
    def __init__(self, model):
        self.model = model
        self.unasked = dict(getattr(model, "unasked", {}))
        for optional in ("gradient", "stepper", "trained", "own_counts"):
            if hasattr(model, optional):
                setattr(self, optional, getattr(model, optional))
        if hasattr(model, "ways"):
            self.ways = lambda: tuple(Way(w, s, f, **k) for w, s, f, k in model.ways())

    def logits(self, ids):
        return self.model.logits(ids)

    def leaves(self):
        return self.model.leaves()

    def write(self, name, values):
        self.model.write(name, values)


subject_of = translated.subject_of(Leaves)
