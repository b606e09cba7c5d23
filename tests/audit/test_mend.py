"""`--write OUT`: the mend is done on a copy, proved by an audit, and loads."""

import json

import numpy as np
import pytest
import torch
from made import checkpoint, table
from safetensors import safe_open
from safetensors.numpy import load_file
from test_writers import as_bin, flag, model
from transformers import AutoModelForCausalLM

E, OTHER = table(), table(1)


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("tied", "head", "action", "names"),
    [
        (True, OTHER, "set flag false", 4),
        (True, E.copy(), "drop head", 3),
        (True, E.astype(np.float16), "drop head", 3),
        (True, table(rows=56), "set flag false", 4),
        (False, None, "set flag true", 3),
    ],
)
def test_a_mend(tied, head, action, names, audit, tmp_path):
    folder = checkpoint(tmp_path / "m", E, head, tie_word_embeddings=tied)
    (folder / "sub").mkdir()
    (folder / "sub" / "tokenizer.json").write_text("{}")
    before = files(folder)
    first = audit(folder)[1][0]
    status, rows, _ = audit(folder, "--write", tmp_path / "out")
    if first["comparison"] and first["comparison"]["kind"] == "rows":
        names, action = 3, "drop head"
    assert status == 0 and [row["verdict"] for row in rows] == [first["verdict"], "agreement"]
    assert rows[0]["mend"]["action"] == action
    assert rows[1]["path"] == str(tmp_path / "out") and rows[1]["wasted_bytes"] == 0
    assert files(folder) == before
    assert len(load_file(tmp_path / "out" / "model.safetensors")) == names
    assert (tmp_path / "out" / "sub" / "tokenizer.json").exists()
    assert audit(tmp_path / "out")[0] == 0
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".tiecheck")]


def test_a_head_is_written_where_the_class_ties_nothing(audit, tmp_path):
    names = ("backbone.embeddings.weight", "lm_head.weight")
    claims = {"model_type": "nemotron_h", "architectures": ["NemotronHForCausalLM"], "tie_word_embeddings": False}
    folder = checkpoint(tmp_path / "m", E, None, names=names, **claims)
    status, rows, _ = audit(folder, "--write", tmp_path / "out")
    assert (status, rows[0]["mend"]["action"]) == (0, "write head"), rows
    held = load_file(tmp_path / "out" / "model.safetensors")
    assert (held[names[1]] == held[names[0]]).all()


def test_shards_and_their_index(audit, tmp_path):
    made = model("llama", False)
    made.lm_head.weight.data.copy_(made.model.embed_tokens.weight.data)
    made.save_pretrained(tmp_path / "m", max_shard_size="4KB")
    flag(tmp_path / "m", True)
    status, rows, _ = audit(tmp_path / "m", "--write", tmp_path / "out")
    assert status == 0 and rows[1]["state"] == "embedding only"
    listed = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert "lm_head.weight" not in listed["weight_map"]
    with safe_open(tmp_path / "out" / listed["weight_map"]["model.norm.weight"], framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.arange(8)[None]
    assert loaded.get_input_embeddings().weight is loaded.get_output_embeddings().weight
    assert torch.equal(loaded(ids).logits, made.eval()(ids).logits)


@pytest.mark.parametrize("beside", [False, True])
def test_the_flag_beside_torch_files(beside, audit, tmp_path):
    made = model("llama", True)
    made.save_pretrained(tmp_path / "m")
    held = (tmp_path / "m" / "model.safetensors").read_bytes()
    as_bin(tmp_path / "m", made)
    if beside:
        (tmp_path / "m" / "model.safetensors").write_bytes(held)
    flag(tmp_path / "m", False)
    status, rows, _ = audit(tmp_path / "m", "--write", tmp_path / "out")
    assert (status, rows[0]["mend"]["action"], rows[1]["verdict"]) == (0, "set flag true", "agreement"), rows
    assert (tmp_path / "out" / "model.safetensors").exists() is beside


def test_what_cannot_be_mended_is_said(tiecheck, tmp_path):
    good = checkpoint(tmp_path / "good", E, None, tie_word_embeddings=True)
    bad = checkpoint(tmp_path / "bad", E, OTHER, tie_word_embeddings=True)
    out = tmp_path / "out"
    for words in (
        (good, "--write", out),
        (bad, "--write", good),
        (bad, "--write", ""),
        (bad, good, "--write", out),
        (bad / "model.safetensors", "--write", out),
        (bad, "--write", tmp_path / "no" / "such"),
        (tmp_path, "--write", out),
    ):
        status, _, err = tiecheck("audit", *words)
        assert status == 2 and len(err.strip().splitlines()) == 1 and "Traceback" not in err, (words, err)
        assert not out.exists()
