"""Four implementations of one function: torch, NumPy with gradients by hand, and Hugging Face's GPT-2 and GPT."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_networks import CORNERS, PLAIN, Case, assert_gradients_agree, assert_logits_agree, cases
from hypothesis import given, settings
from tiecheck.reference import GPT, GPTConfig, forward, gradients, load_weights
from transformers import GPT2Config, GPT2LMHeadModel, OpenAIGPTConfig, OpenAIGPTLMHeadModel

quick = settings(deadline=None, max_examples=150)


def by_torch(case: Case) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Logits and gradients by autograd, the gradients named as the oracle names them; a tied table's is `E`."""
    weights, ids, R = case.draw()
    model = GPT(case.config).double()
    load_weights(model, weights)
    logits = model(torch.from_numpy(ids))
    logits.backward(torch.from_numpy(R))
    names = {"E.weight": "E" if case.config.tied else "E_in", "head.weight": "E_out"}
    grads = {names.get(name, name): p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}
    return logits.detach().numpy(), grads


def by_hand(case: Case) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The same from the oracle, its two shares of a tied table's gradient added up."""
    weights, ids, R = case.draw()
    grads = gradients(case.config, weights, ids, R)
    if case.config.tied:
        grads["E"] = grads.pop("E_in") + grads.pop("E_out")
    return forward(case.config, weights, ids).logits, grads


def check_by_hand(case: Case) -> None:
    (logits, grads), (logits_by_hand, grads_by_hand) = by_torch(case), by_hand(case)
    assert logits.shape == (case.batch, case.positions, case.config.vocabulary)
    assert_logits_agree(logits, logits_by_hand)
    assert_gradients_agree(grads, grads_by_hand)


@quick
@given(cases())
def test_torch_agrees_with_the_gradients_by_hand(case: Case) -> None:
    check_by_hand(case)


@pytest.mark.parametrize("case", CORNERS, ids=str)
def test_torch_agrees_with_the_gradients_by_hand_in_the_corners(case: Case) -> None:
    check_by_hand(case)


def hugging_face(config: GPTConfig) -> GPT2LMHeadModel | OpenAIGPTLMHeadModel:
    sizes = {
        "vocab_size": config.vocabulary,
        "n_positions": config.context,
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "tie_word_embeddings": config.tied,
        "attn_implementation": "eager",
    }
    if config.pre_norm:
        return GPT2LMHeadModel(GPT2Config(**sizes, n_inner=config.inner)).double().eval()
    return OpenAIGPTLMHeadModel(OpenAIGPTConfig(**sizes)).double().eval()


def name_at_hugging_face(name: str, config: GPTConfig) -> str:
    """The oracle's name of a weight, as GPT2LMHeadModel (pre-norm) or OpenAIGPTLMHeadModel (post-norm) calls it."""
    if name == "E_out":
        return "lm_head.weight"
    table, positions = ("wte", "wpe") if config.pre_norm else ("tokens_embed", "positions_embed")
    for ours, theirs in {
        "E_in": f"{table}.weight",
        "P": f"{positions}.weight",
        "blocks.": "h.",
        "attention.qkv": "attn.c_attn",
        "attention.out": "attn.c_proj",
        "mlp.up": "mlp.c_fc",
        "mlp.down": "mlp.c_proj",
        "norm_1": "ln_1",
        "norm_2": "ln_2",
        "norm.": "ln_f.",
    }.items():
        name = name.replace(ours, theirs)
    return f"transformer.{name}"


def to_hugging_face(name: str, array: np.ndarray) -> np.ndarray:
    """Their Conv1D keeps a matrix as (in, out), ours is (out, in)."""
    return array.T if array.ndim == 2 and name.startswith("blocks.") else array


def check_hugging_face(case: Case) -> None:
    config, (weights, ids, R) = case.config, case.draw()
    model = hugging_face(config)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    assert (parameters["lm_head.weight"] is model.get_input_embeddings().weight) == config.tied
    names = {name: name_at_hugging_face(name, config) for name in weights}
    assert set(names.values()) == parameters.keys()
    with torch.no_grad():
        for name, array in weights.items():
            parameters[names[name]].copy_(torch.from_numpy(to_hugging_face(name, array)))

    theirs = model(torch.from_numpy(ids)).logits
    theirs.backward(torch.from_numpy(R))
    ours, grads = by_torch(case)
    assert_logits_agree(ours, theirs.detach().numpy())
    names["E"] = names["E_in"]
    found = {names[name]: to_hugging_face(name, grad) for name, grad in grads.items()}
    assert_gradients_agree(found, {n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None})


@quick
@given(cases().filter(lambda case: case.config.pre_norm))
def test_torch_agrees_with_gpt2(case: Case) -> None:
    check_hugging_face(case)


@quick
@given(cases(inner=False).filter(lambda case: not case.config.pre_norm))
def test_torch_agrees_with_openai_gpt(case: Case) -> None:
    check_hugging_face(case)


@pytest.mark.parametrize("case", CORNERS, ids=str)
def test_torch_agrees_with_hugging_face_in_the_corners(case: Case) -> None:
    check_hugging_face(case)


@quick
@given(cases())
def test_the_shares_are_the_gradients_of_two_tables(case: Case) -> None:
    """The oracle's two shares against autograd on E_in and E_out held apart, at a tied model's weights."""
    apart = replace(case, config=replace(case.config, tied=False))
    weights, ids, R = replace(case, config=replace(case.config, tied=True)).draw()
    model = GPT(apart.config).double()
    load_weights(model, weights)
    model(torch.from_numpy(ids)).backward(torch.from_numpy(R))
    assert model.head is not None and model.head.weight.grad is not None and model.E.weight.grad is not None
    found = gradients(case.config, weights, ids, R)
    tables = {"E_in": model.E.weight.grad.numpy(), "E_out": model.head.weight.grad.numpy()}
    assert_gradients_agree({name: found[name] for name in tables}, tables)


def test_a_row_that_does_not_occur_learns_from_the_output_alone() -> None:
    weights, _, R = Case(PLAIN, batch=2, positions=5, seed=0).draw()
    ids = np.array([[0, 1, 0, 1, 3], [3, 3, 3, 0, 0]])
    run = forward(PLAIN, weights, ids)
    shares = run.backward(R)
    occurs = np.isin(np.arange(PLAIN.vocabulary), ids)
    assert (np.abs(shares["E_in"]).max(1) > 0).tolist() == occurs.tolist()
    assert (np.abs(shares["E_out"]) > 0).all()
    np.testing.assert_allclose(shares["E_out"], R.reshape(-1, 7).T @ run.h.reshape(-1, 6), rtol=1e-12)


@quick
@given(cases())
def test_a_later_token_changes_nothing_before_it(case: Case) -> None:
    weights, ids, _ = case.draw()
    other = ids.copy()
    other[:, -1] = (ids[:, -1] + 1) % case.config.vocabulary
    before, after = (forward(case.config, weights, drawn).h for drawn in (ids, other))
    np.testing.assert_allclose(before[:, :-1], after[:, :-1], rtol=1e-12, atol=1e-12)
