"""Every tolerance of the suite, computed a priori from dtypes and counts of additions; none is tuned to a model.

u is the unit roundoff, eps / 2. A sum of n products in floating point errs by at most about n u times the sum of the
absolute products (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1); two more roundings cover
the operands' and the result's own. Products of 16-bit operands accumulate in float32 on every kernel that we know.

Two kinds stand here. Bounds decide a verdict. Fractions come after it: they say which word fits what has failed already
(nothing of a share is left, or a part of it), or which rows deserve a second look.
"""

from __future__ import annotations

import numpy as np

from .evidence import Array

# Keeps 0 / 0 from being asked; far below the square of any number that a float64 logit can hold.
TINY = 1e-300

U = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


def unit(dtype: str) -> float:
    """The unit roundoff of a dtype; 8-bit floats count as 2**-3."""
    return U.get(dtype, 2.0**-3)


def coarser(dtype: str) -> tuple[str, ...]:
    """Of the two 16-bit dtypes those that keep fewer bits than this one."""
    return tuple(narrow for narrow in ("float16", "bfloat16") if unit(narrow) > unit(dtype))


def rounded(values: Array, dtype: str) -> Array:
    """Values as float16 or bfloat16 holds them, in float64; to the nearest, ties to even."""
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return np.asarray(values.astype(np.float16), dtype=np.float64)
    assert dtype == "bfloat16"
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    bits = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return np.asarray(bits.view(np.float32), dtype=np.float64)


def is_coarse(dtype: str) -> bool:
    """Whether a dtype keeps fewer bits than float32."""
    return unit(dtype) > U["float32"]


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


# Steps of central differences, in units of the spread of E. The truncation error falls with the square of the step and
# rounding grows with its inverse, so that two neighbours that agree are free of both.
STEPS = (1e-2, 1e-3, 1e-4)
SHARP_STEPS = (1e-3, 1e-4)
# A loss is a mean over positions: a wider step comes first where rounding would hide the smaller ones.
LOSS_STEPS = (1e-2, 1e-1, 3e-3)

TRUNCATION = 3e-3
SHARP_TRUNCATION = 1e-5
LOSS_TRUNCATION = 1e-2


def difference(shares: Array, noise: float) -> float:
    """How far a central difference may be from the gradient: 3e-3 of the root of the summed squares of the rows' terms.

    The truncation error of a step h is h^2 / 6 times the third derivative; steps fall until two agree, and one that
    agrees to 3e-3 has a truncation error below that. ``noise`` is what rounding of the logits alone can do to it, and
    is never allowed to grow beyond the truncation's own part.
    """
    size = TRUNCATION * float(np.sqrt(np.sum(shares**2)))
    return size + min(noise, size)


def difference_sharp(shares: Array, noise: float) -> float:
    """The same where everything is float64: a step of 1e-4 leaves truncation near 1e-8; 1e-5 allows for curved bodies."""
    size = float(np.sqrt(np.sum(shares**2)))
    return SHARP_TRUNCATION * size + min(noise, TRUNCATION * size)


def difference_loss(quotient: float) -> float:
    """The same for the model's own scalar loss: twice the truncation at which the search for a step stops, and the
    rounding of a float32 mean near one (2**-24 over the smallest step)."""
    return 2 * LOSS_TRUNCATION * abs(quotient) + U["float32"]


def steps_disagree(quotients: Array, claim: float) -> bool:
    """Whether two quotients differ by more than a fifth of what separates the claim from them: then they show curvature
    or rounding, and nothing is known of the claim."""
    one, other = float(quotients[-2]), float(quotients[-1])
    return abs(one - other) > 0.2 * min(abs(one - claim), abs(other - claim))


def rounding_hides(noise: float, gap: float) -> bool:
    """Whether a quotient's rounding is a third or more of the gap that it would show."""
    return noise >= 0.3 * gap


def body_is_sound(claim: float, quotient: float) -> bool:
    """Whether a difference along the gradient of the network's own parameters is what that gradient says, to a tenth: at a step
    of 1e-3 of their size, curvature and float32 take a few hundredths of it, and what cuts or redraws takes more."""
    return abs(claim - quotient) <= 0.1 * max(abs(claim), abs(quotient), TINY)


