"""A short training as a user writes it, and the first step of it as both sides of the table show it."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tiecheck.conformance.errors import line
from tiecheck.conformance.evidence import Array, Look, Probe, Step, Trajectory
from tiecheck.conformance.foreign import foreign
from tiecheck.conformance.tolerances import CLIP_EPSILON, EPSILON, MOVE
from tiecheck.reference import GPTConfig, descend, forward
from torch import nn

from . import graph
from .arrays import dtype_name, to_numpy
from .restore import registered
from .trace import key_of

if TYPE_CHECKING:
    from .subject import TorchSubject

DECAY = 0.1
AGREES = 1e-9  # of float64 logits: two programs of one network
Weights = dict[str, np.ndarray]
ROWS = 256


def steps(subject: TorchSubject, probe: Probe, kind: str, count: int) -> Step:
    """Train for ``count`` steps of "sgd" (momentum 0.9) or "adamw", both with weight decay and a gradient clipped to half.

    The module must belong to the run. Ids are the probe's; targets are drawn from its seed.

    Returns:
        the first step; ``refused`` where there was none (no gradient, or the optimizer refuses the parameters).
    """
    # What train mode reads is what is stepped: in eval mode an adapter may be merged into the table.
    probe = dataclasses.replace(probe, train=True)
    look = subject.look(probe)
    table = subject._table
    assert table is not None and look is not None
    if kind == "adamw" and table.dtype == torch.float16:
        return Step(kind, refused="AdamW's second moments underflow in float16; it wants master weights in float32")
    with _only_table(subject) as parameters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            optimizer = _optimizer(kind, parameters)
        except (ValueError, TypeError) as error:
            return Step(kind, refused=f"the optimizer refuses the model's parameters: {line(error)}")
        step = Step(kind, decay=DECAY, epsilon=EPSILON, dtype=dtype_name(table.dtype))
        for i in range(count):
            made = _one(subject, probe, optimizer, parameters, i)
            if isinstance(made, str):
                return dataclasses.replace(step, refused=made) if i == 0 else step
            if i == 0:
                step = _shown(subject, probe, dataclasses.replace(step, **made), _one_array(look))
        optimizer.zero_grad(set_to_none=True)
    return step


@contextlib.contextmanager
def _only_table(subject: TorchSubject) -> Iterator[list[nn.Parameter]]:
    """What the optimizer gets: ``parameters()``; of a large model the table's alone, so that no memory goes to the others."""
    parameters = list(subject.module.parameters())
    if sum(p.numel() for p in registered(subject.module)) <= 1 << 24 or subject._derived:
        yield parameters
        return
    own = {key_of(side) for side in (subject._table, subject._head) if side is not None}
    others = [p for p in parameters if key_of(p) not in own and p.requires_grad]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield [p for p in parameters if key_of(p) in own]
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


