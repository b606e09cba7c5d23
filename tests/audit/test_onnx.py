"""Files of torch.onnx.export and of onnx's own helper."""

import json

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx", reason="onnx is not installed; `tox -e audit` installs it")
V, D = 40, 12


class Model(torch.nn.Module):
    def __init__(self, tied, bias=False):
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(V, D)
        self.mix = torch.nn.Linear(D, D)
        self.head = torch.nn.Linear(D, V, bias=bias)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, input_ids):
        return self.head(torch.tanh(self.mix(self.embed(input_ids))))


def export(path, made, **options):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed; `tox -e audit` installs it")
    torch.onnx.export(
        made.eval(), (torch.zeros(1, 4, dtype=torch.long),), str(path), input_names=["input_ids"], output_names=["logits"],
        verbose=False, **options,
    )  # fmt: skip
    return path


OPTIONS = {
    "dynamo": {"dynamo": True},
    "dynamo, data beside it": {"dynamo": True, "external_data": True},
    "dynamo, as it is": {"dynamo": True, "optimize": False},
    "torchscript": {"dynamo": False},
    "torchscript, not folded": {"dynamo": False, "do_constant_folding": False},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("name", OPTIONS)
def test_export(name, tied, bias, audit, tmp_path):
    path = export(tmp_path / "model.onnx", Model(tied, bias), **OPTIONS[name])
    status, (row,), _ = audit(path)
    assert status == 0, row
    assert {t["role"] for t in row["tables"]} == {"embedding", "head"}
    assert all(t["known_by"] == "graph" and t["shape"] == [V, D] for t in row["tables"])
    assert (row["state"] in ("one table", "equal")) == tied, row
    assert (row["wasted_bytes"] > 0) == (row["state"] == "equal")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "tie_word_embeddings": not tied}))
    turned = audit(path)[0]
    assert turned == (0 if row["state"] == "equal" else 1)


def graph(embedding, head, kind="MatMul"):
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    second = head if kind == "Gemm" else np.ascontiguousarray(head.T)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["h"]),
        helper.make_node(kind, ["h", "other"], ["logits"], **({"transB": 1} if kind == "Gemm" else {})),
    ]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["T"])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["T", V])],
        [numpy_helper.from_array(embedding, "table"), numpy_helper.from_array(second, "other")],
    )
    return helper.make_model(made)


@pytest.mark.parametrize("kind", ["MatMul", "Gemm"])
def test_made_by_hand(kind, audit, tmp_path):
    rng = np.random.default_rng(0)
    one, two = (rng.standard_normal((V, D)).astype(np.float32) for _ in range(2))
    for head, state in ((one, "equal"), (two, "different")):
        onnx.save(graph(one, head, kind), tmp_path / "m.onnx")
        status, (row,), _ = audit(tmp_path / "m.onnx")
        assert (status, row["state"]) == (0, state), row


@pytest.mark.parametrize("location", ["../data", "/etc/passwd", "missing", ""])
def test_data_that_lies_elsewhere(location, refused, tmp_path):
    rng = np.random.default_rng(0)
    made = graph(*(rng.standard_normal((V, D)).astype(np.float32) for _ in range(2)))
    (tmp_path / "data").write_bytes(b"0" * 8000)
    folder = tmp_path / "m"
    folder.mkdir()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / "m.onnx").write_bytes(made.SerializeToString())
    assert "m.onnx" in refused(folder / "m.onnx")
