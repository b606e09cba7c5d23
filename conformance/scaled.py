"""A scale for each token where h is not seen: both are unknown, and yet the logits say them up to one common factor.

With l = t_v (h . E_v), what is unknown is u = 1 / t. Where h is solved for, every position's l u lies in the span of E's
columns; where it was read back, each of its components came with the scale of the row that held the unit vector. Either way
the equations are linear in u, with a zero on the right: u is the one direction that they leave.
"""

from __future__ import annotations

import numpy as np

from . import tolerances
from .evidence import Array, Writing

# More columns than this tell no more of h, and cost their square.
MOST = 256
ROUNDS = 4


def solved(left: Array, table: Array) -> Array | None:
    """The scales (C,) with which the logits (N, C) are products of some h with the table's rows (C, D); None without one."""
    columns, width = table.shape
    sample = np.unique(np.linspace(0, columns - 1, min(columns, MOST)).astype(int))
    if left.shape[0] * (sample.size - width) < 2 * sample.size:
        return None  # so few equations leave more than one direction
    # What no h explains: the rest of the columns' space beside the table's.
    beside = np.linalg.svd(table[sample], full_matrices=True)[0][:, width:].T
    inverse = _direction(np.concatenate([beside * row for row in left[:, sample]]))
    if inverse is None:
        return None
    scale = np.zeros(columns)
    scale[sample] = 1 / inverse
    kept = sample
    for _ in range(ROUNDS):
        rows = table[kept] * scale[kept, None]
        products = left[:, kept] @ np.linalg.pinv(rows).T @ table.T
        scale = (products * left).sum(0) / ((products**2).sum(0) + tolerances.TINY)
        kept = np.arange(columns)
    return _normed(scale)


def read_back(left: Array, hidden: Array, table: Array, units: tuple[Writing, ...]) -> Array | None:
    """The same where each component of h (N, D) was read back as the logit of a row that held a unit vector."""
    columns, width = table.shape
    if columns > MOST or left.shape[0] < 2:
        return None
    holder = np.zeros((width, columns))
    for writing in units:
        filled = np.flatnonzero(np.any(writing.values != 0, axis=1))
        holder[writing.values[filled].argmax(1), writing.rows[filled]] = 1.0
    inverse = _direction(
        np.concatenate([np.diag(row) - (table * h) @ holder for row, h in zip(left, hidden, strict=True)])
    )
    return None if inverse is None else _normed(1 / inverse)


def _direction(equations: Array) -> Array | None:
    """The one direction that the equations leave, with no component of next to nothing."""
    sizes, directions = np.linalg.svd(equations, full_matrices=False)[1:]
    if sizes.size < 2 or sizes[-1] > tolerances.NEAR * sizes[-2]:
        return None
    found: Array = directions[-1]
    return found if np.abs(found).min() > tolerances.NEAR * np.abs(found).max() else None


def _normed(scale: Array) -> Array:
    """With a mean size of one: the common factor is h's."""
    return np.asarray(scale / np.abs(scale).mean() * (np.sign(scale.sum()) or 1.0))
