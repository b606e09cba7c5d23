"""ONNX Runtime: an exported file is judged by the tables that it holds and by what the engine computes; it has no gradients.

Weights are initializers. A write changes one of them in the model and builds the session anew, at the next call.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tiecheck.conformance import translated
from tiecheck.conformance.declaration import Declaration
from tiecheck.conformance.errors import NotJudged
from tiecheck.conformance.evidence import Array
from tiecheck.conformance.leaves import Way, is_float
from tiecheck.conformance.protocol import Backend, Built

if TYPE_CHECKING:
    from collections.abc import Callable

FLAG = False
LARGEST = 1 << 31
"""Bytes of the largest model that protobuf can hand over in one piece."""
BEYOND: dict[str, Callable[[Array], Array]] = {
    "attention_mask": lambda ids: np.ones_like(ids),
    "position_ids": lambda ids: np.broadcast_to(np.arange(ids.shape[1]), ids.shape),
}
"""Inputs that exporters add to the ids, and what a plain call means by them."""


def backend() -> Backend:
    """See `tiecheck.conformance.protocol.Adapter`."""
    here = all(find_spec(name) for name in ("onnx", "onnxruntime"))
    names = ("PATH.onnx", *EXPORTED, *MADE)
    return Backend("onnxruntime", "an ONNX file, or an onnx.ModelProto", here, ("logits", "writes", "files"), names)


def accepts(model: object) -> bool:
    """A ModelProto; the library is not imported to find out."""
    library = sys.modules.get("onnx")
    return library is not None and isinstance(model, library.ModelProto)


def build(name: str, *, tied: bool | None, seed: int) -> Built:
    """The file of that path, external data and all, or a tiny model exported or made here. LookupError: no such name."""
    if name.endswith(".onnx"):
        if not Path(name).is_file():
            raise LookupError(f"there is no file {name}")
        import onnx

        return Built(onnx.load(name), untrained=False)
    if name not in (*EXPORTED, *MADE):
        known = ", ".join((*EXPORTED, *MADE))
        raise LookupError(f"onnxruntime has no model {name!r} here; there are {known}, and PATH.onnx")
    model = copy.deepcopy(_exported(name, seed) if name in EXPORTED else MADE[name](seed))
    producer = f", exported by torch {model.producer_version}" if name in EXPORTED else ""
    return Built(model, Declaration(tied=name != "untied"), untrained=False, notes=(f"tiny and random{producer}",))


class Initializers:
    """`Leaves` of one model: its initializers and constants by name."""

    packages = ("onnx", "onnxruntime")
    unasked: Mapping[str, str] = dict.fromkeys(
        ("gradient", "stepper"), "an inference engine has no gradients and trains nothing"
    )

    def __init__(self, model: Any) -> None:
        if model.ByteSize() >= LARGEST:
            raise NotJudged("the model is of 2 GB or more, which cannot be changed in memory")
        self.model = model
        constants = [node for node in model.graph.node if node.op_type == "Constant"]
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._tensors |= {n.output[0]: a.t for n in constants for a in n.attribute if a.name == "value"}
        self._values = {name: values for name, t in self._tensors.items() if is_float(values := _array(t))}
        self._session: Any = None
        self._inputs = _inputs(model)
        self._fixed = _fixed(model, self._inputs[0])
        self._output = _output(model)

    def logits(self, ids: Array) -> Array:
        """Logits (B, T, V). Where the file fixes a shape, ids are repeated up to it, and what is more is left out."""
        if self._session is None:
            self._session = _session(self.model)
        batch, length = self._fixed[0] or ids.shape[0], self._fixed[1] or ids.shape[1]
        if ids.shape[1] > length:
            raise ValueError(f"the file fixes {length} positions")
        parts = []
        for start in range(0, ids.shape[0], batch):
            rows = np.resize(ids[start : start + batch], (batch, ids.shape[1]))
            parts.append(self._run(np.concatenate([rows] * -(-length // ids.shape[1]), axis=1)[:, :length]))
        return np.concatenate(parts)[: ids.shape[0], : ids.shape[1]]

    def _run(self, ids: Array) -> Array:
        feed = {n: (ids if i == 0 else BEYOND[n](ids)).astype(dtype) for i, (n, dtype) in enumerate(self._inputs)}
        return np.asarray(self._session.run([self._output], feed)[0])

    def leaves(self) -> dict[str, Array]:
        """Every initializer of floats."""
        return self._values

    def write(self, name: str, values: Array) -> None:
        """Into the model; the session is built anew at the next call."""
        from onnx import numpy_helper

        self._values[name] = np.array(values)
        tensor = self._tensors[name]
        tensor.CopyFrom(numpy_helper.from_array(self._values[name], tensor.name))
        self._session = None

    def ways(self) -> tuple[Way, ...]:
        """A model is copied, and it is written to a file in three ways."""
        return (
            Way("deepcopy", "copy.deepcopy(model)", lambda model, fresh: copy.deepcopy(model)),
            Way("save", "onnx.save(model, path); onnx.load(path)", lambda model, fresh: _saved(model)),
            Way(
                "save",
                "onnx.save(model, path, save_as_external_data=True); onnx.load(path)",
                lambda model, fresh: _saved(model, save_as_external_data=True, size_threshold=0),
            ),
        )


def subject_of(built: Built, declared: Declaration, **options: Any) -> translated.Translated:
    """See `tiecheck.conformance.protocol.Adapter`."""
    return translated.subject_of(Initializers)(built, declared, **options)


# --- what is in a file -----------------------------------------------------------------------------------------------


def _array(tensor: Any) -> Array:
    from onnx import numpy_helper

    return np.array(numpy_helper.to_array(tensor))


def _inputs(model: Any) -> list[tuple[str, Any]]:
    """The ids first, then what else has to be fed: names and dtypes. Raises NotJudged."""
    from onnx import TensorProto, helper

    initialized = {tensor.name for tensor in model.graph.initializer}
    needed = [value for value in model.graph.input if value.name not in initialized]
    whole = (TensorProto.INT64, TensorProto.INT32)
    ids = [v for v in needed if v.type.tensor_type.elem_type in whole and len(v.type.tensor_type.shape.dim) == 2]
    if not ids:
        raise NotJudged("the file has no input of token ids: int64 or int32, of rank 2")
    first = next((v for v in ids if v.name not in BEYOND), ids[0])
    others = [value for value in needed if value is not first]
    unknown = [value.name for value in others if value.name not in BEYOND]
    if unknown:
        raise NotJudged(f"the file wants more than token ids: {', '.join(unknown[:3])}; export it without a cache")
    dtype = helper.tensor_dtype_to_np_dtype
    return [(value.name, dtype(value.type.tensor_type.elem_type)) for value in (first, *others)]


def _fixed(model: Any, ids: tuple[str, Any]) -> tuple[int, int]:
    """Batch and length where the file fixes them, else 0."""
    value = next(value for value in model.graph.input if value.name == ids[0])
    batch, length = (int(dim.dim_value) for dim in value.type.tensor_type.shape.dim)
    return batch, length


def _output(model: Any) -> str:
    from onnx import TensorProto

    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    for value in model.graph.output:
        if value.type.tensor_type.elem_type in floats and len(value.type.tensor_type.shape.dim) == 3:
            return str(value.name)
    raise NotJudged("the file has no output of logits: floats of rank 3")


def _session(model: Any, **settings: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    for name, value in settings.items():
        setattr(options, name, value)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _saved(model: Any, **options: Any) -> Any:
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        onnx.save(copy.deepcopy(model), path, **options)
        return onnx.load(path)


# --- models of its own -------------------------------------------------------------------------------------------

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

    from .reference import CONFIGS

    torch.manual_seed(seed)
    config = replace(CONFIGS["gpt2"], tied=name != "untied")
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

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "optimized.onnx")
        _session(_transposed(seed), optimized_model_filepath=path)
        return onnx.load(path)


MADE: dict[str, Callable[[int], Any]] = {"transposed": _transposed, "gemm": _gemm, "optimized": _optimized}
"""Models made by hand, by name."""
