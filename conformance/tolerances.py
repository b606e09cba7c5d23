"""Every tolerance of the suite, computed a priori from dtypes and counts of additions; none is tuned to a model.

u is the unit roundoff, eps / 2. A sum of n products in floating point errs by at most about n u times the sum of the
absolute products (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1); two more roundings cover
the operands' and the result's own. Products of 16-bit operands accumulate in float32 on every kernel that we know.
"""

from __future__ import annotations

import numpy as np

from .evidence import Array

U = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


def unit(dtype: str) -> float:
    """The unit roundoff of a dtype; 8-bit floats count as 2**-3."""
    return U.get(dtype, 2.0**-3)


def accumulator(dtype: str) -> float:
    """The unit roundoff in which sums of products in this dtype are kept."""
    return min(unit(dtype), U["float32"])


def product(
    absolute: Array, width: int, product_dtype: str, output_dtype: str, magnitude: Array, table_dtype: str = ""
) -> Array:
    """The error of h E^T and of what is done to it: (D + 2) u_acc |h||E|, + u |h||E| where the table was rounded into the
    product's narrower dtype, + 4 u_out of every magnitude that was rounded on the way to the logits.

    Args:
        absolute: |h| |E|^T, (N, C).
        width: D.
        product_dtype: the dtype in which the product ran.
        output_dtype: the dtype of the logits.
        magnitude: (N, C), the largest of the intermediate absolute values.
        table_dtype: the dtype of the table.
    """
    rounding = max(unit(output_dtype), unit(product_dtype))
    operand = unit(product_dtype) if table_dtype and unit(product_dtype) > unit(table_dtype) else 0.0
    error: Array = ((width + 2) * accumulator(product_dtype) + operand) * absolute + 4 * rounding * magnitude
    return error


def head_share(absolute: Array, positions: int, edges: int, *dtypes: str) -> Array:
    """The error of R^T h per entry: N additions in the accumulator, one rounding into the table's dtype for each edge of
    the graph that is added, and the rounding of the cotangent on its way through the transformations of the logits.

    Args:
        absolute: |R|^T |h|, (rows, D).
        positions: N.
        edges: how many contributions autograd adds.
        dtypes: of the table, of the logits, and of the product where it is seen.
    """
    coarse = max(unit(dtype) for dtype in dtypes if dtype)
    error: Array = ((positions + 8) * accumulator(dtypes[0]) + (edges + 8) * coarse) * absolute
    return error


def difference(shares: Array, noise: float) -> float:
    """How far a central difference may be from the gradient: 3e-3 of the root of the summed squares of the rows' terms.

    The truncation error of a step h is h^2 / 6 times the third derivative; steps fall until two agree, and one that
    agrees to 3e-3 has a truncation error below that. ``noise`` is what rounding of the logits alone can do to it.
    """
    return 3e-3 * float(np.sqrt(np.sum(shares**2))) + noise


def difference_sharp(shares: Array, noise: float) -> float:
    """The same where everything is float64: a step of 1e-4 leaves truncation near 1e-8; 1e-5 allows for curved bodies."""
    return 1e-5 * float(np.sqrt(np.sum(shares**2))) + noise


def own_against_sharp(dtype: str) -> float:
    """How far a row's share in the model's dtype may be from the same in float64, as a part of it: a backward pass through
    a body amplifies rounding by a factor that no bound knows, 64 covers those of normalised networks; never below 1e-3."""
    return max(64 * unit(dtype), 1e-3)


def logits_noise(logits: Array, cotangent: Array, dtype: str, step: float) -> float:
    """What the rounding of two sets of logits does to a quotient: u sqrt(sum (R l)^2) of random signs, over the step; 8
    roundings on the way to a logit are allowed for."""
    size = np.abs(logits).max(1, keepdims=True) + 1e-3
    return 4 * unit(dtype) * float(np.sqrt(np.sum((cotangent * size) ** 2))) / step


def unchanged(logits: Array, dtype: str) -> float:
    """How far a logit may move that should keep its bits: kernels may sum in another order, 4 u of the largest."""
    return 4 * unit(dtype) * float(np.max(np.abs(logits), initial=0.0))


def factor(dtype: str) -> float:
    """How far a scalar factor may be from the declared one: it may have been rounded into the table's dtype."""
    return 2 * unit(dtype)
