"""WRONG: what is read from the second slice of the table is the next row."""

from blind.twentieth_right_04_rows_in_two_windows import Model

TRUTH = {"conforms": False, "cause": "wrong-rows"}


def make():
    return Model(shift=1)
