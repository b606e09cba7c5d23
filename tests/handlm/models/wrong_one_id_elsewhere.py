"""One token in the middle reads another token's row, which a run sees once it has drawn that token."""

import numpy as np

from .wrong_clipped_ids import M


class Elsewhere(M):
    def rows(self, ids):
        return np.where(ids == 17, 23, ids)


def build():
    return Elsewhere()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["wrong-rows"]}
