"""Direct means of seeing whether a table is tied: writing rows, differences, least squares."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [0, 7, 3, 10, 8, 3, 2, 1]])
SEEN = tuple(range(11))
UNSEEN = 13
Table = Callable[[nn.Module], Any]


def logits_of(output: Any) -> Tensor:
    """The logits, wherever a model puts them."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, (tuple, list)):
        return output[0]
    if isinstance(output, dict):
        return output["logits"]
    return output.logits


def logits(model: nn.Module, ids: Tensor = IDS) -> Tensor:
    """One pass without gradients."""
    with torch.no_grad():
        return logits_of(model(ids)).clone()


def parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters as torch lists them, whatever the class overrides."""
    return [p for _, p in nn.Module.named_parameters(model)]


def write(rows: Any, row: int, seed: int = 5, size: float = 0.5) -> None:
    """Put a random vector into one row."""
    with torch.no_grad():
        target = rows[row]
        target.copy_(torch.randn(target.shape, generator=torch.Generator().manual_seed(seed)) * size)


def change(model: nn.Module, rows: Any, row: int = UNSEEN) -> tuple[float, float]:
    """How far the logit of a row that is rewritten moves, and how far all the other logits do."""
    before = logits(model)
    write(rows, row)
    moved = (logits(model) - before).abs()
    own = moved[..., row].max().item()
    moved[..., row] = 0
    return own, moved.max().item()


def deaf(table: Table, row: int = UNSEEN) -> Callable[[nn.Module], bool]:
    """Writing a row that no lookup reads leaves its logit where it was."""

    def show(model: nn.Module) -> bool:
        model.eval()
        logits(model)
        return change(model, table(model), row)[0] == 0.0

    return show


def weigh(model: nn.Module, direction: Tensor, backward: bool = False) -> float:
    """The scalar <direction, logits>, with its backward pass where asked."""
    if backward:
        value = (logits_of(model(IDS)) * direction).sum()
        value.backward()
        return value.item()
    return (logits(model) * direction).sum().item()


def gap(model: nn.Module, table: Table, rows: Iterable[int], step: float = 1e-5, double: bool = True) -> float:
    """Relative distance between the model's own gradient and central differences, moving the given rows."""
    if double:
        model = model.double()
    model.eval()
    shape = logits(model).shape
    generator = torch.Generator().manual_seed(17)
    dtype = torch.float64 if double else torch.float32
    direction = torch.randn(shape, generator=generator, dtype=dtype)
    params = parameters(model)
    for p in params:
        p.grad = None
    weigh(model, direction, backward=True)
    grads = [None if p.grad is None else p.grad.detach().to_dense().clone() for p in params]
    before = [p.detach().clone() for p in params]
    worst, size = 0.0, 1e-12
    for _ in range(3):
        values, moved = [], 0.0
        bumps = {r: torch.randn(table(model)[r].shape, generator=generator, dtype=dtype) * step for r in rows}
        for sign in (1.0, -1.0):
            with torch.no_grad():
                view = table(model)
                for r, bump in bumps.items():
                    view[r].add_(bump, alpha=sign)
                if sign > 0:
                    moved = sum(
                        ((p - b) * g).sum().item()
                        for p, b, g in zip(params, before, grads, strict=True)
                        if g is not None
                    )
            values.append(weigh(model, direction))
            with torch.no_grad():
                for p, b in zip(params, before, strict=True):
                    p.copy_(b)
        numeric = (values[0] - values[1]) / 2
        worst, size = max(worst, abs(numeric - moved)), max(size, abs(numeric), abs(moved))
    return worst / size


def off(table: Table, rows: Iterable[int], least: float = 1e-2) -> Callable[[nn.Module], bool]:
    """The gradient in the given rows is not the derivative."""
    return lambda model: gap(model, table, rows) > least


def residual(scores: Tensor, table: Tensor) -> float:
    """What of the logits no hidden state explains: the part outside the column space of the table."""
    scores, table = scores.detach().double().flatten(0, 1), table.detach().double()
    rest = scores - scores @ table @ torch.linalg.pinv(table.T @ table) @ table.T
    return (rest.norm() / scores.norm()).item()


def unexplained(table: Callable[[nn.Module], Tensor], least: float = 1e-2) -> Callable[[nn.Module], bool]:
    """The logits are not h E^T for any h."""
    return lambda model: residual(logits(model.eval()), table(model)) > least
