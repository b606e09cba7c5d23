"""ONNX Runtime: an exported file is judged by the tables that it holds and by what the engine computes; it has no gradients.

Weights are initializers. A write changes one of them in the model and builds the session anew, at the next call.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tiecheck.conformance import translated
from tiecheck.conformance.errors import NotJudged
from tiecheck.conformance.evidence import Array
from tiecheck.conformance.leaves import Way, is_float
from tiecheck.conformance.protocol import Backend, Built

from .examples import onnx_files

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
    return Backend(
        "onnxruntime",
        "an ONNX file, or an onnx.ModelProto",
        here,
        ("logits", "writes", "files"),
        ("PATH.onnx", *onnx_files.NAMES),
    )


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
    if name not in onnx_files.NAMES:
        known = ", ".join(onnx_files.NAMES)
        raise LookupError(f"onnxruntime has no model {name!r} here; there are {known}, and PATH.onnx")
    return onnx_files.tiny(name, seed)


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
            self._session = session(self.model)
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


subject_of = translated.subject_of(Initializers)


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


def session(model: Any, **settings: Any) -> Any:
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
