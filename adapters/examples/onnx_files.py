"""Tiny ONNX files: what the exporters of torch write for the reference network, and some that are made by hand."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tiecheck.conformance.declaration import Declaration
from tiecheck.conformance.protocol import Built

EXPORTED: dict[str, dict[str, Any]] = {
    "dynamo": {"dynamo": True},
    "dynamo-large": {"dynamo": True},
    "dynamo-unoptimized": {"dynamo": True, "optimize": False},
    "torchscript": {"dynamo": False},
    "torchscript-unfolded": {"dynamo": False, "do_constant_folding": False},
    "untied": {"dynamo": True},
}
"""What torch.onnx.export is told, by name."""
LARGE = 600
"""Tokens of a table of more than 8192 numbers, which the exporter that is the default does not fold."""


@functools.lru_cache(maxsize=4)
def _exported(name: str, seed: int) -> Any:
    """The reference network of GPT-2, exported."""
    import onnx
    import torch
    from tiecheck.reference import GPT

    from .. import pytorch
    from ..reference import CONFIGS

    config = replace(CONFIGS["gpt2"], tied=name != "untied")
    with pytorch.seeded(seed):
        model = GPT(replace(config, vocabulary=LARGE) if name == "dynamo-large" else config).eval()
    ids = torch.zeros((2, 8), dtype=torch.int64)
    options = dict(EXPORTED[name])
    if options["dynamo"]:
        options["dynamic_shapes"] = ({0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=64)},)
        options["verbose"] = False
    else:
        options["dynamic_axes"] = {"ids": {0: "batch", 1: "length"}, "logits": {0: "batch", 1: "length"}}
    with tempfile.TemporaryDirectory() as folder, _silence():
        path = str(Path(folder) / "model.onnx")
        torch.onnx.export(model, (ids,), path, input_names=["ids"], output_names=["logits"], **options)
        return onnx.load(path)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """An exporter says much about itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


V, D = 61, 16


def _made(seed: int, ends: Callable[[Any], list[Any]]) -> Any:
    """By hand: a lookup, a mean over what was read, two layers; ``ends`` gives the nodes from "h" (B, T, D) to "logits"."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)

    def drawn(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"]),
        helper.make_node("CumSum", ["x", "one"], ["sum"]),
        helper.make_node("MatMul", ["sum", "up"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "down"], ["c"]),
        helper.make_node("Add", ["x", "c"], ["h"]),
        *ends(helper),
    ]
    shape = ["batch", "length"]
    graph = helper.make_graph(
        nodes,
        "by hand",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [*shape, V])],
        [
            drawn("table", V, D),
            drawn("up", D, 2 * D),
            drawn("down", 2 * D, D),
            numpy_helper.from_array(np.array(1), "one"),
            numpy_helper.from_array(np.array([-1, D]), "flat"),
            numpy_helper.from_array(np.array([V]), "width"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _transposed(seed: int) -> Any:
    """One initializer, read by Gather and through Transpose by MatMul."""
    return _made(
        seed,
        lambda helper: [
            helper.make_node("Transpose", ["table"], ["turned"], perm=[1, 0]),
            helper.make_node("MatMul", ["h", "turned"], ["logits"]),
        ],
    )


def _gemm(seed: int) -> Any:
    """One initializer, read by Gather and by Gemm, which transposes it itself."""
    return _made(
        seed,
        lambda helper: [
            helper.make_node("Shape", ["ids"], ["shape"]),
            helper.make_node("Reshape", ["h", "flat"], ["h2"]),
            helper.make_node("Gemm", ["h2", "table"], ["z"], transB=1),
            helper.make_node("Concat", ["shape", "width"], ["full"], axis=0),
            helper.make_node("Reshape", ["z", "full"], ["logits"]),
        ],
    )


def _optimized(seed: int) -> Any:
    """The first of these as ONNX Runtime's optimizer writes it to a file."""
    import onnx

    from ..onnx_runtime import session

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "optimized.onnx")
        session(_transposed(seed), optimized_model_filepath=path)
        return onnx.load(path)


MADE: dict[str, Callable[[int], Any]] = {"transposed": _transposed, "gemm": _gemm, "optimized": _optimized}
"""Models made by hand, by name."""
NAMES = (*EXPORTED, *MADE)


def tiny(name: str, seed: int) -> Built:
    """See ``build`` of the adapter."""
    model = copy.deepcopy(_exported(name, seed)) if name in EXPORTED else MADE[name](seed)
    producer = f", exported by torch {model.producer_version}" if name in EXPORTED else ""
    return Built(model, Declaration(tied=name != "untied"), untrained=False, notes=(f"tiny and random{producer}",))
