"""Files of gguf's own writer."""

import json

import numpy as np
import pytest

gguf = pytest.importorskip("gguf", reason="gguf is not installed; `tox -e audit` installs it")

V, D = 96, 64
rng = np.random.default_rng(0)
E, OTHER = (rng.standard_normal((V, D)).astype(np.float32) for _ in range(2))


def write(path, embedding, head=None, kinds=("F32", "F32")):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_token_list([b"t%d" % i for i in range(V)])
    writer.add_token_scores([0.0] * V)
    for name, table, kind in (("token_embd.weight", embedding, kinds[0]), ("output.weight", head, kinds[1])):
        if table is not None:
            word = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(name, gguf.quants.quantize(table, word), raw_dtype=word)
    writer.add_tensor("blk.0.attn_q.weight", np.ones((D, D), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("embedding", "head", "kinds", "state"),
    [
        (E, None, ("F32", "F32"), "embedding only"),
        (E, E, ("F32", "F32"), "equal"),
        (E, E, ("F16", "F32"), "nearly"),
        (E, E, ("BF16", "F16"), "nearly"),
        (E, E, ("Q8_0", "Q8_0"), "equal"),
        (E, E, ("Q8_0", "F16"), "nearly"),
        (E, E, ("Q4_0", "Q8_0"), "nearly"),
        (E, E, ("Q5_1", "F32"), "nearly"),
        (E, OTHER, ("F32", "F32"), "different"),
        (E, OTHER, ("Q4_0", "Q8_0"), "different"),
        (E, OTHER, ("Q8_0", "Q8_0"), "different"),
    ],
)
def test_what_the_writer_wrote(embedding, head, kinds, state, audit, tmp_path):
    status, (row,), _ = audit(write(tmp_path / "model.gguf", embedding, head, kinds))
    assert (status, row["format"], row["state"]) == (0, "gguf", state), row
    assert row["tables"][0]["shape"] == [V, D]
    (loader,) = row["loaders"]
    assert loader["outcome"] == ("tied" if head is None else "untied")


@pytest.mark.parametrize(
    ("tied", "head", "status"), [(True, None, 0), (True, OTHER, 1), (False, None, 1), (False, OTHER, 0)]
)
def test_beside_a_config(tied, head, status, audit, tmp_path):
    write(tmp_path / "model.gguf", E, head)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "tie_word_embeddings": tied}))
    assert audit(tmp_path / "model.gguf")[0] == status


def test_the_walk_finds_what_the_library_finds(tmp_path):
    from tiecheck.conformance.audit.gguf_files import read

    path = write(tmp_path / "model.gguf", E, OTHER, ("Q4_0", "F16"))
    mine = read(path).tensors
    theirs = {t.name: t for t in gguf.GGUFReader(path).tensors}
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        other = theirs[name]
        assert (tensor.offset, tensor.nbytes, tensor.dtype) == (
            other.data_offset,
            other.n_bytes,
            other.tensor_type.name,
        )
        assert list(tensor.shape) == list(other.shape)[::-1]


def test_the_table_of_facts_says_what_llama_cpp_does(audit, tmp_path):
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    from tiecheck.adapters.llama_cpp_files import build
    from tiecheck.conformance.audit.command import rows_of

    for name, outcome in (("llama-tied", "tied"), ("llama-untied", "untied")):
        built = build(name, tied=None, seed=0)
        (row,) = rows_of(built.model.path)
        assert row.loaders[0].outcome == outcome
