"""A low-rank delta on the head alone (one factor zero at birth)."""

import numpy as np
from handlm import Taped, tape as t


class M(Taped):
    def __init__(self):
        r = np.random.default_rng(120)
        self.p = {
            "wte": r.normal(0, 0.3, (53, 9)),
            "u": r.normal(0, 0.4, (9, 9)),
            "lora_a": r.normal(0, 0.3, (2, 9)),
            "lora_b": np.zeros((53, 2)),
        }

    def forward(self, p, ids):
        x, n = t.take(p["wte"], ids), ids.shape[1]
        h = x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1)) @ x @ p["u"])
        return h @ (p["wte"] + p["lora_b"] @ p["lora_a"]).T


def build():
    return M()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["adapter-on-one-use"]}