def control_is_sound(claim: float, quotient: float, off: float) -> bool:
    """Whether the network's own parameters pass at least four times better than the table failed (``off``, as a part of
    its claim); 1e-9 is the rounding of a float64 difference at a step of 1e-3 (2**-53 / 1e-3, with a thousand logits)."""
    return abs(claim - quotient) <= max(0.25 * off, 1e-9) * max(abs(claim), abs(quotient))


def same_body(dtype: str) -> float:
    """How far logits or a row's share in a narrow dtype may be from the same network's in float64, as a part of the largest:
    a pass through a body amplifies rounding by a factor that no bound knows, 64 covers those of normalised networks;
    never below 1e-3."""
    return max(same_numbers(dtype), 1e-3)


def own_against_sharp(norms: Array, bounds: Array, dtype: str) -> Array:
    """The distance that rows' shares in the model's dtype may have from those in float64: `same_body` of their own size
    and of a tenth of the largest (rows mix in the body), four times, and the projection's rounding that was taken away.

    Args:
        norms: (rows,) of the shares in float64.
        bounds: (rows,) norms of the rounding of the projection's share.
    """
    body = same_body(dtype) * (norms + 0.1 * norms.max(initial=0.0))
    allowed: Array = FITTED * body + FITTED**2 * bounds
    return allowed


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


def same_numbers(dtype: str) -> float:
    """How far two arrays may be apart, as a part of the largest entry, that are the same but for the order of a few
    elementwise steps (a scale, a norm over D, a cast): a chain of 64 roundings."""
    return 64 * unit(dtype)


def fitted(dtype: str) -> float:
    """The rounding of h, or of a number per token, that was solved for: a least-squares solution multiplies the rounding
    of its right-hand side by the condition number of E, which for random rows (V > D) stays below a few tens, and by
    the few roundings of each logit; 1e3 roundings together."""
    return 1e3 * unit(dtype)


# A fit's residual may be the rounding of the row that it was fitted on and that of the row it is asked of, each twice.
FITTED = 4.0
# A row of h that is this much smaller than the largest tells next to nothing, however exact it is.
WEIGHT_FLOOR = 1e-3
# Beside a capped logit of 1 - 2**-30 the inverse of tanh has lost every digit of a float32.
ALMOST_CAP = 1 - 2.0**-30
# Singular values below this part of the largest are rounding: a few thousand float64 roundings.
RANK = 2.0**-40


def beyond_cap(dtype: str) -> float:
    """How large logits / cap may be where |cap tanh| <= cap holds exactly: the cap, the tanh and the product are rounded."""
    return 1 + 4 * unit(dtype)


def log_probabilities(logits: Array, dtype: str) -> float:
    """How far log sum exp of log-probabilities may be from zero: each is rounded by u of its size on four steps, and the
    sum over V tokens runs in the accumulator."""
    additions = int(logits.shape[-1]) + 2
    return 4 * unit(dtype) * float(np.abs(logits).max(initial=0.0)) + additions * accumulator(dtype)


def scale(*dtypes: str) -> float:
    """How far a scale that was read off many products may be from the declared one: the factor's own rounding into the
    widest of ``dtypes``, never below 1e-5, to which sqrt(D) and its like are written in configs."""
    return max(1e-5, *(factor(dtype) for dtype in dtypes))


def bias(logits: Array, dtype: str) -> float:
    """Below this a fitted bias is the rounding of the logits that it was fitted on: a chain of 64, not below float32's."""
    return 64 * max(unit(dtype), U["float32"]) * float(np.abs(logits).max(initial=0.0))


def no_bias(logits: Array, dtype: str) -> float:
    """Below this a declared bias is not there: a small one may stand below `bias`, but not below a few roundings."""
    return min(bias(logits, dtype), 4 * unit(dtype) * float(np.abs(logits).max(initial=0.0)))


def bystanders(logits: Array, dtype: str, exact: bool) -> float:
    """How far the logits of rows that nobody wrote may move: `unchanged`; where a normalization's constant was taken out
    or the two passes ran by different kernels, a sum over up to 64 more terms stands between them."""
    return unchanged(logits, dtype) * (1 if exact else 64 * 4)


def zero_logit(logits: Array, dtype: str) -> float:
    """What h . 0 may give: zero, and the rounding of what is done to it afterwards."""
    return 4 * unchanged(logits, dtype)


def equal_logits(magnitude: float, *dtypes: str) -> float:
    """How far the logits of two equal rows may be apart: kernels sum a column at a block's edge in another order."""
    return max(same_numbers(dtype) for dtype in dtypes) * magnitude


