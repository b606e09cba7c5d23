"""WRONG: the mask of each shard ends one row early: those tokens are looked up as zeros."""

from blind.twentyfirst_right_01_masked_shards import Sharded

TRUTH = {"conforms": False, "cause": "partial-tie"}


def make():
    return Sharded(less=1)
