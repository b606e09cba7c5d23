"""What a class makes of the flag that a config gives, and what else it reads off it: mends turn the tie alone."""

import json

import pytest
import torch
import transformers
from made import checkpoint, table
from safetensors.torch import load_file, save_file
from tiecheck.conformance.audit import facts, installed
from tiecheck.conformance.audit.flags import turned
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

FLAG = "tie_word_embeddings"
E, OTHER = table(), table(1)
SIZES = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}
SCALED = {
    "t5": transformers.T5ForConditionalGeneration,
    "umt5": transformers.UMT5ForConditionalGeneration,
    "longt5": transformers.LongT5ForConditionalGeneration,
}
HOW = facts.shipped()["reads"]
NESTED = [name for name, how in HOW.items() if how.get("nested") == ["text_config"] and name != "vibevoice"]


def of_old(kind, folder, flag, head):
    """As files were before the scale had a key of its own; with a head of its own, or without."""
    torch.manual_seed(0)
    made = SCALED[kind](CONFIG_MAPPING[kind](**SIZES, decoder_start_token_id=0, pad_token_id=0)).eval()
    made.save_pretrained(folder)
    told = json.loads((folder / "config.json").read_text())
    told = {key: value for key, value in told.items() if key not in (FLAG, "scale_decoder_outputs")}
    (folder / "config.json").write_text(json.dumps(told | ({} if flag is None else {FLAG: flag})))
    held = load_file(folder / "model.safetensors")
    if head:
        held["lm_head.weight"] = torch.randn_like(held["shared.weight"])
    save_file(held, folder / "model.safetensors", {"format": "pt"})


def logits(kind, folder):
    made = SCALED[kind].from_pretrained(folder).eval()
    ids = torch.arange(1, 9)[None]
    with torch.no_grad():
        return made(input_ids=ids, decoder_input_ids=ids).logits


@pytest.mark.parametrize(("flag", "head"), [(None, True), (True, True), (False, False)])
@pytest.mark.parametrize("kind", SCALED)
def test_turning_the_flag_turns_no_scale(kind, flag, head, audit, tmp_path):
    of_old(kind, tmp_path / "m", flag, head)
    status, rows, _ = audit(tmp_path / "m", "--write", tmp_path / "out")
    assert (status, rows[0]["verdict"]) == (0, "contradiction"), rows
    assert "scale_decoder_outputs" in rows[0]["mend"]["says"]
    told = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (told[FLAG], told["scale_decoder_outputs"]) == (not head, flag is not False)
    assert torch.equal(logits(kind, tmp_path / "m"), logits(kind, tmp_path / "out"))


@pytest.mark.parametrize(("tied", "head"), [(True, OTHER), (False, None)])
def test_a_forward_that_reads_the_flag_is_not_mended_by_turning_it(tied, head, audit, tmp_path):
    name = "SwitchTransformersForConditionalGeneration"
    claims = {"model_type": "switch_transformers", "architectures": [name], FLAG: tied}
    folder = checkpoint(tmp_path / "m", E, head, names=("shared.weight", "lm_head.weight"), **claims)
    status, rows, err = audit(folder, "--write", tmp_path / "out")
    assert (status, rows) == (2, []) and f"the forward of {name}" in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists() and audit(folder)[1][0]["mend"]["action"] == ""
    sizes = SIZES | {"num_decoder_layers": 1, "num_experts": 2}
    made = getattr(transformers, name)(CONFIG_MAPPING["switch_transformers"](**sizes)).eval()
    ids, seen = torch.arange(1, 9)[None], []
    for value in (True, False):
        made.config.tie_word_embeddings = value
        seen.append(made(input_ids=ids, decoder_input_ids=ids).logits)
    assert not torch.equal(*seen)


@pytest.mark.parametrize("kind", ["t5", "mt5"])
def test_a_class_that_ties_whatever_is_said_is_told_so(kind, audit, tmp_path):
    name = {"t5": "T5ForConditionalGeneration", "mt5": "MT5ForConditionalGeneration"}[kind]
    names = ("shared.weight", "lm_head.weight")
    claims = {"model_type": kind, "architectures": [name], FLAG: False, "scale_decoder_outputs": False}
    status, (row,), _ = audit(checkpoint(tmp_path / "m", E, None, names=names, **claims))
    assert (status, row["claim"]["tied"]) == (1, False)
    assert "obeys no level: it ties" in row["claim"]["obeyed"] and row["loaders"][0]["outcome"] == "tied"
    assert any("takes the flag for true" in note for note in row["notes"])
    status, (row,), _ = audit(checkpoint(tmp_path / "n", E, OTHER, names=names, **claims))
    assert status == 0 and "warns" in row["loaders"][0]["says"]
    assert CONFIG_MAPPING[kind].from_dict({FLAG: False}).tie_word_embeddings is True


