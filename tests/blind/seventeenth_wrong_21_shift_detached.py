"""WRONG: a bias is worked out from the table outside the graph: the logits look like (h + c) E^T, the gradient is h's alone."""

from blind.seventeenth_right_12_shift_of_h import Shifted

TRUTH = {"conforms": False, "cause": "undeclared-bias"}


def make():
    return Shifted(detached=True)
