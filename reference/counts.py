"""How many numbers a GPT trains, by formula: nothing is built, so the count of the largest model costs nothing.

The count is evidence. A published total can be taken apart into the terms below, and for GPT and GPT-2 it comes out
only if the V x D table is counted once: the released models are tied. An implementation that reports V D more, as
minGPT does, has a second table for the output, whatever the paper says that it follows.
"""

from __future__ import annotations

from .config import GPTConfig


def parameter_terms(config: GPTConfig) -> dict[str, int]:
    """The trainable scalars of the whole network by what they are for; the keys are the same for every `config`.

    V, D, T, F are vocabulary, width, context and inner width. Only the last term knows about tying.
    """
    V, D, T, L, F = config.vocabulary, config.width, config.context, config.layers, config.inner_width
    return {
        "token table": V * D,
        "position table": T * D,
        "attention": L * (4 * D * D + 4 * D),  # query, key, value and output: a D x D matrix and a bias each
        "mlp": L * (2 * D * F + F + D),  # up and down, with their biases
        "norms": L * 4 * D,  # two per block, a gain and a bias each
        "final norm": 2 * D if config.pre_norm else 0,
        "output table": 0 if config.tied else V * D,  # tied, the output reads the token table and adds nothing
    }


def parameter_count(config: GPTConfig) -> int:
    """The number of trainable scalars: the sum of `parameter_terms`. Tying saves exactly V D."""
    return sum(parameter_terms(config).values())
