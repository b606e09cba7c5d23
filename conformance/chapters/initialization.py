"""Chapter `initialization`: before training, the model knows nothing, and its loss says so."""

from __future__ import annotations

import numpy as np

from .. import tolerances
from ..algebra import log_sum_exp
from ..evidence import Array, Case
from ..requirement import Finding, failed, passed, requirement, skipped


@requirement(
    "initialization.loss",
    level="SHOULD",
    statement="At initialization the loss is close to that of a uniform guess over the vocabulary.",
    formula="|mean over uniform targets of -log softmax(logits) - ln V| <= max(0.5, 0.1 ln V)",
    source="Karpathy, A Recipe for Training Neural Networks, 2019: verify loss at init",
    why="A loss far above ln V tells that the model is sure of nonsense, and the first steps go into unlearning "
    "that. nn.Embedding draws rows that are fine for a lookup and far too large for a projection.",
    example="""
        import numpy as np
        rng, V, D = np.random.default_rng(0), 1000, 256
        h, E = rng.standard_normal((50, D)), rng.standard_normal((V, D))
        def loss(z):  # the mean over all targets
            return round((np.log(np.exp(z).sum(1)) - z.mean(1)).mean())
        print(round(np.log(V)))  # -> 7
        print(loss(h @ (0.02 * E).T))  # -> 7
        # broken: the numbers of the table are too large
        print(loss(h @ E.T))  # -> 51
    """,
)
def loss(case: Case) -> Finding:
    if case.initial is None:
        return skipped(case.why("initial", "the model was handed in, so that nobody says it is at its initialization"))
    finite: Array = np.asarray(np.isfinite(case.initial).all(0))
    legal = case.initial[:, : case.declared.vocabulary][:, finite[: case.declared.vocabulary]]
    if legal.shape[1] < 2:
        return skipped("the logits are not finite")
    # Over targets drawn uniformly the expected loss is exact: log sum exp less the mean logit. No target is a padded row.
    seen = float((log_sum_exp(case.initial[:, finite])[:, 0] - legal.mean(1)).mean())
    uniform = float(np.log(legal.shape[1]))
    if abs(seen - uniform) <= tolerances.uniform_guess(legal.shape[1]):
        return passed(f"{seen:.3f} nats, a uniform guess over {legal.shape[1]} tokens has {uniform:.3f}")
    return failed(
        "bad-initialization",
        f"the loss before any training is {seen:.3g} nats, a uniform guess over {legal.shape[1]} tokens has {uniform:.3g}",
        expected=uniform,
        seen=seen,
    )
