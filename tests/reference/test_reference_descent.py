"""Training by hand agrees with torch's SGD on the reference network, and with the meaning of its loss."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiecheck.reference import GPT, GPTConfig, cross_entropy, descend, load_weights, random_weights, weights_of

CONFIG = GPTConfig(vocabulary=13, context=6, width=8, layers=2, heads=2)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("pre_norm", [True, False])
def test_three_steps_end_where_torchs_do(tied: bool, pre_norm: bool) -> None:
    config = dataclasses.replace(CONFIG, tied=tied, pre_norm=pre_norm)
    rng = np.random.default_rng(0)
    weights = random_weights(config, rng)
    ids, targets = (rng.integers(0, 13, (2, 5)) for _ in range(2))
    model = GPT(config).double()
    load_weights(model, weights)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        logits = model(torch.from_numpy(ids)).flatten(0, 1)
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(targets).flatten()).backward()
        optimizer.step()
    by_hand, by_torch = descend(config, weights, ids, targets, rate=0.01), weights_of(model)
    assert by_hand.keys() == by_torch.keys()
    for name, array in by_hand.items():
        assert np.abs(array - by_torch[name]).max() < 1e-9, name
    assert np.array_equal(by_hand["E_in"], by_hand["E_out"]) == tied


def test_the_loss_of_equal_logits_is_that_of_a_guess() -> None:
    loss, R = cross_entropy(np.zeros((2, 3, 13)), np.ones((2, 3), dtype=int))
    assert loss == pytest.approx(np.log(13))
    assert R.sum() == pytest.approx(0) and R[0, 0, 1] == pytest.approx((1 / 13 - 1) / 6)


def test_a_tied_model_is_not_given_two_tables() -> None:
    weights = random_weights(dataclasses.replace(CONFIG, tied=False), np.random.default_rng(1))
    ids = np.zeros((1, 2), dtype=int)
    with pytest.raises(ValueError, match="differ"):
        descend(CONFIG, weights, ids, ids, rate=0.1)
