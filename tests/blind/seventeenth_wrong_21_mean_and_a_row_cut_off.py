"""WRONG: the mean of the table is fed into the body, so that every row is read; and the head reads one row outside the graph."""

import torch
from blind.seventeenth_right_05_mean_of_the_table import Mean

TRUTH = {"conforms": False, "cause": "missing-rows", "also": ("wrong-gradient", "detached-projection")}


class Cut(Mean):
    def read(self):
        return torch.cat([self.E[:9], self.E[9:10].detach(), self.E[10:]])


def make():
    return Cut()
