"""The same recurrence, whose one logit made by hand is in the graph: a row is read that is none of the ids, and rightly so."""

from __future__ import annotations

from blind.reading_wrong_row_detached_in_train import Gated
from torch import nn

TRUTH = {"conforms": True}


def make() -> nn.Module:
    return Gated(cut=False)
