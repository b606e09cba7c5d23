"""A folder of config.json and safetensors: every state of the file under every claim."""

import json

import numpy as np
import pytest
from made import V, checkpoint, table

GPT2 = ("transformer.wte.weight", "lm_head.weight")
E = table()
OTHER = table(1)
MORE = np.concatenate([E, np.zeros((16, E.shape[1]), np.float32)])

CASES = {
    "tied, one table": (True, E, None, "agreement", "embedding only", 0),
    "tied, only the head's name": (True, None, E, "agreement", "head only", 0),
    "tied, an equal copy": (True, E, E.copy(), "agreement", "equal", E.nbytes),
    "tied, two tables": (True, E, OTHER, "contradiction", "different", 0),
    "tied, one row differs": (True, E, np.where(np.arange(V)[:, None] == 7, OTHER, E), "contradiction", "different", 0),
    "tied, rounded to float16": (True, E, E.astype(np.float16), "contradiction", "nearly", E.nbytes // 2),
    "tied, padded rows": (True, E, MORE, "contradiction", "nearly", MORE.nbytes),
    "untied, two tables": (False, E, OTHER, "agreement", "different", 0),
    "untied, an equal copy": (False, E, E.copy(), "agreement", "equal", E.nbytes),
    "untied, no head": (False, E, None, "contradiction", "embedding only", 0),
    "untied, no embedding": (False, None, E, "contradiction", "head only", 0),
    "untied, padded rows": (False, E, MORE, "contradiction", "nearly", MORE.nbytes),
}
STATUS = {"agreement": 0, "contradiction": 1}


@pytest.mark.parametrize("name", CASES)
def test_claim_and_file(name, audit, tmp_path):
    tied, embedding, head, verdict, state, wasted = CASES[name]
    checkpoint(tmp_path / "model", embedding, head, tie_word_embeddings=tied)
    status, (row,), err = audit(tmp_path / "model")
    assert (row["verdict"], row["state"], row["wasted_bytes"]) == (verdict, state, wasted), row
    assert status == STATUS[verdict] and not err
    assert row["claim"]["tied"] is tied
    assert (row["mend"] is not None) or verdict == "agreement"


def test_where_they_differ(audit, tmp_path):
    head = E.copy()
    head[[3, 5]] += 0.5
    checkpoint(tmp_path / "model", E, head, tie_word_embeddings=True)
    _, (row,), _ = audit(tmp_path / "model")
    found = row["comparison"]
    assert (found["rows_different"], found["first_rows"]) == (2, [3, 5])
    assert found["largest_difference"] == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("kind", "architecture", "tied"), [("gpt2", "GPT2LMHeadModel", True), ("llama", "LlamaForCausalLM", False)]
)
def test_a_missing_flag_is_the_default_of_the_type(kind, architecture, tied, audit, tmp_path):
    names = GPT2 if kind == "gpt2" else None
    checkpoint(tmp_path / "model", E, None, names=names, model_type=kind, architectures=[architecture])
    status, (row,), _ = audit(tmp_path / "model")
    assert row["claim"]["tied"] is tied and "default" in row["claim"]["says"] and "transformers" in row["claim"]["says"]
    assert status == (0 if tied else 1)


def test_nothing_is_claimed(audit, tmp_path):
    folder = checkpoint(tmp_path / "model", E, None, model_type="never-heard-of", architectures=["NewForCausalLM"])
    status, (row,), err = audit(folder)
    assert (status, row["verdict"]) == (2, "not decidable") and "never-heard-of" in err
    (folder / "config.json").unlink()
    status, (row,), err = audit(folder)
    assert (status, row["verdict"]) == (2, "not decidable") and "no config.json" in err


@pytest.mark.parametrize("value", ["true", 1, [], {}])
def test_a_flag_that_is_no_flag(value, audit, tmp_path):
    checkpoint(tmp_path / "model", E, None, tie_word_embeddings=value)
    status, (row,), _ = audit(tmp_path / "model")
    assert (status, row["verdict"]) == (2, "not decidable")


