"""`watch`: for each way in which a tie gets lost in the middle of a training, the step that loses it is named."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_assert_tied import (
    BREAKS,
    TOKENS,
    WIDTH,
    Functional,
    Model,
    adapt_lookup,
    load_with_assign,
    parametrize_head,
    reassign,
    sgd,
)
from tiecheck.conformance import NotJudged, TieLost, watch
from torch import Tensor, nn

from .training import adamw, gpt2, hooks, step

Break = Callable[[Any, torch.optim.Optimizer], Any]


def lost(model: nn.Module, break_it: Break, at: int, steps: int = 5, **options: Any) -> str:
    """What is said where ``break_it`` comes before step ``at``; nothing is left of the watch then."""
    optimizer, before = adamw(model), hooks()
    with pytest.raises(TieLost) as caught, watch(model, optimizer, **options):
        for number in range(1, steps + 1):
            if number == at:
                optimizer = break_it(model, optimizer) or optimizer
            step(model, optimizer)
    assert hooks() == before
    return str(caught.value)


# by identity


@pytest.mark.parametrize("break_it", BREAKS, ids=lambda f: f.__name__)
def test_what_happens_to_the_model(break_it: Callable[[Model], None]) -> None:
    said = lost(Model(), lambda model, _: break_it(model), 3)
    assert said.startswith("at step 3 the tie was lost: ")


def test_the_mend_is_said() -> None:
    said = lost(Model(), lambda model, _: load_with_assign(model), 4)
    assert "at step 4" in said and "model.head.weight = model.embed.weight" in said


def test_a_parameter_replaced_by_a_hook_of_the_model() -> None:
    model = Model()
    calls = []

    def replace(module: Model, args: Any) -> None:
        calls.append(module.training and torch.is_grad_enabled())
        if len(calls) == 3:
            reassign(module)

    optimizer = adamw(model)
    with pytest.raises(TieLost, match="at step 3 "), watch(model, optimizer):
        model.register_forward_pre_hook(replace)
        for _ in range(5):
            step(model, optimizer)


def average(model: Model, optimizer: Any) -> None:
    """The weights of a running average are swapped in, on one side."""
    model.head = copy.deepcopy(model).head


def frozen(model: Model, optimizer: Any) -> None:
    model.head.weight = nn.Parameter(model.embed.weight.detach(), requires_grad=False)


def as_buffer(model: Model, optimizer: Any) -> None:
    values = model.head.weight.detach().clone()
    del model.head.weight
    model.head.register_buffer("weight", values)


def transformers_load(model: Any, optimizer: Any) -> None:
    model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)


@pytest.mark.parametrize("break_it", [average, frozen, as_buffer], ids=lambda f: f.__name__)
def test_one_side_is_another_tensor(break_it: Break) -> None:
    assert "at step 2 the tie was lost" in lost(Model(), break_it, 2)


def test_a_model_of_transformers() -> None:
    pytest.importorskip("transformers")
    said = lost(gpt2(), transformers_load, 3)
    assert "at step 3" in said and "lm_head.weight = model.transformer.wte.weight" in said


def test_data_that_is_swapped_under_a_kept_view() -> None:
    class Kept(Model):
        """The head reads a view that was made once."""

        def __init__(self) -> None:
            super().__init__()
            del self.head
            self.view = self.embed.weight.view(TOKENS, WIDTH)

        def forward(self, ids: Tensor) -> Tensor:
            return self.hidden(ids) @ self.view.T

        def tie(self) -> None:
            pass

    def swap(model: Any, optimizer: Any) -> None:
        model.embed.weight.data = model.embed.weight.data.clone()

    assert "at step 3 the tie was lost" in lost(Kept(), swap, 3)


def without_table(model: Model, optimizer: torch.optim.Optimizer) -> None:
    group = optimizer.param_groups[0]
    group["params"] = [p for p in group["params"] if p is not model.embed.weight]


def twice(model: Model, optimizer: torch.optim.Optimizer) -> None:
    optimizer.param_groups.append({**optimizer.param_groups[0], "params": [model.embed.weight]})


def rebuilt(model: Model, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in model.parameters() if p is not model.embed.weight], lr=0.1)


def both_new(model: Model, optimizer: torch.optim.Optimizer) -> None:
    model.embed.weight = nn.Parameter(torch.randn(TOKENS, WIDTH))
    model.tie()


@pytest.mark.parametrize("break_it", [without_table, twice, rebuilt, both_new], ids=lambda f: f.__name__)
def test_what_happens_to_the_optimizer(break_it: Break) -> None:
    assert lost(Model(), break_it, 3).startswith("at step 3 the tie was lost: the optimizer ")


def test_an_optimizer_that_is_built_anew_is_followed() -> None:
    model, other = Model(), Model()
    first, second, third = adamw(model), adamw(model), adamw(other)
    with watch(model, first) as seen:
        for optimizer in (first, second, second):
            step(model, optimizer)
            step(other, third)  # is of another model
    assert seen.steps == 3


# by behaviour


class Turning(Model):
    """Its forward can be changed in the middle, without a tensor that is held elsewhere."""

    scale, kept, detached = 1.0, False, ""

    def forward(self, ids: Tensor) -> Tensor:
        E = self.embed.weight
        if self.kept:
            self.copy = E.detach().clone() if not hasattr(self, "copy") else self.copy
            E = self.copy
        rows = nn.functional.embedding(ids, E.detach() if self.detached == "lookup" else self.embed.weight)
        h = torch.tanh(self.body(rows.cumsum(1)))
        return self.scale * (h @ (E.detach() if self.detached == "head" else E).T)


@pytest.mark.parametrize(
    ("attribute", "value", "word"),
    [
        ("kept", True, "storage."),
        ("scale", 0.5, "scale"),
        ("detached", "head", "head-share"),
        ("detached", "lookup", "lookup-share"),
    ],
)
def test_what_identity_cannot_see_is_seen_between_two_steps(attribute: str, value: Any, word: str) -> None:
    said = lost(Turning(), lambda model, _: setattr(model, attribute, value), 3, every=2)
    assert said.startswith("between step 2 and step 4 the tie was lost: ") and word in said
    assert "To mend it: " in said


def test_at_the_end_it_is_asked_once_more() -> None:
    said = lost(Turning(), lambda model, _: setattr(model, "kept", True), 5, every=4)
    assert said.startswith("between step 4 and step 5 ")
    model = Model()
    optimizer = adamw(model)
    with pytest.raises(TieLost, match="after step 1 the tie was lost"), watch(model, optimizer):
        step(model, optimizer)
        reassign(model)


def test_what_fails_from_the_beginning_is_no_loss(caplog: pytest.LogCaptureFixture) -> None:
    model = Turning()
    model.scale = 2.0
    optimizer = sgd(model)
    with watch(model, optimizer, every=1):
        for _ in range(3):
            step(model, optimizer)
    assert caplog.messages == ["projection.scale fail before the first step already, and are not watched"]


def test_a_training_that_diverges_has_not_lost_its_tie(caplog: pytest.LogCaptureFixture) -> None:
    model = Model()
    with watch(model, sgd(model), every=1) as seen:
        optimizer = sgd(model)
        for _ in range(3):
            with torch.no_grad():
                model.body.weight.fill_(float("nan"))
            step(model, optimizer)
    assert seen.lost is None
    assert len(caplog.messages) == 1 and "at step 1 it cannot be told how the model behaves" in caplog.messages[0]


# what it is told, and how it ends


def test_on_loss_log_says_it_once_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    model = Model()
    optimizer = adamw(model)
    with watch(model, optimizer, every=2, on_loss="log") as seen:
        for number in range(1, 7):
            if number == 3:
                reassign(model)
            step(model, optimizer)
    assert seen.steps == 6 and seen.lost is not None and "at step 3" in seen.lost
    assert [(r.name, r.levelno, r.message) for r in caplog.records] == [("tiecheck", logging.ERROR, seen.lost)]


def test_not_tied_at_entry() -> None:
    model = Model(tied=False)
    with (
        pytest.raises(TieLost, match=r"before the first step the tie was lost: .*two tables"),
        watch(model, sgd(model)),
    ):
        pytest.fail("it was entered")


def test_an_exception_of_the_training_comes_out_as_it_is() -> None:
    model = Model()
    before = hooks()
    with pytest.raises(ZeroDivisionError), watch(model, sgd(model)):
        reassign(model)
        raise ZeroDivisionError
    assert hooks() == before


def test_no_step_at_all_is_said(caplog: pytest.LogCaptureFixture) -> None:
    model = Model()
    with watch(model, sgd(model)):
        pass
    assert caplog.messages == ["no step of the optimizer was seen while it was watched"]


def test_numbers_go_on_from_where_a_training_was_left() -> None:
    said = lost(Model(), lambda model, _: reassign(model), 3, start=100)
    assert "at step 103" in said


@pytest.mark.parametrize(
    "options",
    [{"every": -1}, {"every": True}, {"every": 1.5}, {"on_loss": "shout"}, {"shares_every": "1"}, {"start": -3}],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    model = Model()
    with pytest.raises(NotJudged, match=next(iter(options))):
        watch(model, sgd(model), **options)


@pytest.mark.parametrize("optimizer", ["adamw", None, object()])
def test_what_is_no_optimizer(optimizer: Any) -> None:
    with pytest.raises(NotJudged, match="param_groups"), watch(Model(), optimizer):
        pass


def test_what_has_groups_and_no_step() -> None:
    class Groups:
        def __init__(self, model: nn.Module) -> None:
            self.param_groups = [{"params": list(model.parameters())}]

    model = Model()
    with pytest.raises(NotJudged, match="step"), watch(model, Groups(model)):
        pass


# other optimizers


class Plain:
    """An optimizer that is none of torch's."""

    def __init__(self, model: nn.Module) -> None:
        self.param_groups = [{"params": list(model.parameters())}]

    def step(self) -> int:
        with torch.no_grad():
            for parameter in self.param_groups[0]["params"]:
                parameter -= 0.01 * parameter.grad
        return 7


