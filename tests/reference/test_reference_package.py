"""What the package promises beside the numbers: a lazy import, refusals in one sentence, and a tie that holds."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiecheck.reference as reference
import torch
from drawn_networks import CORNERS, PLAIN, Case, configs
from hypothesis import given, settings
from tiecheck.reference import GPT, GPTConfig, forward, gradients, load_weights, random_weights, weights_of


@pytest.mark.parametrize(
    ("use", "heavy", "stays_out"),
    [
        ("tiecheck.reference", "torch numpy", True),
        ("tiecheck.reference.parameter_count(tiecheck.reference.PRESETS['gpt2-xl'])", "torch numpy", True),
        ("tiecheck.reference.GPTConfig", "torch numpy", True),
        ("tiecheck.reference.gradients", "torch", True),
        ("tiecheck.reference.GPT", "torch", False),
    ],
)
def test_nothing_is_imported_before_it_is_used(use: str, heavy: str, stays_out: bool) -> None:
    program = f"import sys, tiecheck.reference; {use}; print([m for m in {heavy.split()} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ("[]" if stays_out else str(heavy.split()))


def test_every_public_name_is_there() -> None:
    assert set(reference.__all__) <= set(dir(reference))
    for name in reference.__all__:
        assert getattr(reference, name).__doc__ or name == "PRESETS"
    with pytest.raises(AttributeError, match="no attribute 'gpt3'"):
        reference.gpt3  # noqa: B018


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vocabulary": 0}, "GPTConfig.vocabulary must be a whole number of at least 1, not 0."),
        ({"context": 0}, "GPTConfig.context must be"),
        ({"width": -2}, "GPTConfig.width must be"),
        ({"width": 6.0}, "GPTConfig.width must be a whole number of at least 1, not 6.0."),
        ({"layers": -1}, "GPTConfig.layers must be a whole number of at least 0, not -1."),
        ({"layers": True}, "GPTConfig.layers must be"),
        ({"heads": 0}, "GPTConfig.heads must be"),
        ({"heads": 4}, "GPTConfig.heads must divide the width, but 4 does not divide 6."),
        ({"inner": 0}, "GPTConfig.inner must be"),
        ({"tied": 1}, "GPTConfig.tied must be True or False, not 1."),
        ({"pre_norm": None}, "GPTConfig.pre_norm must be True or False, not None."),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as refusal:
        replace(PLAIN, **changes)
    assert str(refusal.value).startswith(said)


def test_too_long_a_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="has 6 positions, but the context is 5"):
        GPT(PLAIN)(torch.zeros(1, 6, dtype=torch.long))
    with pytest.raises(ValueError, match="has 6 positions, but the context is 5"):
        forward(PLAIN, random_weights(PLAIN, np.random.default_rng(0)), np.zeros((1, 6), int))


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (np.array([[7]]), "0 .. 6, not in 7 .. 7"),
        (np.array([[-1, 2]]), "0 .. 6, not in -1 .. 2"),
        (np.array([1]), "shape"),
        (np.array([[1.0]]), "integers"),
    ],
)
def test_the_oracle_refuses_ids_that_name_no_row(ids: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        forward(PLAIN, random_weights(PLAIN, np.random.default_rng(0)), ids)


def test_the_oracle_refuses_weights_and_cotangents_that_do_not_fit() -> None:
    weights, ids, R = Case(PLAIN, batch=2, positions=3, seed=0).draw()
    for wrong in ({**weights, "P": weights["P"].T}, {**weights, "Q": weights["P"]}):
        with pytest.raises(ValueError, match="another shape than configured"):
            forward(PLAIN, wrong, ids)
    with pytest.raises(ValueError, match="missing"):
        forward(PLAIN, {name: array for name, array in weights.items() if name != "E_out"}, ids)
    with pytest.raises(ValueError, match=r"must have the shape \(2, 3, 7\)"):
        gradients(PLAIN, weights, ids, R[:1])


def test_load_weights_refuses_what_does_not_fit() -> None:
    weights = random_weights(PLAIN, np.random.default_rng(0))
    for wrong in ({**weights, "Q": weights["P"]}, {**weights, "P": weights["P"].T}):
        with pytest.raises(RuntimeError, match="GPT"):
            load_weights(GPT(PLAIN), wrong)


def test_a_tied_model_refuses_two_tables_that_differ() -> None:
    weights = random_weights(replace(PLAIN, tied=False), np.random.default_rng(0))
    with pytest.raises(ValueError, match="tied, but E_in and E_out differ"):
        load_weights(GPT(PLAIN), weights)


@pytest.mark.parametrize("case", CORNERS, ids=str)
def test_weights_survive_the_way_into_the_model_and_back(case: Case) -> None:
    weights, _, _ = case.draw()
    model = GPT(case.config).double()
    load_weights(model, weights)
    back = weights_of(model)
    assert back.keys() == weights.keys()
    assert all(np.array_equal(back[name], weights[name]) for name in weights)


def test_weights_are_copies() -> None:
    model = GPT(PLAIN).double()
    before = model.E.weight.detach().clone()
    weights = weights_of(model)
    weights["E_in"] += 1
    assert torch.equal(model.E.weight, before)
    assert not np.array_equal(weights["E_in"], weights["E_out"])


def through_meta(model: GPT) -> GPT:
    other = copy.deepcopy(model).to("meta").to_empty(device="cpu")
    other.load_state_dict(model.state_dict(), assign=True)
    return other


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "operation",
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), through_meta],
    ids=["deepcopy", "pickle", "meta"],
)
def test_the_tie_survives(operation: Any, tied: bool) -> None:
    """A write to E moves the logits of a token that the input does not hold, if and only if the model is tied."""
    model = operation(GPT(replace(PLAIN, tied=tied)))
    ids = torch.tensor([[0, 1, 2]])
    before = model(ids)
    with torch.no_grad():
        model.E.weight[6] += 1.0
    moved = (model(ids) != before).any(0).any(0)
    assert moved.tolist() == [False] * 6 + [tied]


@settings(deadline=None, max_examples=30)
@given(configs())
def test_tied_is_one_parameter_and_untied_two(config: GPTConfig) -> None:
    model = GPT(config)
    assert ("head.weight" in model.state_dict()) != config.tied
    parameters = [id(parameter) for parameter in model.parameters()]
    assert len(parameters) == len(set(parameters)) == len(model.state_dict())


@pytest.mark.parametrize("pre_norm", [True, False])
def test_parameters_are_drawn_as_the_papers_say(pre_norm: bool) -> None:
    torch.manual_seed(0)
    config = GPTConfig(vocabulary=301, context=64, width=64, layers=8, heads=4, pre_norm=pre_norm, tied=False)
    for name, parameter in GPT(config).named_parameters():
        if "norm" in name or name.endswith("bias"):
            assert torch.all(parameter == float(name.endswith("weight"))), name
        else:
            added = pre_norm and name.endswith(("attention.out.weight", "mlp.down.weight"))
            assert parameter.std().item() == pytest.approx(0.02 / math.sqrt(16) if added else 0.02, rel=0.1), name


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("pre_norm", [True, False])
def test_the_loss_at_initialization_is_that_of_a_guess(pre_norm: bool, tied: bool) -> None:
    torch.manual_seed(0)
    config = GPTConfig(vocabulary=1009, context=32, width=64, layers=2, heads=4, pre_norm=pre_norm, tied=tied)
    ids, targets = torch.randint(1009, (2, 4, 32))
    loss = torch.nn.functional.cross_entropy(GPT(config)(ids).flatten(0, 1), targets.flatten())
    assert abs(loss.item() - math.log(1009)) < 0.5
