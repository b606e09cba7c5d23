"""The chapters of the specification, in the order in which they are read. Importing one registers its requirements."""

from . import count, gradient, lookup, projection, storage, subject

__all__ = ["count", "gradient", "lookup", "projection", "storage", "subject"]
