"""WRONG: rows of the table are dropped for the lookup in eval mode, too: equal calls differ."""

from blind.seventeenth_right_14_rows_dropped_in_train import Dropped

TRUTH = {"conforms": False, "cause": "nondeterministic"}


def make():
    return Dropped(always=True)
