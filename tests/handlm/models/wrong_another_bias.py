"""Another bias is added than the one that is declared by its name."""

import numpy as np

from .wrong_skipped_bias import Engine


class Other(Engine):
    def __init__(self):
        super().__init__()
        self.p["other"] = np.random.default_rng(215).normal(0, 0.3, 50).astype(np.float32)

    def logits(self, ids):
        return super().logits(ids) + self.p["other"]


def build():
    return Other()


TRUTH = {"declare": {"tied": True, "output_bias": "head.bias"}, "conforms": False, "causes": ["undeclared-bias"]}
