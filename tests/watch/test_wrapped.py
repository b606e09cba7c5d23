"""Through the wrappers of torch, or a sentence that says that it cannot: DDP, FSDP2, the older FSDP, and compile."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_assert_tied import Functional, Model, Named, load_with_assign, reassign, sgd
from tiecheck.conformance import NotJudged, TieLost, stages, watch
from torch import nn

from .training import adamw, step

DISTRIBUTED = torch.distributed.is_available() and torch.distributed.is_gloo_available()
SECONDS = 120
pytestmark = pytest.mark.skipif(not DISTRIBUTED, reason="torch was built without gloo")


def ranks(work: Callable[[int, int], dict[str, str]], world: int, folder: Path) -> list[dict[str, str]]:
    """What ``work(rank, world)`` returns in a process each, over gloo."""
    context = torch.multiprocessing.spawn(_rank, (work, world, str(folder)), nprocs=world, join=False)
    until = time.monotonic() + SECONDS
    try:
        while not context.join(timeout=1):
            assert time.monotonic() < until, "the ranks wait for each other"
    finally:
        for process in context.processes:
            process.kill()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]


def _rank(rank: int, work: Callable[[int, int], dict[str, str]], world: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(f"{folder}/store", world)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=world)
    try:
        said = work(rank, world)
        (Path(folder) / f"{rank}.json").write_text(json.dumps(said))
    finally:
        torch.distributed.destroy_process_group()


def said(model: nn.Module, break_it: Callable[[], None] | None = None, **options: Any) -> str:
    """How three steps under a watch end; ``break_it`` comes between the backward pass and step 3."""
    optimizer = sgd(model)
    try:
        with watch(model, optimizer, **options) as seen:
            for number in range(1, 4):
                optimizer.zero_grad()
                model(torch.tensor([[3, 1, 2, 5]])).square().mean().backward()
                if number == 3 and break_it is not None:
                    break_it()
                optimizer.step()
        return f"tied for {seen.steps} steps"
    except (TieLost, NotJudged) as problem:
        return f"{type(problem).__name__}: {problem}"


def a_stage(model: nn.Module) -> str:
    """The line of a stage."""
    import io

    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        stages()("wrapped", model)
    return stream.getvalue().strip()


# DistributedDataParallel


def in_parallel(rank: int, world: int) -> dict[str, str]:
    from torch.nn.parallel import DistributedDataParallel

    def trained(around: Callable[..., Any]) -> nn.Module:
        torch.manual_seed(0)
        model = DistributedDataParallel(Model())
        optimizer = adamw(model)
        torch.manual_seed(rank)
        with around(model, optimizer):
            for _ in range(4):
                step(model, optimizer)
        return model

    plain = trained(lambda model, optimizer: contextlib.nullcontext())
    watched = trained(lambda model, optimizer: watch(model, optimizer, every=2))
    same = all(torch.equal(a, b) for a, b in zip(plain.parameters(), watched.parameters(), strict=True))
    torch.manual_seed(0)
    model = DistributedDataParallel(Model())
    inner: Any = model.module
    return {
        "same": str(same),
        "stage": a_stage(model),
        "lost": said(model, lambda: reassign(inner)),
        "functional": said(DistributedDataParallel(Functional()), every=1),
    }


def test_distributed_data_parallel(over_gloo: list[dict[str, str]]) -> None:
    for of_rank in over_gloo:
        assert of_rank["same"] == "True"
        assert of_rank["stage"] == "wrapped    tied: module.embed.weight = module.head.weight (40 x 12, float32)"
        assert of_rank["lost"].startswith("TieLost: at step 3 the tie was lost: the lookup reads module.embed.weight")
        assert of_rank["functional"] == "tied for 3 steps"


# FSDP2 and the older one


def sharded(rank: int, world: int) -> dict[str, str]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

    mesh = init_device_mesh("cpu", (world,))

    def made(kind: Callable[[], nn.Module]) -> Any:
        torch.manual_seed(0)
        model = kind()
        fully_shard(model, mesh=mesh)  # type: ignore[arg-type]
        return model

    def flattened(kind: Callable[[], nn.Module]) -> nn.Module:
        torch.manual_seed(0)
        return FullyShardedDataParallel(kind(), device_id=torch.device("cpu"))

    model = made(Model)
    apart = made(lambda: Model(tied=False))
    return {
        "sharded stage": a_stage(made(Named)),
        "own": said(made(Model)),
        "sharded functional": said(made(Functional)),
        "apart": said(apart),
        "loaded": said(model, lambda: load_with_assign(model)),
        "behaviour": said(made(Model), every=2),
        "shares": said(made(Model), shares=True),
        "flattened": said(flattened(Model)),
        "a stage of it": a_stage(flattened(Model)),
    }


def test_fully_sharded(over_gloo: list[dict[str, str]]) -> None:
    for of_rank in over_gloo:
        assert of_rank["sharded stage"] == "wrapped    tied: embed.weight = head.weight (40 x 12, float32; sharded)"
        assert of_rank["own"] == of_rank["sharded functional"] == "tied for 3 steps"
        assert of_rank["apart"].startswith("TieLost: before the first step the tie was lost: ")
        assert of_rank["loaded"].startswith("TieLost: at step 3 the tie was lost: ")
        assert "model.head.weight = model.embed.weight" in of_rank["loaded"]
        for asked in ("behaviour", "shares"):
            assert of_rank[asked].startswith("NotJudged: parameters are sharded or quantized: a pass takes every rank")
        assert "FullyShardedDataParallel flattens the parameters" in of_rank["flattened"]
        assert of_rank["a stage of it"].startswith("wrapped    not judged: ")


def wrapped(rank: int, world: int) -> dict[str, str]:
    return in_parallel(rank, world) | sharded(rank, world)


@pytest.fixture(scope="module", params=[1, 2], ids=["one rank", "two ranks"])
def over_gloo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """What each rank says of all wrappers. One start for all: it takes longer than the questions do."""
    return ranks(wrapped, request.param, tmp_path_factory.mktemp("ranks"))


# torch.compile


@pytest.mark.parametrize("kind", [Model, Functional])
def test_compiled(kind: Callable[[], Any], tmp_path: Path) -> None:
    def graphs(around: Callable[..., Any]) -> int:
        """How many graphs three steps compile."""
        torch._dynamo.reset()
        made = []

        def backend(graph: Any, inputs: Any) -> Any:
            made.append(graph)
            return graph.forward

        model: Any = torch.compile(kind(), backend=backend)
        optimizer = sgd(model)
        with around(model, optimizer):
            for _ in range(3):
                model(torch.tensor([[3, 1, 2, 5]])).square().mean().backward()
                optimizer.step()
        return len(made)

    path = tmp_path / "shares.csv"
    bare = graphs(lambda model, optimizer: contextlib.nullcontext())
    assert graphs(lambda model, optimizer: watch(model, optimizer, every=1, shares=path)) == bare
    assert len(path.read_text().splitlines()) == 4 and "n/a" not in path.read_text()


def test_compiled_and_lost() -> None:
    torch._dynamo.reset()
    inner = Model()
    model: Any = torch.compile(inner, backend="eager")
    assert "at step 3 the tie was lost: the lookup reads _orig_mod.embed.weight" in said(model, lambda: reassign(inner))


def test_compiled_in_place() -> None:
    torch._dynamo.reset()
    model = Model()
    model.compile(backend="eager")
    assert said(model, every=1) == "tied for 3 steps"
    assert "at step 3 the tie was lost" in said(model, lambda: reassign(model))
