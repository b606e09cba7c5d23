"""WRONG: one token, the first of the second slice, is read from the first slice."""

from blind.twentieth_right_04_rows_in_two_windows import Model

TRUTH = {"conforms": False, "cause": "wrong-rows"}


def make():
    return Model(edge=1)
