"""As many columns as tokens, and the projection takes the mean row off every row: all rows move all logits."""

import numpy as np
from handlm import Taped, tape as t


class M(Taped):
    def __init__(self):
        r = np.random.default_rng(225)
        self.p = {"wte": r.normal(0, 0.3, (26, 26)), "u": r.normal(0, 0.2, (26, 26))}

    def forward(self, p, ids):
        x, n = t.take(p["wte"], ids), ids.shape[1]
        h = x + t.tanh(t.Var(np.tril(np.ones((n, n)), -1)) @ x @ p["u"])
        return h @ (t.Var(np.eye(26) - 1 / 26) @ p["wte"]).T


def build():
    return M()


TRUTH = {
    "declare": {"tied": True, "table": "wte"},
    "conforms": False,
    "causes": ["unknown", "partial-tie", "adapter-on-one-use"],
}
