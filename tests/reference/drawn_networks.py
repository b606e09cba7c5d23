"""Networks drawn by hypothesis, and the two tolerances by which two implementations of one are said to agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st
from tiecheck.reference import GPTConfig, random_weights


@dataclass(frozen=True)
class Case:
    """One network with everything that is asked of it: weights, ids (B, T), and the cotangent R (B, T, V)."""

    config: GPTConfig
    batch: int
    positions: int
    seed: int

    def draw(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        rng = np.random.default_rng(self.seed)
        V = self.config.vocabulary
        weights = random_weights(self.config, rng)
        ids = rng.integers(0, V, (self.batch, self.positions))
        return weights, ids, rng.standard_normal((self.batch, self.positions, V))


@st.composite
def configs(draw: st.DrawFn, inner: bool = True) -> GPTConfig:
    D = draw(st.integers(1, 12))
    return GPTConfig(
        vocabulary=draw(st.one_of(st.integers(1, 17), st.just(D))),
        context=draw(st.integers(1, 9)),
        width=D,
        layers=draw(st.integers(0, 3)),
        heads=draw(st.sampled_from([n for n in range(1, D + 1) if D % n == 0])),
        pre_norm=draw(st.booleans()),
        inner=draw(st.one_of(st.none(), st.integers(1, 17))) if inner else None,
        tied=draw(st.booleans()),
    )


@st.composite
def cases(draw: st.DrawFn, inner: bool = True) -> Case:
    config = draw(configs(inner))
    return Case(config, draw(st.integers(1, 3)), draw(st.integers(1, config.context)), draw(st.integers(0, 2**32 - 1)))


PLAIN = GPTConfig(vocabulary=7, context=5, width=6, layers=2, heads=3)
CORNERS = [
    Case(replace(config, tied=tied, pre_norm=pre_norm), batch=2, positions=config.context, seed=0)
    for config in (
        PLAIN,
        replace(PLAIN, vocabulary=6),  # V = D: a table that is transposed by mistake still fits
        replace(PLAIN, vocabulary=5),  # V < D, and V = T
        replace(PLAIN, vocabulary=1),
        replace(PLAIN, context=1),
        replace(PLAIN, width=1, heads=1),
        replace(PLAIN, layers=0),
        GPTConfig(vocabulary=1, context=1, width=1, layers=0, heads=1),
    )
    for tied in (True, False)
    for pre_norm in (True, False)
]
"""The corners that hypothesis may not draw in every run."""


def assert_logits_agree(found: np.ndarray, expected: np.ndarray) -> None:
    """Every logit to 1e-9 of itself; one that cancels almost to zero, to 1e-12 of the largest."""
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())


def assert_gradients_agree(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    """Every entry to 1e-9 of the largest entry of the model's whole gradient."""
    assert found.keys() == expected.keys()
    largest = max(np.abs(array).max() for array in expected.values())
    assert largest > 0
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-9 * largest, err_msg=name)
