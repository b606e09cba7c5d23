"""`assert_tied`: what it notices at once, what it notices later, and that it leaves the model as it was."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_restore import unchanged
from tiecheck.conformance import NotJudged, TieLost, assert_tied, assertion
from torch import Tensor, nn
from torch.nn.utils import parametrize
from zoo import ENTRIES

TOKENS, WIDTH = 40, 12


class Model(nn.Module):
    """A table, a body that mixes positions, and a head that may hold the table; counts its passes."""

    def __init__(self, tied: bool = True, bias: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(TOKENS, WIDTH)
        self.body = nn.Linear(WIDTH, WIDTH)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(WIDTH, TOKENS, bias=bias)
        self.passes = 0
        if tied:
            self.tie()

    def tie(self) -> None:
        self.head.weight = self.embed.weight

    def hidden(self, ids: Tensor) -> Tensor:
        self.passes += 1
        return self.drop(torch.tanh(self.body(self.embed(ids).cumsum(1))))

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.hidden(ids))


class Functional(Model):
    """There is no head: the table is read where it is needed."""

    def __init__(self) -> None:
        super().__init__()
        del self.head

    def tie(self) -> None:
        pass

    def forward(self, ids: Tensor) -> Tensor:
        return self.hidden(ids) @ self.embed.weight.T


class Named(Model):
    """A model with the accessors of transformers."""

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def get_output_embeddings(self) -> nn.Module:
        return self.head


class Liar(Named):
    """Its accessor names a head that holds the table; forward uses another."""

    def __init__(self) -> None:
        super().__init__()
        self.really = nn.Linear(WIDTH, TOKENS, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.really(self.hidden(ids))


class Stubborn(Named):
    """It does not run at all, so that its accessors are all there is."""

    def forward(self, ids: Tensor) -> Tensor:
        raise RuntimeError("not on this machine")


class Opaque(Model):
    """h E^T by squares, which is no product that could be watched."""

    def forward(self, ids: Tensor) -> Tensor:
        h, E = self.hidden(ids).unsqueeze(-2), self.head.weight
        return ((h + E).square().sum(-1) - (h - E).square().sum(-1)) / 4


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def holds(model: nn.Module, *more: Any, **named: Any) -> None:
    """Tied twice: when the ends are found, and when they are known."""
    assert_tied(model, *more, **named)
    assert_tied(model, *more, **named)


def lost(model: nn.Module, *words: str, optimizer: Any = None) -> str:
    """Lost, now and at the next call too, with these words in what is said."""
    for _ in range(2):
        with pytest.raises(TieLost) as caught:
            assert_tied(model, optimizer)
    said = str(caught.value)
    assert all(word in said for word in words), said
    return said


# the first call


def test_a_tie_by_a_linear_layer_with_an_optimizer() -> None:
    model = Model(bias=True)
    holds(model, sgd(model))


def test_a_tie_that_is_read_where_it_is_needed() -> None:
    model = Functional()
    holds(model, sgd(model))


def test_two_tables_are_named_with_the_line_that_ties_them() -> None:
    said = lost(Model(tied=False), "embed.weight", "head.weight", "model.head.weight = model.embed.weight")
    assert issubclass(TieLost, AssertionError) and "test_assert_tied.py" in said


def test_the_line_in_the_message_mends_it() -> None:
    model = nn.Sequential(Model(tied=False))
    line = lost(model, "two tables").split("; ")[1].split(" ties")[0]
    exec(line, {"model": model})
    holds(model, sgd(model))


def test_equal_values_are_no_tie() -> None:
    model = Model(tied=False)
    model.head.load_state_dict(model.embed.state_dict())
    lost(model, "two tables")


def test_two_parameters_over_one_memory_are_no_tie() -> None:
    model = Model(tied=False)
    model.head.weight.data = model.embed.weight.data
    lost(model, "two parameters over one memory", "embed.weight", "head.weight")


def test_a_copy_that_is_kept_is_no_tie() -> None:
    model = Functional()
    model.register_buffer("kept", model.embed.weight.detach().clone())
    model.forward = lambda ids: model.hidden(ids) @ model.kept.T  # type: ignore[method-assign,assignment]
    lost(model, "kept", "copy")


def test_a_table_that_no_module_registers_is_not_trained() -> None:
    model = Functional()
    loose = torch.randn(TOKENS, WIDTH, requires_grad=True)
    model.forward = lambda ids: torch.tanh(model.body(F.embedding(ids, loose).cumsum(1))) @ loose.T  # type: ignore
    lost(model, "no module registers it")


def test_a_frozen_table_need_not_be_held() -> None:
    model = Model()
    model.embed.weight.requires_grad_(False)
    holds(model, torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1))
    holds(model, sgd(model))


def test_a_table_that_is_a_buffer() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.randn(TOKENS, WIDTH))
            self.body = nn.Linear(WIDTH, WIDTH)

        def forward(self, ids: Tensor) -> Tensor:
            return torch.tanh(self.body(self.table[ids].cumsum(1))) @ self.table.T

    model = Fixed()
    holds(model, sgd(model))


def test_a_constant_table_while_a_parameter_waits() -> None:
    class Waits(nn.Module):
        def __init__(self, used: bool) -> None:
            super().__init__()
            self.fixed, self.used = [torch.randn(TOKENS, WIDTH)], used
            self.waits, self.body = nn.Parameter(torch.randn(TOKENS, WIDTH)), nn.Linear(WIDTH, WIDTH)

        def forward(self, ids: Tensor) -> Tensor:
            h = torch.tanh(self.body(self.fixed[0][ids].cumsum(1)))
            return (h + self.waits[: ids.shape[1]] * h if self.used else h) @ self.fixed[0].T

    lost(Waits(used=False), "fixed", "waits")
    holds(Waits(used=True))


def test_a_transposed_view_is_one_memory() -> None:
    class Columns(Functional):
        def __init__(self) -> None:
            super().__init__()
            self.columns = [self.embed.weight.detach().T]

        def forward(self, ids: Tensor) -> Tensor:
            return self.hidden(ids) @ self.columns[0]

    model = Columns()
    holds(model, sgd(model))
    model.embed.weight.data = model.embed.weight.data.clone()
    lost(model, "columns")


def test_a_head_that_no_product_shows_follows_a_write() -> None:
    model = Opaque()
    unchanged(model, lambda: assert_tied(model, None))
    holds(model)
    lost(Opaque(tied=False), "does not follow a write")


def test_an_accessor_that_lies_is_not_believed() -> None:
    lost(Liar(), "really.weight")


def test_accessors_are_believed_where_nothing_runs() -> None:
    holds(Stubborn())
    lost(Stubborn(tied=False), "two tables")
    shared = Stubborn(tied=False)
    shared.head.weight.data = shared.embed.weight.data
    lost(shared, "two parameters over one memory")


def test_hidden_states_are_not_judged() -> None:
    class Body(Model):
        def forward(self, ids: Tensor) -> Tensor:
            return self.hidden(ids)

    with pytest.raises(NotJudged, match="hidden states"):
        assert_tied(Body())


@pytest.mark.parametrize(
    ("model", "words"),
    [(nn.Linear(3, 3), "does not run"), (len, "no installed backend"), (nn.LazyLinear(3), "without a shape")],
    ids=["no table", "no module", "lazy"],
)
def test_what_cannot_be_found_is_one_sentence(model: Any, words: str) -> None:
    with pytest.raises(NotJudged, match=words) as caught:
        assert_tied(model)
    assert "\n" not in str(caught.value)


class Choosy(Model):
    """Takes no other ids than three of one kind."""

    def forward(self, ids: Tensor) -> Tensor:
        if ids.shape[1] != 3 or int(ids.min()) < 5:
            raise ValueError("three tokens from 5 on")
        return super().forward(ids)


@pytest.mark.parametrize("kind", [torch.tensor, lambda rows: rows], ids=["tensor", "lists"])
def test_a_model_that_needs_certain_ids(kind: Callable[[Any], Any]) -> None:
    model = Choosy()
    with pytest.raises(NotJudged, match="ids="):
        assert_tied(model)
    assert_tied(model, ids=kind([[5, 7, 9]]))
    assert_tied(model)
    model.embed.weight = nn.Parameter(model.embed.weight.detach().clone())
    model.tie()
    assert_tied(model)


@pytest.mark.parametrize("ids", [[1, 2], [[0.5, 1.0]], torch.zeros(0, 3, dtype=torch.long)], ids=repr)
def test_ids_that_are_none(ids: Any) -> None:
    with pytest.raises(NotJudged, match="whole numbers"):
        assert_tied(Model(), ids=ids)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.verdict == "correct"][::3], ids=lambda e: e.name)
def test_no_false_alarm(entry: Any) -> None:
    model = entry.build()
    if not entry.declared.get("tied", True):
        lost(model)
    elif entry.name != "lookup_take":  # torch.take on the flat table is no lookup of rows
        holds(model)


@pytest.mark.parametrize(
    "name",
    [
        "lstm_values_copied",
        "lora_head_only",
        "shards_last_own",
        "chunks_own_tail",
        "flat_two_windows",
        "window_copy_since_birth",
        "seq2seq_head_on_segments",
        "traced_head_baked",
        "cells_with_plain_tensor",
    ],
)
def test_broken_models_by_identity(name: str) -> None:
    lost(next(e for e in ENTRIES if e.name == name).build())


# later calls


def test_later_calls_run_nothing() -> None:
    model = Model()
    assert_tied(model)
    passes = []
    model.register_forward_pre_hook(lambda *_: passes.append(1))
    optimizer = sgd(model)
    for _ in range(3):
        assert_tied(model, optimizer)
    model.head.weight = nn.Parameter(model.head.weight.detach().clone())
    with pytest.raises(TieLost):
        assert_tied(model, optimizer)
    assert not passes


def reassign(model: Model) -> None:
    model.head.weight = nn.Parameter(model.embed.weight.detach().clone())


def replace_module(model: Model) -> None:
    model.head = nn.Linear(WIDTH, TOKENS, bias=False)


def replace_lookup(model: Model) -> None:
    model.embed = nn.Embedding(TOKENS, WIDTH)


def load_with_assign(model: Model) -> None:
    model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)


def parametrize_head(model: Model) -> None:
    class Delta(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.delta = nn.Parameter(torch.zeros(TOKENS, WIDTH))

        def forward(self, weight: Tensor) -> Tensor:
            return weight + self.delta

    parametrize.register_parametrization(model.head, "weight", Delta())


def adapt_lookup(model: Model) -> None:
    class Adapted(nn.Module):
        def __init__(self, base: nn.Embedding) -> None:
            super().__init__()
            self.base, self.extra = base, nn.Parameter(torch.zeros(TOKENS, WIDTH))

        def forward(self, ids: Tensor) -> Tensor:
            return F.embedding(ids, self.base.weight + self.extra)

    model.embed = Adapted(model.embed)  # type: ignore[assignment]


BREAKS = [reassign, replace_module, replace_lookup, load_with_assign, parametrize_head, adapt_lookup]


@pytest.mark.parametrize("break_it", BREAKS, ids=lambda f: f.__name__)
def test_a_tie_that_gets_lost_is_noticed(break_it: Callable[[Model], None]) -> None:
    model = Model()
    assert_tied(model)
    break_it(model)
    lost(model)


def test_a_tie_that_comes_back_is_noticed() -> None:
    model = Model()
    assert_tied(model)
    load_with_assign(model)
    lost(model)
    model.tie()
    holds(model, sgd(model))


def test_both_ends_replaced_by_one_new_parameter() -> None:
    for model in (Model(), Functional()):
        assert_tied(model)
        model.embed.weight = nn.Parameter(torch.randn(TOKENS + 3, WIDTH))
        model.tie()
        holds(model, sgd(model))


def test_a_functional_tie_whose_head_turns_away() -> None:
    model = Functional()
    kept = model.embed.weight
    model.forward = lambda ids: model.hidden(ids) @ kept.T  # type: ignore[method-assign,assignment]
    assert_tied(model)
    model.embed.weight = nn.Parameter(torch.randn(TOKENS, WIDTH))
    lost(model, "embed.weight")


def test_training_moving_and_loading_keep_it() -> None:
    model = Model()
    optimizer = sgd(model)
    holds(model, optimizer)
    model(torch.tensor([[3, 1, 2]])).square().mean().backward()
    optimizer.step()
    model.load_state_dict(Model().state_dict())
    model.to(torch.float64).eval()
    holds(model, optimizer)


def test_copies_are_models_of_their_own() -> None:
    model = Model()
    assert_tied(model)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        holds(twin, sgd(twin))
        with pytest.raises(TieLost, match="does not hold"):
            assert_tied(twin, sgd(model))
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    holds(torch.load(stream, weights_only=False))


def test_a_deepcopy_that_unties() -> None:
    class Copied(Model):
        def __deepcopy__(self, memo: Any) -> Copied:
            twin = Copied()
            twin.head.weight = nn.Parameter(twin.head.weight.detach().clone())
            return twin

    model = Copied()
    assert_tied(model)
    lost(copy.deepcopy(model), "two tables")


def test_nothing_is_kept_of_a_dead_model() -> None:
    model = Model()
    assert_tied(model)
    number = id(model)
    entry = assertion._known[number]
    del model
    gc.collect()
    assert number not in assertion._known
    other = Model(tied=False)
    assertion._known[id(other)] = entry  # as if its number were the dead model's
    lost(other)


def test_a_module_that_defines_equality() -> None:
    class Equal(Model):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Equal)

        def __hash__(self) -> int:
            return 1

    assert_tied(Equal())
    lost(Equal(tied=False))


# the optimizer


def test_an_optimizer_that_was_built_before_the_tie() -> None:
    for kept in (True, False):
        model = Model(tied=False)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if kept or p is not model.embed.weight])
        model.tie()
        lost(model, "embed.weight = head.weight", "before the tie", "orphan", optimizer=optimizer)
        holds(model, sgd(model))


def test_an_optimizer_that_two_models_share() -> None:
    model, other = Model(), Model()
    holds(model, torch.optim.AdamW([*model.parameters(), *other.parameters()]))


def test_an_optimizer_that_does_not_hold_the_table() -> None:
    model = Model()
    lost(model, "never trains", optimizer=torch.optim.SGD(model.body.parameters(), lr=0.1))


def test_an_optimizer_that_lists_it_twice() -> None:
    model = Model()
    groups = [{"params": [model.embed.weight]}, {"params": list(model.body.parameters())}]
    holds(model, torch.optim.SGD(groups, lr=0.1))
    optimizer = torch.optim.SGD(groups, lr=0.1)
    optimizer.param_groups.append({"params": [model.head.weight]})  # past the check of add_param_group
    lost(model, "2 times", "groups 0 and 2", optimizer=optimizer)
    optimizer = sgd(model)
    optimizer.param_groups[0]["params"].append(model.head.weight)
    lost(model, "2 times", "group 0", optimizer=optimizer)


def test_several_optimizers_share_the_parameters() -> None:
    model = Model()
    rest = torch.optim.SGD(model.body.parameters(), lr=0.1)
    table = torch.optim.AdamW([model.embed.weight])
    holds(model, [rest, table])
    lost(model, "2 times", optimizer=[table, sgd(model)])


def test_an_optimizer_that_is_none() -> None:
    with pytest.raises(NotJudged, match="param_groups"):
        assert_tied(Model(), "adamw")


def test_every_parameter_of_a_derived_table() -> None:
    class Low(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.randn(TOKENS, 4)), nn.Parameter(torch.randn(4, WIDTH))
            self.body = nn.Linear(WIDTH, WIDTH)

        def forward(self, ids: Tensor) -> Tensor:
            E = self.a @ self.b
            return torch.tanh(self.body(E[ids].cumsum(1))) @ E.T

    model = Low()
    holds(model, sgd(model))
    lost(model, "hold b", optimizer=torch.optim.SGD([model.a, *model.body.parameters()], lr=0.1))


# without values, wrapped, from transformers


@pytest.mark.parametrize("kind", [Model, Functional, Named, Stubborn])
def test_on_the_meta_device(kind: type[Model]) -> None:
    with torch.device("meta"):
        model = kind()
    holds(model, sgd(model))
    if kind is Functional:
        return
    with torch.device("meta"):
        lost(kind(tied=False), "two tables")
        shared = kind(tied=False)
        shared.head.weight = nn.Parameter(shared.embed.weight.detach())
        lost(shared)
    model.to_empty(device="cpu")
    lost(model)  # in what words depends on what the memory happens to hold
    model.tie()
    holds(model)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_garbage_in_the_memory_is_no_argument(value: float) -> None:
    for tied in (True, False):
        model = Model(tied)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(value)
        if tied:
            holds(model)
        else:
            lost(model, "two tables")


def wrapped(model: nn.Module) -> list[nn.Module]:
    class Own(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *args: Any) -> Any:
            return {"logits": self.inner(*args)}

    return [
        torch.compile(model, backend="eager"),
        nn.DataParallel(model),
        nn.Sequential(model),
        Own(nn.Sequential(model)),
    ]  # type: ignore[list-item]


@pytest.mark.parametrize("which", range(4))
def test_wrapped(which: int) -> None:
    model = Model()
    outer = wrapped(model)[which]
    holds(outer, sgd(outer))
    reassign(model)
    lost(outer, "embed.weight", "head.weight")


def test_compiled_code_stays_compiled() -> None:
    frames = []

    def backend(graph: Any, inputs: Any) -> Any:
        frames.append(graph)
        return graph.forward

    torch._dynamo.reset()
    model = torch.compile(Model(), backend=backend)
    assert_tied(model)
    model(torch.tensor([[1, 2, 3]]))
    assert frames


def test_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 101, "bos_token_id": 1, "eos_token_id": 2}
    small = {"n_layer": 1, "n_embd": 32, "n_head": 4, "n_positions": 64, **sizes}
    for tied in (True, False):
        config = transformers.GPT2Config(tie_word_embeddings=tied, **small)
        with torch.device("meta"):
            empty = transformers.GPT2LMHeadModel(config)
        for model in (transformers.GPT2LMHeadModel(config), empty):
            if tied:
                holds(model, sgd(model))
                model.resize_token_embeddings(110, mean_resizing=False)
                holds(model, sgd(model))
            else:
                lost(model, "transformer.wte.weight", "lm_head.weight")


def test_an_encoder_decoder_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.T5Config(vocab_size=101, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4)
    model = transformers.T5ForConditionalGeneration(config)
    holds(model, sgd(model))
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    lost(model, "lm_head.weight")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", [Model, Functional])
def test_fully_sharded(kind: Callable[..., Model], tied: bool, tmp_path: Path) -> None:
    if kind is Functional and not tied:
        pytest.skip("it is always tied")
    distributed = torch.distributed
    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        model = kind() if kind is Functional else kind(tied)
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        optimizer = sgd(model)
        for _ in range(2):
            if tied:
                holds(model, optimizer)
            else:
                lost(model, "two tables")
            model(torch.tensor([[3, 1, 2]])).square().mean().backward()
            optimizer.step()
        with torch.no_grad():
            model(torch.tensor([[3, 1, 2]]))  # leaves the root gathered
        if tied:
            holds(model, optimizer)
    finally:
        distributed.destroy_process_group()


# what it leaves behind, and what it needs


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.verdict == "correct"][1::9], ids=lambda e: e.name)
def test_the_model_comes_back_as_it_was(entry: Any, train: bool) -> None:
    model = entry.build().train(train)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    unchanged(model, lambda: assert_tied(model))


def test_a_failing_model_comes_back_too() -> None:
    model = Model(tied=False)

    def fail() -> None:
        with pytest.raises(TieLost):
            assert_tied(model)

    unchanged(model, fail)


SCRIPT = """
import sys
absent = ("hypothesis", "transformers", "click", "rich", "jinja2", "pytest")
sys.modules.update(dict.fromkeys(absent))
from tiecheck.conformance import TieLost, assert_tied
assert "torch" not in sys.modules and "numpy" not in sys.modules
import torch
from torch import nn
class Model(nn.Module):
    def __init__(self, tied):
        super().__init__()
        self.embed, self.head = nn.Embedding(30, 8), nn.Linear(8, 30)
        if tied:
            self.head.weight = self.embed.weight
    def forward(self, ids):
        return self.head(torch.tanh(self.embed(ids)))
model = Model(True)
assert_tied(model, torch.optim.AdamW(model.parameters()))
try:
    assert_tied(Model(False))
except TieLost:
    print("lost")
"""


def test_torch_and_numpy_are_enough_and_come_late() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "lost"
