"""Every tolerance is in one file: no other file of `conformance/` or its chapters writes a small number or a unit roundoff."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import tiecheck.conformance
from tiecheck.conformance import tolerances

FOLDER = Path(tiecheck.conformance.__file__).parent
FILES = sorted(p for p in FOLDER.rglob("*.py") if p.name != "tolerances.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(FOLDER)))
def test_no_tolerance_stands_elsewhere(path):
    small = [
        (node.lineno, node.value)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, float) and 0 < abs(node.value) < 0.1
    ]
    assert not small
    assert "tolerances.unit(" not in path.read_text()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("width", [1, 7, 64, 1024])
def test_the_bound_of_a_product_holds_and_is_not_vacuous(dtype, width):
    """Against torch's own product: never beyond the bound, and a wrong term of one in D is."""
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(width)
    h, table = (torch.randn(n, width, generator=generator).to(getattr(torch, dtype)) for n in (32, 128))
    seen = (h @ table.T).double().numpy()
    left, right = h.double().numpy(), table.double().numpy()
    exact, absolute = left @ right.T, np.abs(left) @ np.abs(right).T
    bound = tolerances.product(absolute, width, dtype, dtype, np.abs(exact), dtype)
    assert (np.abs(seen - exact) <= bound).all()
    lacking = exact - left[:, :1] * right[:, :1].T
    assert (np.abs(lacking - exact) > bound).any()


def test_a_probability_that_does_not_sum_to_one_is_seen():
    logits = np.random.default_rng(0).standard_normal((4, 1000))
    from tiecheck.conformance.algebra import log_sum_exp

    log_p = (logits - log_sum_exp(logits)).astype(np.float32).astype(np.float64)
    assert np.abs(log_sum_exp(log_p)).max() <= tolerances.log_probabilities(log_p, "float32")
    assert np.abs(log_sum_exp(log_p + 1e-3)).max() > tolerances.log_probabilities(log_p, "float32")


def test_steps_that_disagree_prove_nothing():
    assert tolerances.steps_disagree(np.array([1.0, 2.0]), 1.5)
    assert not tolerances.steps_disagree(np.array([1.0, 1.01]), 2.0)


def test_two_arrays_are_proportional_or_they_are_not():
    one = np.random.default_rng(1).standard_normal((5, 3))
    assert tolerances.proportional(one, 3 * one, "float32").item() == pytest.approx(3)
    assert tolerances.proportional(one, np.arange(1.0, 6)[:, None] * one, "float32", axis=1) is not None
    assert tolerances.proportional(one, one + 1e-3, "float32") is None
