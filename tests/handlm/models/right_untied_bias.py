"""Untied, with an input scale of 2, a bias at the output, and casts by name."""

import copy
import numpy as np
from handlm import Taped, tape as t
from handlm.model import simple_ways


class Biased(Taped):
    def __init__(self):
        r = np.random.default_rng(41)
        self.p = {
            "tok": r.normal(0, 0.3, (40, 8)),
            "w": r.normal(0, 0.5, (8, 8)),
            "proj": r.normal(0, 0.3, (40, 8)),
            "proj_bias": np.zeros(40),
        }

    def forward(self, p, ids):
        x = t.take(p["tok"], ids) * 2.0
        h, out = x[:, 0] * 0.0, []
        for i in range(ids.shape[1]):
            h = t.tanh(h @ p["w"] + x[:, i])
            out.append(h)
        return t.stack(out) @ p["proj"].T + p["proj_bias"]

    def ways(self):
        def cast(m, fresh):
            new = copy.copy(m)
            new.p = {n: a.astype(np.float32) for n, a in m.p.items()}
            return new

        return simple_ways() + (("cast", "astype(float32)", cast, {"exact": False, "halfway": True}),)


def build():
    return Biased()


TRUTH = {"declare": {"tied": False, "input_scale": 2.0, "output_bias": True}, "conforms": True}
