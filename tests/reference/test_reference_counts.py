"""The closed form against models that are really built, without memory, on the meta device."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from drawn_networks import configs
from hypothesis import given, settings
from tiecheck.reference import GPT, PRESETS, GPTConfig, parameter_count, parameter_terms, weight_shapes

KNOWN = {  # what the released checkpoints hold
    "gpt": 116_534_784,
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
}
UNTIED_GPT2 = 163_037_184  # what minGPT builds under that name


def built(config: GPTConfig) -> int:
    with torch.device("meta"):
        model = GPT(config)
    assert all(parameter.is_meta for parameter in model.parameters())
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def test_the_presets_are_the_five_released_sizes_and_tied() -> None:
    assert PRESETS.keys() == KNOWN.keys()
    assert all(config.tied for config in PRESETS.values())
    assert [name for name, config in PRESETS.items() if not config.pre_norm] == ["gpt"]
    assert all(config.width == 64 * config.heads for config in PRESETS.values())  # the count does not see the heads


@pytest.mark.parametrize("name", KNOWN)
def test_the_released_counts_come_out_tied(name: str) -> None:
    config = PRESETS[name]
    assert parameter_count(config) == built(config) == KNOWN[name]


@pytest.mark.parametrize("name", KNOWN)
def test_untied_costs_one_more_table(name: str) -> None:
    config = replace(PRESETS[name], tied=False)
    assert parameter_count(config) == built(config) == KNOWN[name] + config.vocabulary * config.width


def test_untied_gpt2_is_what_mingpt_builds() -> None:
    assert parameter_count(replace(PRESETS["gpt2"], tied=False)) == UNTIED_GPT2


@settings(deadline=None)
@given(configs())
def test_the_formula_counts_what_is_built(config: GPTConfig) -> None:
    assert parameter_count(config) == built(config)


@given(configs())
def test_the_terms_say_where_the_tie_saves(config: GPTConfig) -> None:
    tied, untied = (parameter_terms(replace(config, tied=tied)) for tied in (True, False))
    assert tied.keys() == untied.keys()
    changed = {term: untied[term] - tied[term] for term in tied if untied[term] != tied[term]}
    assert changed == {"output table": config.vocabulary * config.width}


def test_the_terms_of_gpt2() -> None:
    assert parameter_terms(PRESETS["gpt2"]) == {
        "token table": 38_597_376,
        "position table": 786_432,
        "attention": 28_348_416,
        "mlp": 56_669_184,
        "norms": 36_864,
        "final norm": 1_536,
        "output table": 0,
    }


@given(configs())
def test_the_oracle_always_has_two_tables(config: GPTConfig) -> None:
    sizes = [torch.Size(shape).numel() for shape in weight_shapes(config).values()]
    assert sum(sizes) == parameter_count(replace(config, tied=False))
