"""The same in a table that is wider than it is long: h is read back from rows that were written."""

import numpy as np
from handlm.models.wrong_scale_per_token import M


def build():
    return M(rows=22, width=24, dtype=np.float64)


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["undeclared-scale"]}
