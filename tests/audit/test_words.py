"""What is said beside the verdict: what a loader does with the files as they are called, and why a mend is left."""

import json

import pytest
import torch
import transformers
from made import checkpoint, config, table
from safetensors.torch import load_file, save_file
from test_writers import as_bin, model

E, OTHER = table(), table(1)


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
