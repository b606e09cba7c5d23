"""`stages`: a line a stage, and the stage that lost the tie by its name."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from test_assert_tied import Functional, Model, load_with_assign, sgd
from tiecheck.conformance import TieLost, stages
from torch import nn


def test_a_line_a_stage_and_the_one_that_lost_it(capsys: pytest.CaptureFixture[str]) -> None:
    at, model = stages(), Model()
    at("built", model)
    at("compiled", torch.compile(model, backend="eager"))
    load_with_assign(model)
    with pytest.raises(TieLost) as caught:
        at("loaded", model)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "built      tied: embed.weight = head.weight (40 x 12, float32)"
    assert lines[1] == "compiled   tied: _orig_mod.embed.weight = _orig_mod.head.weight (40 x 12, float32)"
    assert lines[2].startswith("loaded     LOST: the lookup reads embed.weight, the projection reads head.weight")
    assert "model.head.weight = model.embed.weight" in lines[2] and len(lines) == 3
    assert str(caught.value).startswith("the stage 'loaded' lost the tie, which 'compiled' had: the lookup reads")


def test_untied_when_built(capsys: pytest.CaptureFixture[str]) -> None:
    at = stages()
    with pytest.raises(TieLost, match=r"^the model is untied at its first stage, 'built': "):
        at("built", Model(tied=False))
    assert capsys.readouterr().out.startswith("built      UNTIED: ")


def test_without_values_yet(capsys: pytest.CaptureFixture[str]) -> None:
    at = stages()
    with torch.device("meta"):
        model = Model()
    at("on meta", model)
    assert "on meta: by name, no values yet" in capsys.readouterr().out
    model.to_empty(device="cpu")
    with pytest.raises(TieLost, match="'to_empty' lost the tie, which 'on meta' had"):
        at("to_empty", model)


def test_the_optimizer_is_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    at, model = stages(), Model(tied=False)
    optimizer = sgd(model)
    model.tie()
    at("tied", model)
    with pytest.raises(TieLost, match=r"'optimizer' lost the tie, which 'tied' had: .*before the tie"):
        at("optimizer", model, optimizer)
    at("again", model, sgd(model))


def test_a_stage_that_cannot_be_judged_says_so_and_the_pipeline_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    class Refusing(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("not here")

    at, model = stages(), Model()
    at("outside", Refusing(model))
    at("built", model)
    at("wrapped", Refusing(model))
    with pytest.raises(
        TieLost, match=r"'end' lost the tie, which 'built' had \('wrapped' in between could not be judged"
    ):
        at("end", Model(tied=False))
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("wrapped    not judged: the model does not run on the ids (RuntimeError: not here)")


def test_loaders(capsys: pytest.CaptureFixture[str]) -> None:
    at, model = stages(), Functional()
    at("built", model)
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    at("saved", torch.load(stream, weights_only=False))
    at("copied", copy.deepcopy(model))
    fresh = Functional()
    fresh.load_state_dict(model.state_dict(), assign=True)
    at("loaded", fresh)
    assert capsys.readouterr().out.count("tied: embed.weight (40 x 12, float32)") == 4


def test_names_are_printed_and_steer_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    stages()("a\x1b[2Jb\nc", Model())
    assert capsys.readouterr().out.startswith(r"a\x1b[2Jb\nc tied: ")
