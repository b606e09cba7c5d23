"""The chapters of the specification, in the order in which they are read. Importing one registers its requirements."""

from . import (
    count,
    gradient,
    initialization,
    lookup,
    persistence,
    persistence_should,
    projection,
    storage,
    subject,
    training,
)

__all__ = [
    "count",
    "gradient",
    "initialization",
    "lookup",
    "persistence",
    "persistence_should",
    "projection",
    "storage",
    "subject",
    "training",
]
