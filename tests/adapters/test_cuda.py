"""Verdicts on a CUDA device. Without one each test is skipped, with the reason."""

from __future__ import annotations

import pytest
import torch
from tiecheck.conformance import check

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here"),
]


@pytest.mark.parametrize("declare", ["tied", "untied"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_reference_conforms_on_cuda(declare: str, dtype: str) -> None:
    report = check("reference", declare, device="cuda", dtype=dtype)
    assert report.conforms, report.diagnosis
    assert report.environment["device"].startswith("cuda")


@pytest.mark.parametrize(
    ("name", "cause"),
    [("two-matrices", "two-matrices"), ("stale-cache", "stale-copy"), ("assigned-data", "two-parameters-one-memory")],
)
def test_broken_models_are_caught_on_cuda(name: str, cause: str) -> None:
    report = check(f"demo:{name}", device="cuda")
    assert not report.conforms and report.diagnosis[0].cause == cause


def test_the_model_comes_back_to_where_it_was() -> None:
    from tiecheck.adapters.demo_models import Sound

    model = Sound()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    check(model, device="cuda", profile="quick")
    assert {p.device.type for p in model.parameters()} == {"cpu"} and model.head.weight is model.embedding.weight
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
