"""Files made by the writers that people use; how each was made says what must be found."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file, save_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM


@pytest.fixture(autouse=True)
def quiet():
    """What transformers says while it writes is no matter of these tests; other tests hear it."""
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity(level)


V, D = 60, 16
SMALL = {
    "llama": {"hidden_size": D, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2},
    "gpt2": {"n_embd": D, "n_layer": 1, "n_head": 2, "n_positions": 16},
    "qwen2": {
        "hidden_size": D, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
    },
    "gpt_neox": {"hidden_size": D, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2},
    "opt": {
        "hidden_size": D, "word_embed_proj_dim": D, "ffn_dim": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
        "max_position_embeddings": 16,
    },
    "bloom": {"hidden_size": D, "n_layer": 1, "n_head": 2},
    "bert": {
        "hidden_size": D, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 16,
    },
    "t5": {"d_model": D, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2},
    "mamba": {"hidden_size": D, "num_hidden_layers": 1, "state_size": 4},
}  # fmt: skip
CLASS = {"bert": AutoModelForMaskedLM, "t5": AutoModelForSeq2SeqLM}


def model(kind, tied):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=V, pad_token_id=0, **SMALL[kind])
    config.tie_word_embeddings = tied
    return CLASS.get(kind, AutoModelForCausalLM).from_config(config)


def flag(folder, value):
    config = json.loads((folder / "config.json").read_text())
    if value is None:
        config.pop("tie_word_embeddings", None)
    else:
        config["tie_word_embeddings"] = value
    (folder / "config.json").write_text(json.dumps(config))


def as_bin(folder, made):
    (folder / "model.safetensors").unlink()
    torch.save(made.state_dict(), folder / "pytorch_model.bin")


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", SMALL)
def test_save_pretrained(kind, tied, audit, tmp_path):
    model(kind, tied).save_pretrained(tmp_path)
    status, (row,), _ = audit(tmp_path)
    assert (status, row["claim"]["tied"]) == (0, tied), row
    assert row["state"] == ("embedding only" if tied else "different"), row
    assert row["claim"]["obeyed"].endswith("installed)")


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", SMALL)
def test_the_flag_turned_between_save_and_load(kind, tied, audit, tmp_path):
    model(kind, tied).save_pretrained(tmp_path)
    flag(tmp_path, not tied)
    status, (row,), _ = audit(tmp_path)
    assert (status, row["verdict"]) == (1, "contradiction"), row
    assert row["mend"]["action"] == ("set flag true" if tied else "set flag false")


@pytest.mark.parametrize("rounded", [False, True])
def test_a_head_in_a_wider_dtype_is_the_table_where_nothing_was_rounded(rounded, audit, tmp_path):
    made = model("llama", True).to(torch.bfloat16)
    made.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    held = load_file(file)
    held["lm_head.weight"] = held["model.embed_tokens.weight"].float() * (1 + rounded * 2**-12)
    save_file(held, file, {"format": "pt"})
    status, (row,), _ = audit(tmp_path)
    assert (status, row["state"]) == ((1, "nearly") if rounded else (0, "equal")), row


def test_a_flag_that_is_null_is_refused_as_the_library_refuses_it(audit, tmp_path):
    model("llama", True).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"tie_word_embeddings": None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    status, (row,), _ = audit(tmp_path)
    assert status == 2 and "neither true nor false" in json.dumps(row), row


@pytest.mark.parametrize("kind", SMALL)
def test_shards(kind, audit, tmp_path):
    model(kind, False).save_pretrained(tmp_path, max_shard_size="4KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    status, (row,), _ = audit(tmp_path)
    assert (status, row["state"]) == (0, "different"), row


@pytest.mark.parametrize("claim", [True, False, None])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_torch_save_of_a_state_dict(tied, claim, audit, tmp_path):
    made = model("llama", tied)
    made.save_pretrained(tmp_path)
    as_bin(tmp_path, made)
    flag(tmp_path, claim)
    status, (row,), _ = audit(tmp_path)
    assert row["format"] == "torch"
    assert row["state"] == ("one table" if tied else "different")
    claimed = bool(claim)  # the default of llama is untied
    assert status == (0 if claimed == tied else 1), row


def test_a_checkpoint_of_a_trainer(audit, tmp_path):
    made = model("llama", True)
    torch.save(
        {"model": made.state_dict(), "step": 3, "lr": 1e-3, "best": None, "log": [1, 2.5, "x"]}, tmp_path / "last.pt"
    )
    status, (row,), _ = audit(tmp_path / "last.pt")
    assert (status, row["state"]) == (0, "one table"), row


def test_parameters_and_views_of_torch(audit, tmp_path):
    table = torch.randn(V, D)
    torch.save(
        {"embed_tokens.weight": torch.nn.Parameter(table), "lm_head.weight": table.t().contiguous().t()},
        tmp_path / "a.pt",
    )
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "tie_word_embeddings": True}))
    status, (row,), _ = audit(tmp_path / "a.pt")
    assert (status, row["state"]) == (0, "equal"), row


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]
)
@pytest.mark.parametrize("writer", ["safetensors", "torch"])
def test_dtypes(writer, dtype, audit, tmp_path):
    table = torch.randn(V, D)
    tensors = {"embed_tokens.weight": table, "lm_head.weight": table.to(dtype)}
    if writer == "safetensors":
        save_file(tensors, tmp_path / "model.safetensors")
    else:
        torch.save(tensors, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "tie_word_embeddings": True}))
    status, (row,), _ = audit(tmp_path)
    rounded = dtype is not torch.float64
    assert row["comparison"]["kind"] == "dtype"
    assert (status, row["state"]) == ((1, "nearly") if rounded else (0, "equal")), row
    tensors["lm_head.weight"] = torch.randn(V, D).to(dtype)
    save_file(tensors, tmp_path / "model.safetensors")
    status, (row,), _ = audit(tmp_path)
    assert (status, row["state"]) == (1, "different"), row


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_save_model_of_safetensors_leaves_a_name_out(kind, audit, tmp_path):
    save_model(model(kind, True), str(tmp_path / "model.safetensors"))
    status, (row,), _ = audit(tmp_path / "model.safetensors")
    assert status == 0 and "metadata" in row["message"], row
    (tmp_path / "model.safetensors").unlink()
    save_model(model(kind, False), str(tmp_path / "model.safetensors"))
    assert audit(tmp_path / "model.safetensors")[0] == 2  # two tables, and nothing that claims


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_resized(kind, tied, audit, tmp_path):
    made = model(kind, tied)
    made.resize_token_embeddings(V + 8)
    made.save_pretrained(tmp_path)
    status, (row,), _ = audit(tmp_path)
    assert status == 0 and row["tables"][0]["shape"] == [V + 8, D]


def test_one_side_resized(audit, tmp_path):
    made = model("llama", False)
    made.lm_head.weight.data.copy_(made.model.embed_tokens.weight.data)
    made.model.embed_tokens = torch.nn.Embedding.from_pretrained(
        torch.cat([made.model.embed_tokens.weight.data, torch.zeros(4, D)])
    )
    made.save_pretrained(tmp_path)
    flag(tmp_path, True)
    status, (row,), _ = audit(tmp_path)
    assert (status, row["comparison"]["kind"]) == (1, "rows"), row
    assert row["loaders"][0]["outcome"] == "refuses"
    with pytest.raises(RuntimeError, match="mismatched"):
        AutoModelForCausalLM.from_pretrained(tmp_path)


@pytest.mark.parametrize("same", [True, False], ids=["same", "trained on"])
def test_both_formats_in_one_folder(same, audit, tmp_path):
    made = model("llama", True)
    made.save_pretrained(tmp_path)
    if not same:
        made.model.embed_tokens.weight.data += 1
    torch.save(made.state_dict(), tmp_path / "pytorch_model.bin")
    status, (row,), _ = audit(tmp_path)
    assert (status, row["format"]) == (0 if same else 1, "safetensors+torch"), row


@pytest.mark.parametrize("claim", [True, False])
@pytest.mark.parametrize("state", ["embedding only", "equal", "nearly", "different"])
def test_the_table_of_facts_says_what_transformers_does(state, claim, audit, tmp_path):
    made = model("llama", state == "embedding only")
    if state == "equal":
        made.lm_head.weight.data.copy_(made.model.embed_tokens.weight.data)
    made.save_pretrained(tmp_path)
    flag(tmp_path, claim)
    if state == "nearly":
        held = load_file(tmp_path / "model.safetensors")
        held["lm_head.weight"] = held["model.embed_tokens.weight"].bfloat16()
        save_file(held, tmp_path / "model.safetensors", {"format": "pt"})
    _, (row,), _ = audit(tmp_path)
    assert row["state"] == state
    said = next(x["outcome"] for x in row["loaders"] if x["loader"] == "transformers")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    one, two = loaded.get_input_embeddings().weight, loaded.get_output_embeddings().weight
    if said == "broken":
        assert one is not two and not torch.equal(one, two)  # a head at random
    else:
        assert said == ("tied" if one is two else "untied")


def test_the_shipped_table_is_of_the_installed_transformers():
    from tiecheck.conformance.audit import facts, installed

    if installed.version() != facts.shipped()["transformers"]:
        pytest.skip(
            f"the table is of transformers {facts.shipped()['transformers']}, and {installed.version()} is installed"
        )
    table = facts.shipped()
    for name in [*list(table["classes"])[::20], *CLASSES]:  # all of them: python docs/audit_facts.py --check
        assert installed.ties(name) == table["classes"][name]
    for name in list(table["defaults"])[::5]:
        assert installed.default(name, {}) == table["defaults"][name]


CLASSES = ("LlamaForCausalLM", "GPT2LMHeadModel", "T5ForConditionalGeneration", "MllamaForConditionalGeneration")