def test_every_level_is_told_and_the_obeyed_one_counts(audit, tmp_path):
    claims = {
        "model_type": "gemma3",
        "architectures": ["Gemma3ForConditionalGeneration"],
        "tie_word_embeddings": False,
        "text_config": {"model_type": "gemma3_text", "tie_word_embeddings": True},
    }
    names = ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight")
    status, (row,), _ = audit(checkpoint(tmp_path / "model", E, None, names=names, **claims))
    assert [(lv["path"], lv["value"]) for lv in row["claim"]["levels"]] == [
        ("the top level", False),
        ("text_config", True),
    ]
    assert "the top level" in row["claim"]["obeyed"]
    assert status == 1 and any("disagree" in note for note in row["notes"])


def test_the_decoder_of_an_encoder_decoder_counts(audit, tmp_path):
    claims = {
        "model_type": "encoder-decoder",
        "architectures": ["EncoderDecoderModel"],
        "tie_word_embeddings": False,
        "decoder": {"model_type": "gpt2", "tie_word_embeddings": True},
    }
    names = ("decoder.transformer.wte.weight", "decoder.lm_head.weight")
    status, (row,), _ = audit(checkpoint(tmp_path / "model", E, None, names=names, **claims))
    assert (status, row["claim"]["tied"]) == (0, True)


def test_a_class_that_ties_nothing(audit, tmp_path):
    claims = {"model_type": "rembert", "architectures": ["RemBertForMaskedLM"], "tie_word_embeddings": True}
    names = ("rembert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight")
    _, (row,), _ = audit(checkpoint(tmp_path / "model", E, None, names=names, **claims))
    assert row["verdict"] == "contradiction" and "write the head" in row["mend"]["says"]
    assert "ties nothing" in row["claim"]["obeyed"]


def test_a_class_without_a_head_owes_none(audit, tmp_path):
    folder = checkpoint(
        tmp_path / "m",
        E,
        None,
        names=("embed_tokens.weight", ""),
        architectures=["LlamaModel"],
        tie_word_embeddings=False,
    )
    assert audit(folder)[0] == 0


NAMES = {
    "gpt2": ("transformer.wte.weight", "lm_head.weight"),
    "gpt2 without a prefix": ("wte.weight", "lm_head.weight"),
    "bloom": ("word_embeddings.weight", "lm_head.weight"),
    "neox": ("gpt_neox.embed_in.weight", "embed_out.weight"),
    "meta": ("tok_embeddings.weight", "output.weight"),
    "chatglm": ("transformer.embedding.word_embeddings.weight", "transformer.output_layer.weight"),
    "opt": ("model.decoder.embed_tokens.weight", "lm_head.weight"),
    "mamba": ("backbone.embeddings.weight", "lm_head.weight"),
    "rwkv": ("rwkv.embeddings.weight", "head.weight"),
    "whisper": ("model.decoder.embed_tokens.weight", "proj_out.weight"),
    "wrapped": ("_orig_mod.module.model.embed_tokens.weight", "_orig_mod.module.lm_head.weight"),
    "a model of many": ("model.language_model.embed_tokens.weight", "lm_head.weight"),
    "new names": ("frontend.lut", "backend.mat"),
    "one new name": ("model.embed_tokens.weight", "backend.mat"),
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("head", [E, OTHER], ids=["equal", "different"])
def test_names_of_frameworks_and_new_ones(names, head, audit, tmp_path):
    folder = checkpoint(
        tmp_path / "m",
        E,
        head.copy(),
        names=names,
        model_type="new",
        architectures=["NewForCausalLM"],
        tie_word_embeddings=True,
    )
    _, (row,), _ = audit(folder)
    assert {t["role"]: t["name"] for t in row["tables"]}.keys() == {"embedding", "head"}
    assert {t["name"] for t in row["tables"]} == set(names)
    assert row["verdict"] == ("agreement" if head is E else "contradiction")


def test_ambiguous_by_shape_is_not_decidable(audit, tmp_path):
    from safetensors.numpy import save_file

    folder = checkpoint(tmp_path / "m", architectures=["NewForCausalLM"], tie_word_embeddings=True)
    save_file({"one": E, "two": OTHER, "three": table(2)}, folder / "model.safetensors")
    status, (row,), err = audit(folder)
    assert (status, row["verdict"]) == (2, "not decidable")
    assert all(name in err for name in ("one", "two", "three"))
    checkpoint(tmp_path / "m", E, OTHER, names=("one", "two"), tie_word_embeddings=True)
    status, (row,), err = audit(folder)
    assert (status, row["verdict"], row["tables"]) == (2, "not decidable", []) and "the class" in err


def test_a_folder_of_folders_and_many_paths(audit, tiecheck, tmp_path):
    checkpoint(tmp_path / "all" / "good", E, None, tie_word_embeddings=True)
    checkpoint(tmp_path / "all" / "deep" / "bad", E, OTHER, tie_word_embeddings=True)
    status, rows, _ = audit(tmp_path / "all")
    assert status == 1 and [row["verdict"] for row in rows] == ["contradiction", "agreement"]
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 20)
    status, rows, err = audit(tmp_path / "all", tmp_path / "broken.safetensors")
    assert status == 2 and [row["verdict"] for row in rows][-1] == "unreadable" and "broken.safetensors" in err
    status, out, _ = tiecheck("audit", tmp_path / "all")
    assert status == 1 and "1 agree, 1 contradict themselves" in out and len(out.strip().splitlines()) == 5


