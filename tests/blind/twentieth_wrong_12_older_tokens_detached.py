"""WRONG: ids further back than the last eight are looked up outside the graph."""

from blind.twentieth_right_21_looked_up_in_stretches import M

TRUTH = {"conforms": False, "cause": "detached-lookup"}


def make():
    return M(detached=True)
