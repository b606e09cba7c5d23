"""The model handed in comes back as it was, bit for bit, whatever happens while it is judged."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiecheck.conformance import Declaration, NotJudged, check, gather
from torch import nn
from zoo import ENTRIES


def state(model: nn.Module) -> dict[str, Any]:
    """Everything that must not change."""
    tensors = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    return {
        "bits": {
            n: t.detach().clone().cpu().contiguous().view(torch.uint8) if t.dim() else t.item()
            for n, t in tensors.items()
        },
        "objects": {n: (id(t), t.data_ptr(), t.dtype, t.requires_grad) for n, t in tensors.items()},
        "grads": {n: None if t.grad is None else (id(t.grad), t.grad.clone()) for n, t in tensors.items() if t.is_leaf},
        "modes": [m.training for m in model.modules()],
        "hooks": [
            [len(v) for k, v in m.__dict__.items() if k.endswith("hooks") and v is not None] for m in model.modules()
        ],
        "attributes": [sorted(m.__dict__) for m in model.modules()],
        "random": (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()),
        "dtype": torch.get_default_dtype(),
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def unchanged(model: nn.Module, work: Callable[[], Any]) -> None:
    before = state(model)
    work()
    after = state(model)
    for key in before:
        assert same(before[key], after[key]), key


@pytest.mark.parametrize("profile", ["quick", "standard"])
@pytest.mark.parametrize("entry", ENTRIES[::5], ids=lambda e: e.name)
def test_after_a_run(entry: Any, profile: str) -> None:
    model = entry.build()
    next(iter(model.children()), model).train(False)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    unchanged(model, lambda: check(model, Declaration(**entry.declared), profile=profile))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_after_an_exception(error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    model = next(e for e in ENTRIES if e.name == "gru_assigned").build()

    def stop(*args: Any, **kwargs: Any) -> Any:
        raise error("stopped")

    def work() -> None:
        # What is raised by code that is not ours is said in a sentence.
        with pytest.raises((error, NotJudged)):
            check(model)

    monkeypatch.setattr(gather, "loss_evidence", stop)
    monkeypatch.setattr(gather, "responds", stop)
    unchanged(model, work)


def test_a_compiled_model_stays_compiled() -> None:
    torch._dynamo.reset()  # other tests may have used up the recompilations of the same code
    runs = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            runs.append(1)
            return graph.forward(*arguments)

        return run

    model = next(e for e in ENTRIES if e.name == "conv_kernel_one").build().eval()
    compiled = torch.compile(model, backend=backend)
    ids = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8], [4, 5, 6, 7, 8, 9, 1, 2]])
    with torch.no_grad():
        compiled(ids)
        assert runs
        assert check(compiled, profile="quick").conforms
        runs.clear()
        compiled(ids)
        assert runs


def test_a_move_to_another_dtype_is_undone() -> None:
    model = next(e for e in ENTRIES if e.name == "gru_assigned").build()
    unchanged(model, lambda: check(model, dtype="float64", profile="quick"))


def test_a_model_on_meta_is_not_judged() -> None:
    with torch.device("meta"):
        model = next(e for e in ENTRIES if e.name == "lean_plain").build()
    with pytest.raises(NotJudged, match="meta"):
        check(model)