def test_views(tiecheck, tmp_path):
    checkpoint(tmp_path / "a|b", E, OTHER, tie_word_embeddings=True)
    files = {view: tmp_path / f"report.{view}" for view in ("json", "junit", "markdown")}
    status, out, err = tiecheck("audit", tmp_path / "a|b", *(x for v, f in files.items() for x in (f"--{v}", f)))
    assert status == 1 and not err and out.startswith("contradiction: ")
    assert json.loads(files["json"].read_text())["complete"] is True
    assert '<failure message="tied: ' in files["junit"].read_text() and 'failures="1"' in files["junit"].read_text()
    text = files["markdown"].read_text()
    assert text.startswith("### ❌ 1 contradict themselves") and "a&#124;b" in text
    status, out, _ = tiecheck("audit", tmp_path / "a|b", "--quiet")
    assert status == 1 and len(out.strip().splitlines()) == 1


def test_a_report_replaces_nothing_that_is_audited(tiecheck, tmp_path):
    folder = checkpoint(tmp_path / "m", E, None, tie_word_embeddings=True)
    before = (folder / "config.json").read_bytes()
    status, _, err = tiecheck("audit", folder, "--json", folder / "config.json")
    assert status == 2 and "reads" in err and (folder / "config.json").read_bytes() == before


def test_no_path(tiecheck):
    assert tiecheck("audit")[0] == 2


def test_without_transformers_the_table_that_is_shipped_answers(audit, tmp_path, monkeypatch):
    from tiecheck.conformance.audit import installed

    monkeypatch.setattr(installed, "version", lambda: None)
    folder = checkpoint(tmp_path / "m", E, None, names=GPT2, model_type="gpt2", architectures=["GPT2LMHeadModel"])
    status, (row,), _ = audit(folder)
    assert (
        status == 0
        and "comes with tiecheck" in row["claim"]["says"]
        and "comes with tiecheck" in row["claim"]["obeyed"]
    )


def test_another_transformers_is_asked_itself(audit, tmp_path, monkeypatch):
    from tiecheck.conformance.audit import installed

    monkeypatch.setattr(installed, "version", lambda: "99.0")
    folder = checkpoint(tmp_path / "m", E, None, names=GPT2, model_type="gpt2", architectures=["GPT2LMHeadModel"])
    status, (row,), _ = audit(folder)
    assert status == 0 and "transformers 99.0, installed" in row["claim"]["says"]
    assert "transformers 99.0, installed" in row["claim"]["obeyed"]


def test_packed_tables_are_compared_by_their_bytes(audit, tmp_path):
    packed = np.random.default_rng(0).integers(0, 2**32, (V, 2), dtype=np.uint32)
    folder = checkpoint(tmp_path / "m", packed, packed.copy(), tie_word_embeddings=True)
    status, (row,), _ = audit(folder)
    assert (status, row["state"]) == (0, "equal")
    status, (row,), _ = audit(checkpoint(tmp_path / "m", packed, packed + 1, tie_word_embeddings=True))
    assert (status, row["verdict"], row["state"]) == (2, "not decidable", "unknown")