def twice(largest: float, dtype: str) -> float:
    """How far two added gradients may be from twice one: an addition each for a few edges of the graph, 16 roundings."""
    return 16 * unit(dtype) * largest


def route(size: float, dtype: str) -> float:
    """How far the gradients may be apart that two uses send on to one parameter: two sums over up to a thousand rows."""
    return 1e3 * unit(dtype) * size


def returned(logits: Array, dtype: str) -> float:
    """How far logits may move by a round trip that promises the same values: nothing but another order of the same sums,
    and what merging a low-rank delta and taking it out again rounds: a chain of 64."""
    return same_numbers(dtype) * float(np.abs(logits).max(initial=0.0))


def norm(size: float, dtype: str) -> float:
    """How far two norms of one set of gradients may be apart that one function measured: the pieces are added in another
    order, a chain of 64."""
    return same_numbers(dtype) * size


def update(before: Array, after: Array, dtype: str, corrections: str = "float64") -> Array:
    """How far the table after one optimizer step may be from its formula: eight roundings of what stands in the table, and
    a chain of 64 of what the step adds (the clipped gradient, the moments, the decay).

    AdamW divides by the root of 1 - 0.999^t: a rounding of 0.999 in ``corrections`` is a thousand times as large, halved by
    the root, in the step.
    """
    step = np.abs(after - before)
    relative = same_numbers(dtype) + unit(corrections) / (2 * (1 - 0.999))
    bound: Array = 8 * unit(dtype) * np.maximum(np.abs(before), np.abs(after)) + relative * step + TINY
    return bound


def trajectory(moved: float) -> float:
    """How far two programs may be apart in float64 after a few steps, as a part of the largest movement of a weight: their
    gradients agree to 1e-9 of the largest, and a few steps add and multiply that by less than ten."""
    return 1e-8 * moved


def uniform_guess(tokens: int) -> float:
    """How far the first loss may be from ln V: half a nat, or a tenth of ln V (contract, section 1)."""
    return max(0.5, 0.1 * float(np.log(tokens)))


# --- fractions: which word fits ------------------------------------------------------------------------------------

# A share this small beside its counterpart is no share: float32's rounding of a sum of sixteen terms is a tenth of it.
NOTHING = 1e-5
# A row whose share is this small beside the largest was probably left out.
SUSPECT = 1e-4
# What is this near to another number is it, where the alternatives are far apart (caps, factors, names).
NEAR = 1e-3
# Two tables of which one was made from the other differ by less than this part of their spread; two draws by more than 1.
CLOSE = 0.2
# A few rows may be missing for another reason where nearly all are.
NEARLY_ALL = 0.98
# A factor within this range is a scale; beyond it the direction is another one, too.
PLAUSIBLE_FACTORS = (0.2, 5.0)

# --- sizes of what is done to a model ------------------------------------------------------------------------------

# How far one step of a short training moves the table, as a part of its size: enough for every dtype to see, too little to
# change the model.
MOVE = 0.02
# AdamW's epsilon, and what clipping adds to the norm that it divides by, as torch has them.
EPSILON = 1e-8
CLIP_EPSILON = 1e-6
# One difference along the network's own parameters, as a part of their spread.
CONTROL_STEP = 1e-2
# What is zero at initialization is moved off it by up to so much, and at least by a third of it.
OFF_ZERO = 0.06


def proportional(one: Array, other: Array, dtype: str, axis: int | None = None) -> Array | None:
    """The number c (one for each row with ``axis=1``) with other = c one within `same_numbers`; None where there is none."""
    c = (one * other).sum(axis, keepdims=True) / ((one * one).sum(axis, keepdims=True) + TINY)
    fits = np.abs(c * one - other).max(initial=0.0) <= same_numbers(dtype) * np.abs(other).max(initial=0.0)
    return np.asarray(c) if fits else None


# What `audit` compares as it is stored. The relative error of a quantization by its bits, three times what a normal table shows.
QUANTIZED = {"8": 0.02, "6": 0.06, "5": 0.12, "4": 0.3, "3": 0.45, "2": 0.75, "1": 1.0}
# The same for a dtype whose rounding is not known: far above any float's, far below what two trained tables differ by.
STORED = 0.01
# Two products of an adapter's factors, which were trained and stored in 16 bits: relative, and absolute beside zero.
FACTORS = (1e-4, 1e-6)