class Wrapper:
    """As accelerate wraps one."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    @property
    def param_groups(self) -> Any:
        return self.optimizer.param_groups

    def step(self) -> None:
        self.optimizer.step()


@pytest.mark.parametrize("make", [Plain, lambda model: Wrapper(adamw(model))], ids=["own", "wrapped"])
def test_an_optimizer_that_is_none_of_torch(make: Callable[[nn.Module], Any]) -> None:
    model = Model()
    optimizer = make(model)
    with pytest.raises(TieLost, match="at step 3 "), watch(model, optimizer) as seen:
        for number in range(1, 5):
            if number == 3:
                reassign(model)
            step(model, optimizer)
    assert seen.steps == 3 and "step" not in vars(optimizer)
    assert not isinstance(optimizer, Plain) or optimizer.step() == 7


@pytest.mark.parametrize("break_it", [parametrize_head, adapt_lookup], ids=lambda f: f.__name__)
def test_several_optimizers_make_one_step(break_it: Callable[[Model], None]) -> None:
    model = Model()
    wide = torch.optim.SGD([p for p in model.parameters() if p.dim() > 1], lr=0.1)
    rest = torch.optim.AdamW([p for p in model.parameters() if p.dim() <= 1])
    with pytest.raises(TieLost, match="at step 3 "), watch(model, [wide, rest]) as seen:
        for number in range(1, 5):
            if number == 3:
                break_it(model)
            step(model, wide)
            rest.step()
    assert seen.steps == 3


def test_a_step_that_is_compiled() -> None:
    model = Functional()
    optimizer = sgd(model)
    compiled = torch.compile(optimizer.step, backend="eager")
    with watch(model, optimizer) as seen:
        for _ in range(2):
            model(torch.tensor([[3, 1, 2]])).square().mean().backward()
            compiled()
    assert seen.steps == 2