def test_a_head_that_was_packed_by_a_quantizer_is_seen(audit, tmp_path):
    from safetensors.numpy import save_file

    folder = checkpoint(tmp_path / "m", tie_word_embeddings=False)
    save_file(
        {
            "model.embed_tokens.weight": E,
            "lm_head.qweight": np.ones((1, V), np.int32),
            "lm_head.scales": np.ones((1, V), np.float16),
        },
        folder / "model.safetensors",
    )
    status, (row,), _ = audit(folder)
    assert (status, row["verdict"], row["state"]) == (0, "agreement", "unknown"), row
    (folder / "config.json").write_text((folder / "config.json").read_text().replace("false", "true"))
    assert audit(folder)[0] == 2


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["transformer.wpe.weight", "transformer.memory.weight"])
def test_a_table_of_positions_is_no_head(tied, name, audit, tmp_path):
    claims = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "tie_word_embeddings": tied}
    names = ("transformer.wte.weight", name)
    status, (row,), _ = audit(checkpoint(tmp_path / "m", E, OTHER, names=names, **claims))
    assert (status, row["state"]) == (0 if tied else 1, "embedding only"), row
    assert [t["name"] for t in row["tables"]] == [names[0]]
    if not tied:
        assert row["mend"]["action"] == "set flag true"


@pytest.mark.parametrize(
    "name",
    [
        "wpe.weight",
        "pos_emb.weight",
        "pe.weight",
        "pos_embed",
        "positional_embedding",
        "net.embed_positions.weight",
        "position.weight",
        "segment_embeddings.weight",
        "net.token_type_embeddings.weight",
        "type_emb.weight",
    ],
)
def test_names_of_positions_and_types_go_by_no_shape(name, audit, tmp_path):
    claims = {"model_type": "new", "architectures": ["NewForCausalLM"], "tie_word_embeddings": True}
    for lookup, head, state in (("net.tok_emb.weight", name, "embedding only"), (name, "lm_head.weight", "head only")):
        status, (row,), _ = audit(checkpoint(tmp_path / "m", E, OTHER, names=(lookup, head), **claims))
        assert (status, row["state"]) == (0, state), row


@pytest.mark.parametrize(
    ("tied", "head", "action"), [(True, E, "drop head"), (True, OTHER, ""), (False, E, ""), (False, OTHER, "")]
)
def test_a_head_that_lies_transposed_is_refused_by_a_known_class(tied, head, action, audit, tmp_path):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    made = transformers.LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=V,
        hidden_size=8,
        intermediate_size=V,
        num_hidden_layers=1,
        num_attention_heads=1,
    )
    folder = checkpoint(
        tmp_path / "m", E, np.ascontiguousarray(head.T), **made.to_dict() | {"tie_word_embeddings": tied}
    )
    status, (row,), _ = audit(folder)
    assert (status, row["verdict"]) == (1, "contradiction"), row
    assert "transposed, 8 x 48" in row["message"] and row["tables"][1]["shape"] == [8, V]
    assert row["mend"]["action"] == action
    assert [(x["loader"], x["outcome"]) for x in row["loaders"]] == [("transformers", "refuses")]
    with pytest.raises(RuntimeError, match="mismatch"):
        transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if action:
        assert audit(folder, "--write", tmp_path / "out")[0] == 0
        loaded = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "out")
        assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_a_head_that_lies_transposed_in_an_unknown_class_may_be_meant(audit, tmp_path):
    claims = {"model_type": "new", "architectures": ["NewForCausalLM"], "tie_word_embeddings": True}
    assert audit(checkpoint(tmp_path / "m", E, np.ascontiguousarray(E.T), **claims))[0] == 0


@pytest.mark.parametrize("tied", [True, False])
def test_no_loader_misses_a_head_that_is_not_owed(tied, audit, tmp_path):
    claims = {"architectures": ["LlamaModel"], "tie_word_embeddings": tied}
    status, (row,), _ = audit(checkpoint(tmp_path / "m", E, None, names=("embed_tokens.weight", ""), **claims))
    assert status == 0 and row["loaders"] == [] and "has no head" in row["claim"]["obeyed"]


def test_one_row_is_told_as_one(audit, tmp_path):
    head = E.copy()
    head[9] += 0.5
    _, (row,), _ = audit(checkpoint(tmp_path / "m", E, head, tie_word_embeddings=True))
    assert "1 of 48 rows differs (row 9); by up to 0.5" in row["message"]


def test_quiet_says_what_was_written(tiecheck, tmp_path):
    folder = checkpoint(tmp_path / "m", E, OTHER, tie_word_embeddings=True)
    status, out, _ = tiecheck("audit", folder, "--quiet", "--write", tmp_path / "out")
    assert status == 0 and f"{tmp_path / 'out'}: written by `set flag false`" in out
