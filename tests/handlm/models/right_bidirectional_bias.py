"""Not causal, a second table of the same shape looked up by position, and a bias at the output."""

import numpy as np
from handlm import Taped, tape as t


class Bidirectional(Taped):
    """Not causal: an encoder whose every position sees all (a masked language model)."""

    def __init__(self):
        r = np.random.default_rng(47)
        self.p = {
            "wte": r.normal(0, 0.3, (45, 10)),
            "seg": r.normal(0, 0.3, (45, 10)),
            "q": r.normal(0, 0.5, (10, 10)),
            "bias": r.normal(0, 0.1, 45),
        }

    def forward(self, p, ids):
        x = t.take(p["wte"], ids) + p["seg"][np.arange(ids.shape[1])]
        a = t.softmax((x @ p["q"]) @ t.swap(x))
        return t.rms(x + a @ x) @ p["wte"].T + p["bias"]


def build():
    return Bidirectional()


TRUTH = {"declare": {"tied": True, "output_bias": True}, "conforms": True}
