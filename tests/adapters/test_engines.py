"""ONNX Runtime and llama.cpp: a user's files, in the shapes that they have, are judged and left as they were."""

from __future__ import annotations

import gc
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiecheck.adapters import llama_cpp_files, onnx_runtime
from tiecheck.adapters.examples import onnx_files
from tiecheck.conformance import NotJudged, check

HEADS = {"llama-tied": "tied", "gpt2-tied": "tied", "llama-untied": "untied", "gpt2-untied": "untied"}


def failures(report: Any) -> list[tuple[str, str]]:
    return [(r.id, r.message) for r in report.results if r.verdict in ("fail", "error")]


@pytest.mark.parametrize("adapter", [onnx_runtime, llama_cpp_files])
def test_names_are_known_without_the_engine(adapter: Any, tmp_path: Path) -> None:
    about = adapter.backend()
    suffix = about.names[0].removeprefix("PATH")
    with pytest.raises(LookupError, match="'bert'"):
        adapter.build("bert", tied=None, seed=0)
    with pytest.raises(LookupError, match="there is no file"):
        adapter.build(str(tmp_path / f"none{suffix}"), tied=None, seed=0)
    assert not adapter.accepts(np.zeros(3))


def test_asking_the_adapters_imports_no_engine() -> None:
    script = """
import sys
from tiecheck.adapters import llama_cpp_files, onnx_runtime
for adapter in (llama_cpp_files, onnx_runtime):
    adapter.backend()
    adapter.accepts(3)
print([name for name in ("onnx", "onnxruntime", "gguf", "llama_cpp", "torch") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr


# --- ONNX ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def onnx() -> Any:
    pytest.importorskip("onnxruntime")
    return pytest.importorskip("onnx")


def with_inputs(onnx: Any, model: Any, batch: int | str, length: int | str, mask: bool = False) -> Any:
    """The same with other shapes of its ids, and with a mask that is multiplied in."""
    del model.graph.input[:]
    helper, whole = onnx.helper, onnx.TensorProto.INT64
    model.graph.input.append(helper.make_tensor_value_info("ids", whole, [batch, length]))
    if mask:
        model.graph.input.append(helper.make_tensor_value_info("attention_mask", whole, [batch, length]))
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2]), "last"))
        gather = next(node for node in model.graph.node if node.op_type == "Gather")
        gather.output[0] = "unmasked"
        place = list(model.graph.node).index(gather) + 1
        for node in reversed(
            [
                helper.make_node("Unsqueeze", ["attention_mask", "last"], ["wide"]),
                helper.make_node("Cast", ["wide"], ["floats"], to=onnx.TensorProto.FLOAT),
                helper.make_node("Mul", ["unmasked", "floats"], ["x"]),
            ]
        ):
            model.graph.node.insert(place, node)
    return model


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize(
    ("batch", "length", "mask"), [("b", "t", False), (1, 8, False), (3, 5, False), (1, "t", False), ("b", "t", True)]
)
def test_a_file_of_any_shape_is_judged_and_left_alone(
    onnx: Any, tmp_path: Path, batch: Any, length: Any, mask: bool, external: bool
) -> None:
    path = tmp_path / "model.onnx"
    model = with_inputs(onnx, onnx_files.MADE["transposed"](0), batch, length, mask)
    onnx.save(model, path, save_as_external_data=external, location="model.data", size_threshold=0)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    report = check(f"onnxruntime:{path}")
    assert report.conforms and not failures(report)
    assert before == {file.name: file.read_bytes() for file in tmp_path.iterdir()} and len(before) == 1 + external


def test_a_model_that_is_handed_in_comes_back_as_it_was(onnx: Any) -> None:
    model = onnx_files.MADE["gemm"](0)
    before = model.SerializeToString(deterministic=True)
    assert check(model).conforms
    assert model.SerializeToString(deterministic=True) == before


def test_a_table_in_a_constant_node_is_found(onnx: Any) -> None:
    model = onnx_files.MADE["transposed"](0)
    table = next(tensor for tensor in model.graph.initializer if tensor.name == "table")
    node = onnx.helper.make_node("Constant", [], ["table"], value=onnx.numpy_helper.from_array(np.array([0])))
    node.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(table)))
    model.graph.initializer.remove(table)
    model.graph.node.insert(0, node)
    before = model.SerializeToString(deterministic=True)
    report = check(model)
    assert report.conforms and not failures(report)
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_ALL"])
def test_what_the_optimizer_writes(onnx: Any, tmp_path: Path, level: str) -> None:
    import onnxruntime

    path = tmp_path / "optimized.onnx"
    onnx_runtime.session(
        onnx_files.MADE["transposed"](0),
        optimized_model_filepath=str(path),
        graph_optimization_level=getattr(onnxruntime.GraphOptimizationLevel, level),
    )
    report = check(f"onnxruntime:{path}")
    assert report.conforms == (level == "ORT_DISABLE_ALL")
    assert report.conforms or report.diagnosis[0].cause == "equal-copy"


def test_what_cannot_be_fed_is_one_sentence(onnx: Any) -> None:
    model = onnx_files.MADE["gemm"](0)
    cache = onnx.helper.make_tensor_value_info("past.0", onnx.TensorProto.FLOAT, [1, 2, "past", 4])
    model.graph.input.append(cache)
    with pytest.raises(NotJudged, match=r"wants more than token ids: past\.0"):
        check(model)
    del model.graph.input[:]
    with pytest.raises(NotJudged, match="no input of token ids"):
        check(model)


# --- GGUF ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def gguf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The library, with a folder of its own for what is written meanwhile."""
    pytest.importorskip("llama_cpp")
    (tmp_path / "meanwhile").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "meanwhile"))
    return pytest.importorskip("gguf")


def written(path: Path, name: str, half: bool = False) -> None:
    file = llama_cpp_files.build(name, tied=None, seed=3).model
    file = llama_cpp_files._halved(file) if half else file
    path.write_bytes(file.path.read_bytes())


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_a_gguf_file_is_judged_and_left_alone(
    gguf: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, half: bool
) -> None:
    path = tmp_path / "model.gguf"
    written(path, name, half)
    before = path.read_bytes()
    capfd.readouterr()
    report = check(f"llama-cpp:{path}", HEADS[name])
    assert report.conforms and not failures(report)
    assert check(f"llama-cpp:{path}", "untied" if HEADS[name] == "tied" else "tied").conforms is False
    assert path.read_bytes() == before
    assert capfd.readouterr() == ("", "")
    del report
    gc.collect()
    assert not list((tmp_path / "meanwhile").iterdir())


def test_a_quantized_table_is_one_sentence(gguf: Any, tmp_path: Path) -> None:
    import llama_cpp

    written(tmp_path / "model.gguf", "llama-tied")
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype, options.nthread = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0, 1
    small = tmp_path / "small.gguf"
    assert not llama_cpp.llama_model_quantize(str(tmp_path / "model.gguf").encode(), str(small).encode(), options)
    with pytest.raises(NotJudged, match=r"token_embd\.weight is stored as Q8_0"):
        check(f"llama-cpp:{small}")
    small.write_text("nothing")
    with pytest.raises(NotJudged, match="failed to build"):
        check(f"llama-cpp:{small}")
