"""ONNX: the graph itself says which initializer the lookup gathers from and which one the logits are a product with."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint
from .safely import inside, said, size
from .tables import Table, Tables, found
from .tensors import ITEM, Tensor, Unreadable, opened

RULE = "an ONNX file claims nothing; its graph says which table each use reads"
LARGEST = 2 << 30
"""No protobuf is larger."""
_DTYPES = {
    1: "F32",
    2: "U8",
    3: "I8",
    6: "I32",
    7: "I64",
    9: "BOOL",
    10: "F16",
    11: "F64",
    16: "BF16",
    17: "F8_E4M3",
    19: "F8_E5M2",
}
_SAME = ("Identity", "Cast")
_TO_IDS = (*_SAME, "Reshape", "Unsqueeze", "Squeeze", "Slice")
_TO_LOGITS = (
    *_SAME,
    "Add",
    "Mul",
    "Div",
    "Tanh",
    "Reshape",
    "Unsqueeze",
    "Squeeze",
    "Slice",
    "Transpose",
    "LogSoftmax",
    "Softmax",
)
_IDS = ("input_ids", "ids", "tokens", "input", "idx", "decoder_input_ids", "x")


def read(path: Path) -> Checkpoint:
    """An ONNX file; data beside it is read where it lies. Raises Unreadable."""
    model = _model(path)
    graph = model.graph
    tensors: dict[str, Tensor] = {}
    for proto in graph.initializer:
        if proto.name in tensors:
            raise Unreadable(f"{said(path)} has the initializer {said(proto.name)} twice")
        tensors[proto.name] = _tensor(path, proto)
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            value = next((a.t for a in node.attribute if a.name == "value" and a.HasField("t")), None)
            if value is not None and len(value.dims) == 2:
                tensors[node.output[0]] = dataclasses.replace(_tensor(path, value), name=node.output[0])
    return Checkpoint(path, "onnx", tensors, tables=_Graph(graph, tensors).tables(), rule=RULE, files=(path,))


def _model(path: Path) -> Any:
    try:
        import onnx
    except ImportError:
        raise Unreadable(f"{said(path)} needs onnx to be read: pip install onnx") from None
    handle = opened(path)
    with os.fdopen(handle, "rb") as stream:
        length = os.fstat(handle).st_size
        if length > LARGEST:
            raise Unreadable(f"{said(path)} has {size(length)}, and no ONNX file has more than {size(LARGEST)}")
        raw = stream.read()
    try:
        model = onnx.load_model_from_string(raw)
        empty = not model.graph.node
    except Exception as error:  # protobuf raises of its own
        raise Unreadable(f"{said(path)} is no ONNX file: {said(str(error))[:200]}") from None
    if empty:
        raise Unreadable(f"{said(path)} is no ONNX file: it holds no graph")
    graph = model.graph
    words = [tensor.name for tensor in (*graph.initializer, *graph.input, *graph.output)]
    for node in graph.node:
        words += [node.op_type, *node.input, *node.output]
    if not all(isinstance(word, str) for word in words):  # protobuf gives bytes for what is no text
        raise Unreadable(f"{said(path)} has a name that is no text")
    return model


def _tensor(path: Path, proto: Any) -> Tensor:
    shape = tuple(proto.dims)
    dtype = _DTYPES.get(proto.data_type, f"type {proto.data_type}")
    count = 1
    for n in shape:
        count *= n
    if any(n < 0 for n in shape):
        raise Unreadable(f"{said(path)} gives {said(proto.name)} a negative size")
    packed = dtype not in ITEM
    nbytes = count * ITEM.get(dtype, 0)
    if proto.data_location == 1:
        return _external(path, proto, shape, dtype, nbytes, packed)
    if not packed and len(shape) == 2 and not proto.raw_data:
        return _typed(path, proto, shape, dtype, nbytes)
    if not packed and len(shape) == 2 and len(proto.raw_data) != nbytes:
        raise Unreadable(f"{said(path)} holds {len(proto.raw_data)} bytes of {said(proto.name)}, which needs {nbytes}")
    return Tensor(proto.name, shape, dtype, path, 0, len(proto.raw_data), quantized=packed, inline=proto.raw_data)


def _typed(path: Path, proto: Any, shape: tuple[int, ...], dtype: str, nbytes: int) -> Tensor:
    """Data that stands in a field of numbers: the library writes it out."""
    from onnx import numpy_helper

    try:
        raw = numpy_helper.to_array(proto).tobytes()
    except Exception as error:
        raise Unreadable(f"{said(path)} has damaged data of {said(proto.name)}: {said(str(error))[:120]}") from None
    if len(raw) != nbytes:
        raise Unreadable(f"{said(path)} holds {len(raw)} bytes of {said(proto.name)}, which needs {nbytes}")
    return Tensor(proto.name, shape, dtype, path, 0, nbytes, inline=raw)


def _external(path: Path, proto: Any, shape: tuple[int, ...], dtype: str, nbytes: int, packed: bool) -> Tensor:
    told = {entry.key: entry.value for entry in proto.external_data}
    file = inside(path.parent, told.get("location"), path.name)
    if not file.is_file():
        raise Unreadable(f"{said(file)} is no regular file")
    try:
        offset, length = int(told.get("offset", "0")), int(told.get("length", str(nbytes)))
    except ValueError:
        raise Unreadable(f"{said(path)} has no legal place for {said(proto.name)}") from None
    if offset < 0 or length < 0 or (not packed and length != nbytes) or offset + length > file.stat().st_size:
        raise Unreadable(f"{said(path)} gives {said(proto.name)} bytes that {said(file.name)} does not have")
    return Tensor(proto.name, shape, dtype, file, offset, length, quantized=packed)


class _Graph:
    """Which initializers the two uses read, by walking from the ids and back from the logits."""

    def __init__(self, graph: Any, tensors: Mapping[str, Tensor]) -> None:
        self._graph, self._tensors = graph, tensors
        self._maker = {name: node for node in graph.node for name in node.output}

    def tables(self) -> Tables:
        """The two tables; by their names where the graph does not say."""
        embedding, head = self._embedding(), self._head()
        by_name = found(self._tensors) if embedding is None or head is None else Tables(None, None)
        embedding, head = embedding or by_name.embedding, head or by_name.head
        if embedding is not None and head is not None and embedding.tensor.name == head.tensor.name:
            return Tables(embedding, head)
        why = "" if embedding and head else "the graph shows no lookup, or no product, with a stored table"
        return Tables(embedding, head, why=why)

    def _stored(self, name: str) -> tuple[Tensor, bool] | None:
        """The stored matrix behind a value, and whether it is turned on the way."""
        turned = False
        for _ in range(64):
            if name in self._tensors:
                tensor = self._tensors[name]
                return (tensor, turned) if len(tensor.shape) == 2 else None
            node = self._maker.get(name)
            if node is None or not node.input or node.op_type not in (*_SAME, "Transpose"):
                return None
            turned ^= node.op_type == "Transpose"
            name = node.input[0]
        return None

    def _embedding(self) -> Table | None:
        inputs = [value.name for value in self._graph.input if value.name not in self._tensors]
        wanted = [name for name in _IDS if name in inputs] or inputs
        for node in self._graph.node:
            if node.op_type == "Gather" and len(node.input) == 2 and self._from_ids(node.input[1], wanted[:1]):
                stored = self._stored(node.input[0])
                if stored is not None:
                    tensor, turned = stored
                    return Table("embedding", tensor.turned if turned else tensor, "graph", _packed(tensor))
        return None

    def _from_ids(self, name: str, wanted: list[str]) -> bool:
        for _ in range(64):
            if name in wanted:
                return True
            node = self._maker.get(name)
            if node is None or node.op_type not in _TO_IDS or not node.input:
                return False
            name = node.input[0]
        return False

    def _head(self) -> Table | None:
        outputs = [value.name for value in self._graph.output]
        queue = [name for name in outputs if name == "logits"] or outputs[:1]
        seen: set[str] = set()
        while queue:
            node = self._maker.get(queue.pop(0))
            if node is None or str(id(node)) in seen:
                continue
            seen.add(str(id(node)))
            if node.op_type in ("MatMul", "Gemm"):
                return self._product(node)
            if node.op_type in _TO_LOGITS and len(seen) < 64:
                queue += list(node.input)
        return None

    def _product(self, node: Any) -> Table | None:
        """The factor that is stored, as V x D."""
        if len(node.input) < 2:
            return None
        flag = next((a.i for a in node.attribute if a.name == "transB"), 0)
        stored = self._stored(node.input[1])
        if stored is None:
            return None
        tensor, turned = stored
        upright = turned ^ bool(flag and node.op_type == "Gemm")
        return Table("head", tensor if upright else tensor.turned, "graph", _packed(tensor))


def _packed(tensor: Tensor) -> bool:
    return tensor.quantized
