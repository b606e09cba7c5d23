"""Sequences of operations over transformers' architectures: what keeps its tie alone keeps it in a row."""

from __future__ import annotations

import pytest
from alone_operations import LOSES
from tiecheck.conformance import check

TYPES = (
    "gpt2",
    "openai-gpt",
    "llama",
    "gemma2",
    "qwen2",
    "gpt_neo",
    "opt",
    "bloom",
    "phi3",
    "mistral",
    "olmo2",
    "t5gemma",
)


@pytest.mark.slow
@pytest.mark.operations
@pytest.mark.parametrize("name", TYPES)
def test_a_type_keeps_its_tie_in_a_row(name: str) -> None:
    report = check(f"hf:{name}", "tied", profile="full", select="persistence", deselect=LOSES)
    result = next(r for r in report.results if r.id == "persistence.sequence")
    assert result.verdict == "pass", result.message