def test_a_nested_flag_that_is_turned_with_it_turns_no_scale_either():
    config = {"model_type": "llama", "text_encoder": {"model_type": "t5", FLAG: True}, FLAG: True}
    change = turned(config, False)
    assert change.config["text_encoder"] == {"model_type": "t5", FLAG: False, "scale_decoder_outputs": True}
    assert "scale_decoder_outputs" not in change.config and config["text_encoder"][FLAG] is True


def composite(kind, top, text):
    inner = {"model_type": getattr(CONFIG_MAPPING[kind].sub_configs["text_config"], "model_type", "llama")}
    inner |= {} if text is None else {FLAG: text}
    return {"model_type": kind, "architectures": ..., "text_config": inner} | ({} if top is None else {FLAG: top})


@pytest.mark.parametrize("top", [False, None])
@pytest.mark.parametrize("kind", NESTED)
def test_either_of_two_levels_ties(kind, top, audit, tmp_path):
    claims = composite(kind, top, True)
    asked = {key: value for key, value in claims.items() if value is not ...}
    assert CONFIG_MAPPING[kind].from_dict(asked).tie_word_embeddings is True
    _, (row,), _ = audit(checkpoint(tmp_path / "none", E, None, **claims))
    assert (row["verdict"], row["claim"]["tied"]) == ("agreement", True), row
    assert "true at text_config" in row["claim"]["says"] or (top is None and not HOW[kind]["absent"])
    assert row["loaders"][0]["outcome"] == "tied"
    folder = checkpoint(tmp_path / "two", E, OTHER, **claims)
    status, rows, _ = audit(folder, "--write", tmp_path / "out")
    assert (status, rows[0]["verdict"], rows[1]["claim"]["tied"]) == (0, "contradiction", False), rows


def test_the_default_of_a_nested_config_is_told_as_its_own(audit, tmp_path):
    claims = composite("llava", None, None) | {"text_config": {"model_type": "gemma"}}
    assert CONFIG_MAPPING["llava"].from_dict({"text_config": {"model_type": "gemma"}}).tie_word_embeddings is True
    _, (row,), _ = audit(checkpoint(tmp_path / "m", E, None, **claims))
    assert row["verdict"] == "agreement" and "llava with a text_config of gemma is true" in row["claim"]["says"]
    folder = checkpoint(tmp_path / "two", E, OTHER, **claims)
    assert audit(folder, "--write", tmp_path / "out")[0] == 0
    told = json.loads((tmp_path / "out" / "config.json").read_text())
    assert CONFIG_MAPPING["llava"].from_dict(told).tie_word_embeddings is False


def test_without_transformers_the_table_says_the_same(monkeypatch, audit, tmp_path):
    monkeypatch.setattr(installed, "version", lambda: None)
    status, (row,), _ = audit(checkpoint(tmp_path / "m", E, OTHER, **composite("qwen2_vl", False, True)))
    assert (status, row["claim"]["tied"]) == (1, True) and "table of facts" in row["claim"]["says"]


def test_what_is_shipped_is_what_the_installed_classes_do():
    table = facts.shipped()
    if installed.version() != table["transformers"]:
        pytest.skip(f"the table is of transformers {table['transformers']}")
    for name in {*table["reads"], *list(table["defaults"])[::25]}:  # all of them: python docs/audit_facts.py --check
        assert installed.reads(name) == table["reads"].get(name, {}), name
    for name in {*table["moved"], "mt5", "llama", "switch_transformers"}:
        assert installed.moved(name) == table["moved"].get(name, {}), name
    for name in {*table["computes"], "LlamaForCausalLM", "T5ForConditionalGeneration"}:
        assert installed.computes(name) == (name in table["computes"])


def test_a_model_in_a_class_that_names_nothing_ties_by_its_own_level(audit, tmp_path):
    names = ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight")
    claims = {"model_type": "llama4", "architectures": ["Llama4ForConditionalGeneration"], FLAG: False}
    for flag in (True, False):
        told = claims | {"text_config": {"model_type": "llama4_text", FLAG: flag}}
        folder = checkpoint(tmp_path / str(flag), E, None if flag else OTHER, names=names, **told)
        status, (row,), _ = audit(folder)
        assert (status, row["claim"]["tied"]) == (0, flag), row
        assert "obeys text_config" in row["claim"]["obeyed"]
