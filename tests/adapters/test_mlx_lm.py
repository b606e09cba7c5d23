"""Tiny models of MLX-LM: every module is built or says what it misses, and none is called what it cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from tiecheck.conformance.errors import NotJudged

pytest.importorskip("mlx_lm")
tiny: Any = pytest.importorskip("tiecheck.adapters.examples.mlx_lm_tiny")

UNBUILT = {
    "olmo": "cannot be imported",
    "prism_hadamard_qwen35": "Hadamard",
    "recurrent_gemma": "_no_grad",
    "phi3small": "100256",
}


@pytest.mark.parametrize("name", tiny.every())
def test_built_or_said_why(name: str) -> None:
    try:
        built = tiny.tiny(name, None, 0)
    except NotJudged as error:
        assert UNBUILT[name] in str(error)
    else:
        assert name not in UNBUILT
        assert built.flag


@pytest.mark.parametrize(("name", "tied", "said"), [("gemma", False, "always ties"), ("phi", True, "never ties")])
def test_a_module_without_a_flag_is_not_called_the_other(name: str, tied: bool, said: str) -> None:
    with pytest.raises(NotJudged, match=said):
        tiny.tiny(name, tied, 0)
    assert tiny.tiny(name, not tied, 0).declaration.tied is not tied


def test_no_declared_scale_is_neutral() -> None:
    for name in tiny.SCALES:
        if name in UNBUILT:
            continue
        found = [tiny.tiny(name, tied, 0) for tied in (True, False) if _can(name, tied)]
        assert any((b.declaration.input_scale, b.declaration.output_scale) != (1.0, 1.0) for b in found) or all(
            b.declaration.logit_softcap or b.declaration.output_bias for b in found
        )


def _can(name: str, tied: bool) -> bool:
    return tied is not (name in tiny.NEVER) if name in (*tiny.ALWAYS, *tiny.NEVER) else True


def test_a_name_that_is_none() -> None:
    with pytest.raises(LookupError, match="no model"):
        tiny.tiny("nothing", None, 0)
