"""What is said beside the verdict: what a loader does with the files as they are called, and why a mend is left."""

import json

import pytest
import torch
import transformers
from made import checkpoint, config, table
from safetensors.torch import load_file, save_file
from test_writers import as_bin, model

E, OTHER = table(), table(1)
SIZES = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
BART = transformers.BartConfig(vocab_size=60, d_model=16, encoder_attention_heads=2, decoder_attention_heads=2, **SIZES)


def test_a_further_table_that_transformers_leaves_apart(audit, tmp_path):
    model("t5", True).save_pretrained(tmp_path)
    held = load_file(tmp_path / "model.safetensors")
    held["encoder.embed_tokens.weight"] = torch.randn_like(held["shared.weight"])
    save_file(held, tmp_path / "model.safetensors", {"format": "pt"})
    status, (row,), _ = audit(tmp_path)
    told = row["loaders"][0]
    assert status == 1 and (told["loader"], told["outcome"]) == ("transformers", "untied")
    assert "encoder.embed_tokens.weight a table of its own" in told["says"]
    loaded = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.encoder.embed_tokens.weight is not loaded.shared.weight is loaded.lm_head.weight
    status, _, err = audit(tmp_path, "--write", tmp_path.parent / f"{tmp_path.name}-out")
    assert status == 2 and "only its owner knows" in err


@pytest.mark.parametrize("name", ["ckpt.pt", "checkpoint.pt", "weights.safetensors"])
def test_files_that_transformers_does_not_look_for(name, audit, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config(tie_word_embeddings=True, num_attention_heads=1)))
    held = {"model.embed_tokens.weight": torch.from_numpy(E), "lm_head.weight": torch.from_numpy(OTHER)}
    save_file(held, tmp_path / name) if name.endswith("tensors") else torch.save({"model": held}, tmp_path / name)
    status, (row,), _ = audit(tmp_path)
    assert status == 1 and [(x["loader"], x["outcome"]) for x in row["loaders"]] == [("transformers", "refuses")]
    assert "finds neither" in row["loaders"][0]["says"]
    with pytest.raises(OSError, match="no file named"):
        transformers.LlamaForCausalLM.from_pretrained(tmp_path)


def test_a_mend_that_is_left_says_why(audit, tmp_path):
    made = model("llama", False)
    made.lm_head.weight.data.copy_(made.model.embed_tokens.weight.data)
    made.config.tie_word_embeddings = True
    made.save_pretrained(tmp_path / "m")
    as_bin(tmp_path / "m", made)
    status, (row,), _ = audit(tmp_path / "m")
    assert (status, row["state"], row["mend"]["action"]) == (0, "equal", "")
    assert "by hand: --write rewrites safetensors" in row["mend"]["says"]
    status, _, err = audit(tmp_path / "m", "--write", tmp_path / "out")
    assert status == 2 and "can be written: --write rewrites safetensors" in err and row["message"] not in err


def test_the_default_is_told_only_where_no_level_has_the_flag(audit, tmp_path):
    claims = {"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"]}
    inner = {"model_type": "llama", "tie_word_embeddings": True}
    names = ("model.language_model.embed_tokens.weight", "")
    _, (row,), _ = audit(checkpoint(tmp_path / "m", E, None, names=names, text_config=inner, **claims))
    assert "no flag" not in row["claim"]["says"] and "true at text_config" in row["claim"]["says"]
    assert "obeys the top level and text_config" in row["claim"]["obeyed"]


@pytest.mark.parametrize("tied", [True, False])
def test_the_config_of_another_architecture(tied, audit, tmp_path):
    model("gpt_neox", False).save_pretrained(tmp_path / "m")
    gpt2 = transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=60, tie_word_embeddings=tied)
    told = gpt2.to_dict() | {"architectures": ["GPT2LMHeadModel"]}
    (tmp_path / "m" / "config.json").write_text(json.dumps(told))
    status, (row,), _ = audit(tmp_path / "m")
    assert status == 1 and "another architecture: no key of GPT2LMHeadModel is stored" in row["message"]
    assert [(x["loader"], x["outcome"]) for x in row["loaders"]] == [("transformers", "broken")]
    assert row["mend"]["action"] == "" and audit(tmp_path / "m", "--write", tmp_path / "out")[0] == 2
    cls = transformers.GPT2LMHeadModel
    info = cls.from_pretrained(tmp_path / "m", output_loading_info=True)[1]
    assert len(info["unexpected_keys"]) == len(load_file(tmp_path / "m" / "model.safetensors"))


def test_a_prefix_of_a_trainer_is_no_other_architecture(audit, tmp_path):
    model("gpt2", True).save_pretrained(tmp_path)
    held = load_file(tmp_path / "model.safetensors")
    save_file({f"net.{name}": tensor for name, tensor in held.items()}, tmp_path / "model.safetensors")
    assert "another architecture" not in audit(tmp_path)[1][0]["message"]


def test_formats_that_disagree_are_told_by_the_one_that_is_loaded(audit, tmp_path):
    made = transformers.BartForConditionalGeneration(BART)
    made.save_pretrained(tmp_path / "m")
    torch.save(made.state_dict() | {"lm_head.weight": torch.randn(60, 16)}, tmp_path / "m" / "pytorch_model.bin")
    status, (row,), _ = audit(tmp_path / "m")
    assert status == 1 and "the torch files do not" in row["message"]
    assert row["state"] == "embedding only" and row["loaders"][0]["outcome"] == "tied"
    assert "remove the torch files" in row["mend"]["says"] and row["mend"]["action"] == ""
    loaded = transformers.BartForConditionalGeneration.from_pretrained(tmp_path / "m")
    assert loaded.lm_head.weight is loaded.model.shared.weight


def test_a_copy_of_a_table_of_nan_is_no_waste(audit, tmp_path):
    broken = table()
    broken[3] = float("nan")
    status, (row,), err = audit(checkpoint(tmp_path / "m", broken, broken.copy(), tie_word_embeddings=True))
    assert status == 2 and row["wasted_bytes"] == 0 and "first in row 3" in err and "equals nothing" not in err