def _optimizer(kind: str, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    if kind == "sgd":
        return torch.optim.SGD(parameters, lr=0.0, momentum=0.9, weight_decay=DECAY)
    return torch.optim.AdamW(parameters, lr=0.0, weight_decay=DECAY, eps=EPSILON)


def _one(
    subject: TorchSubject, probe: Probe, optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], i: int
) -> dict[str, Any] | str:
    """One step; what it started from, or why it cannot be made."""
    table = subject._table
    assert table is not None
    optimizer.zero_grad(set_to_none=True)
    logits = subject._run(probe.ids, True)
    if not logits.requires_grad:
        return "the logits do not depend on any trainable parameter in train mode"
    rng = np.random.default_rng([probe.seed, 101, i])
    usable = torch.isfinite(logits).all(0).nonzero().ravel()
    if not usable.numel():
        return "the logits are not finite after a few steps"
    targets = usable[torch.tensor(rng.integers(0, usable.numel(), logits.shape[0]), device=usable.device)]
    subject.backward_passes += 1
    loss = nn.functional.cross_entropy(logits.float() if logits.dtype != torch.float64 else logits, targets)
    try:
        with foreign():
            loss.backward()  # type: ignore[no-untyped-call]
    except Exception as error:
        return f"the model refuses a backward pass in train mode: {line(error)}"
    # As clipping measures it, so that only what is listed twice can tell the two norms apart.
    given = {id(p): p.grad for p in parameters if p.grad is not None}
    distinct = float(torch.nn.utils.get_total_norm(list(given.values())))
    if not distinct or not np.isfinite(distinct):
        return "the gradient of the first loss is zero or not finite"
    made: dict[str, Any] = {}
    if i == 0:
        rows = _rows(probe, table.shape[0])
        leaves = [p for p in parameters if key_of(p) == key_of(table)]
        gradient = (
            None if subject._derived or not leaves else np.array(graph.total(leaves, table)[rows], dtype=np.float64)
        )
        made = {"rows": rows, "before": np.array(to_numpy(table)[rows], dtype=np.float64), "gradient": gradient}
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, distinct / 2))
    if i == 0:
        size = float(table.detach().double().norm())
        rate = (
            MOVE * size / (distinct / 2) if optimizer.defaults.get("momentum") else MOVE * size / table.numel() ** 0.5
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        made |= {"rate": rate, "norm": norm, "distinct": distinct, "clipped": distinct / 2 / (distinct + CLIP_EPSILON)}
    optimizer.step()
    return made


def _rows(probe: Probe, total: int) -> Array:
    """All rows of a small table; of a large one those that the ids read and some that they do not."""
    if total <= ROWS:
        return np.arange(total)
    rng = np.random.default_rng([probe.seed, 103])
    return np.unique(np.concatenate([probe.ids.ravel()[:ROWS], rng.integers(0, total, ROWS)]))


def _one_array(look: Look) -> bool:
    """Whether both sides read the same numbers before the step: no scale, no cast, no delta on the way."""
    return look.head is not None and np.array_equal(look.head.values, look.table.values)


def _shown(subject: TorchSubject, probe: Probe, step: Step, both: bool) -> Step:
    """The table as the next pass reads it on both sides."""
    look = subject.look(probe)
    if look is None or look.table.values.shape[0] <= int(step.rows.max(initial=0)):
        return step
    after = np.array(look.table.values[step.rows], dtype=np.float64)
    head = None
    if both and look.head is not None and look.head.values.shape == look.table.values.shape:
        head = np.array(look.head.values[step.rows], dtype=np.float64)
    return dataclasses.replace(step, after=after, head=head)


def mapped(module: nn.Module) -> tuple[GPTConfig, Weights] | None:
    """Configuration and weights of the reference network, as the oracle names them; None for any other."""
    from tiecheck.reference.gpt import GPT, weights_of

    return (module.config, weights_of(module)) if isinstance(module, GPT) else None


def trajectory(subject: TorchSubject, probe: Probe, count: int) -> Trajectory | None:
    """Train the module, which must be the run's own, in float64 and in eval mode, beside the reference by hand."""
    module = subject.module.double()
    first = subject._mapped(module)
    if first is None:
        return None
    config, before = first
    rng = np.random.default_rng([probe.seed, 107])
    targets = rng.integers(0, config.vocabulary, probe.ids.shape)
    logits = subject._run(probe.ids, False)
    same = forward(config, before, probe.ids).logits.reshape(tuple(logits.shape))
    if not np.allclose(to_numpy(logits), same, rtol=AGREES, atol=AGREES * float(np.abs(same).max())):
        return None  # the weights have the names of the reference's, the network is another
    loss = nn.functional.cross_entropy(logits, torch.tensor(targets.ravel(), device=logits.device))
    gradients = torch.autograd.grad(loss, [p for p in module.parameters() if p.requires_grad], allow_unused=True)
    largest = max(float(g.abs().max()) for g in gradients if g is not None)
    rate = MOVE * float(np.abs(before["E_in"]).max()) / largest
    optimizer = torch.optim.SGD(module.parameters(), lr=rate, momentum=0.9)
    for _ in range(count):
        optimizer.zero_grad(set_to_none=True)
        logits = subject._run(probe.ids, False)
        subject.backward_passes += 1
        nn.functional.cross_entropy(logits, torch.tensor(targets.ravel(), device=logits.device)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    expected = descend(config, before, probe.ids, targets, rate=rate, steps=count)
    last = subject._mapped(module)
    assert last is not None
    seen = last[1]
    moved = max(float(np.abs(expected[name] - before[name]).max(initial=0.0)) for name in expected)
    others = {n: float(np.abs(seen[n] - expected[n]).max(initial=0.0)) for n in expected if n != "E_in"}
    return Trajectory(count, rate, seen["E_in"], expected["E_in"], moved, others)
