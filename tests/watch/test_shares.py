"""The shares of the gradient: beside a computation with two tables, for each way to read one, and what cannot be had."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiecheck.conformance import NotJudged, watch
from torch import Tensor, nn
from zoo import ENTRIES

from .training import TOKENS, Functional, Model, gpt2, sgd, step

COLUMNS = ["step", "loss", "lookup", "projection", "total", "cosine"]


def rows(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        found = list(reader)
    assert reader.fieldnames == COLUMNS
    return found


def by_hand(model: Model, ids: Tensor) -> list[float]:
    """Loss, norm of each share and of the sum, cosine: with a table of its own for each use."""
    one, other = (model.embed.weight.detach().double().requires_grad_() for _ in range(2))
    W, b = (p.detach().double() for p in (model.body.weight, model.body.bias))
    h = torch.tanh(F.embedding(ids, one).cumsum(1) @ W.T + b)
    loss = F.cross_entropy((h @ other.T)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    a, p = torch.autograd.grad(loss, [one, other])
    return [float(x) for x in (loss.detach(), a.norm(), p.norm(), (a + p).norm(), (a * p).sum() / a.norm() / p.norm())]


@pytest.mark.parametrize("kind", [Model, Functional])
def test_beside_two_tables(kind: type[Model], tmp_path: Path) -> None:
    model = kind().eval()
    optimizer, path = sgd(model), tmp_path / "shares.csv"
    expected = []
    with watch(model, optimizer, shares=path):
        for _ in range(3):
            ids = torch.randint(0, TOKENS, (2, 6))
            step(model, optimizer, ids)
            expected.append(by_hand(model, ids))
    found = rows(path)
    assert [row["step"] for row in found] == ["1", "2", "3"]
    for row, numbers in zip(found, expected, strict=True):
        assert [float(row[name]) for name in COLUMNS[1:]] == pytest.approx(numbers, rel=1e-4, abs=1e-6)


def test_the_shares_make_up_the_sum_and_the_default_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = Model()
    optimizer = sgd(model)
    with watch(model, optimizer, every=2, shares=True):
        for _ in range(5):
            step(model, optimizer)
    found = rows(tmp_path / "tie-shares.csv")
    assert [row["step"] for row in found] == ["2", "4"]
    for row in found:
        a, b, total, cosine = (float(row[name]) for name in ("lookup", "projection", "total", "cosine"))
        assert math.sqrt(a * a + b * b + 2 * a * b * cosine) == pytest.approx(total, rel=1e-6)


def test_the_model_s_own_loss_of_the_very_call(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    model = gpt2().eval()
    optimizer, path = torch.optim.SGD(model.parameters(), lr=0.0), tmp_path / "shares.csv"
    ids = torch.randint(0, TOKENS, (2, 6))
    labels, mask = torch.full_like(ids, 3), torch.ones_like(ids)
    with watch(model, optimizer, shares=path):
        loss = model(input_ids=ids, labels=labels, attention_mask=mask).loss
        loss.backward()
        with torch.no_grad():
            model(input_ids=ids.flip(0))  # an evaluation in between is none of the training's calls
        optimizer.step()
    table = model.transformer.wte.weight.grad
    (row,) = rows(path)
    assert float(row["loss"]) == pytest.approx(float(loss.detach()), rel=1e-6)
    assert float(row["total"]) == pytest.approx(float(table.norm()), rel=1e-5)


STYLES = ["lookup_one_hot", "lookup_gather", "lookup_python_loop"]


@pytest.mark.parametrize("name", STYLES)
def test_every_way_to_look_up_has_its_share(name: str, tmp_path: Path) -> None:
    model = next(e for e in ENTRIES if e.name == name).build()
    optimizer, path = sgd(model), tmp_path / "shares.csv"
    with watch(model, optimizer, shares=path):
        step(model, optimizer, torch.randint(0, 6, (2, 6)))
    (row,) = rows(path)
    assert float(row["lookup"]) > 0 and float(row["projection"]) > 0


def test_a_use_without_a_gradient_has_no_share(tmp_path: Path) -> None:
    class Detached(Model):
        def forward(self, ids: Tensor) -> Tensor:
            rows = F.embedding(ids, self.embed.weight.detach())
            return self.head(torch.tanh(self.body(rows.cumsum(1))))

    model = Detached()
    optimizer, path = sgd(model), tmp_path / "shares.csv"
    with watch(model, optimizer, shares=path):
        step(model, optimizer)
    (row,) = rows(path)
    assert float(row["lookup"]) == 0 and row["cosine"] == "0" and row["projection"] == row["total"] != "0"


class Checkpointed(Model):
    def forward(self, ids: Tensor) -> Tensor:
        from torch.utils.checkpoint import checkpoint

        result: Tensor = checkpoint(lambda h: self.head(h), self.hidden(ids), use_reentrant=True)
        return result


class Sunk(Model):
    """The training calls a part of it."""

    def __call__(self, ids: Tensor) -> Tensor:
        return self.forward(ids) if self.direct else super().__call__(ids)

    direct = False


@pytest.mark.parametrize(("kind", "why"), [(Checkpointed, "use_reentrant"), (Sunk, "another part of it")])
def test_what_cannot_be_had_is_no_number(
    kind: type[Any], why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = kind()
    optimizer, path = sgd(model), tmp_path / "shares.csv"
    with watch(model, optimizer, shares=path):
        model.direct = True
        for _ in range(2):
            step(model, optimizer)
    assert [list(row.values())[1:] for row in rows(path)] == [["n/a"] * 5] * 2
    (said,) = caplog.messages
    assert "at step 1 the shares of the gradient cannot be had" in said and why in said


def test_a_training_that_goes_on_goes_on_in_its_file(tmp_path: Path) -> None:
    model = Model()
    optimizer, path = sgd(model), tmp_path / "shares.csv"
    for start in (0, 2):
        with watch(model, optimizer, shares=path, start=start):
            for _ in range(2):
                step(model, optimizer)
    assert [row["step"] for row in rows(path)] == ["1", "2", "3", "4"]
    assert not model._forward_pre_hooks


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    model = Model()
    with (
        pytest.raises(NotJudged, match="cannot be written"),
        watch(model, sgd(model), shares=tmp_path / "no" / "x.csv"),
    ):
        pass
    assert not model._forward_pre_hooks


def test_several_parameters_behind_the_table(tmp_path: Path) -> None:
    class Low(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.randn(TOKENS, 4)), nn.Parameter(torch.randn(4, 12))
            self.body = nn.Linear(12, 12)

        def forward(self, ids: Tensor) -> Tensor:
            E = self.a @ self.b
            return torch.tanh(self.body(E[ids].cumsum(1))) @ E.T

    model = Low()
    optimizer, path = torch.optim.SGD(model.parameters(), lr=0.0), tmp_path / "shares.csv"
    with watch(model, optimizer, shares=path):
        step(model, optimizer)
    (row,) = rows(path)
    assert model.a.grad is not None and model.b.grad is not None
    both = math.hypot(float(model.a.grad.norm()), float(model.b.grad.norm()))
    assert float(row["total"]) == pytest.approx(both, rel=1e-5)
    assert float(row["lookup"]) > 0 and float(row["projection"]) > 0
