"""RIGHT: in train mode rows of the table are dropped, and both uses read what is left: one computed array, so one table."""

from blind.seventeenth_right_14_rows_dropped_in_train import Dropped

TRUTH = {"conforms": True}


def make():
    return Dropped(both=True)
