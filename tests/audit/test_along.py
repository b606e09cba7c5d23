"""What a class ties under the flag beside the two tables: a flag set to false leaves each name to itself."""

import json

import pytest
import torch
import transformers
from made import checkpoint, table
from safetensors.torch import load_file, save_file
from tiecheck.conformance.audit import facts

NARROW = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
BART = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
BART |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 32}
KINDS = {
    "roberta": (transformers.RobertaForMaskedLM, NARROW, "lm_head.decoder.bias"),
    "bert": (transformers.BertForMaskedLM, NARROW, "cls.predictions.decoder.bias"),
    "bart": (transformers.BartForConditionalGeneration, BART, "model.encoder.embed_tokens.weight"),
}


def apart(kind, folder):
    """A tied model, all of whose parameters are drawn, saved; then a head of its own is put into the file."""
    cls, sizes, _ = KINDS[kind]
    torch.manual_seed(0)
    made = cls(cls.config_class(vocab_size=60, pad_token_id=0, **sizes))
    with torch.no_grad():
        for weight in made.parameters():
            weight.normal_()
    made.save_pretrained(folder)
    held = load_file(folder / "model.safetensors")
    head = next(name for name in facts.ties(cls.__name__)[0] if name.endswith("weight"))
    save_file(held | {head: torch.randn(60, 16)}, folder / "model.safetensors", {"format": "pt"})
    return cls


def logits(cls, folder):
    with torch.no_grad():
        return cls.from_pretrained(folder).eval()(torch.arange(1, 9)[None]).logits


@pytest.mark.parametrize("kind", KINDS)
def test_the_mend_stores_all_that_the_flag_tied(kind, audit, tmp_path):
    cls = apart(kind, tmp_path / "m")
    status, rows, _ = audit(tmp_path / "m", "--write", tmp_path / "out")
    assert (status, rows[0]["mend"]["action"]) == (0, "set flag false"), rows
    assert f" as {KINDS[kind][2]}" in rows[0]["mend"]["says"]
    assert KINDS[kind][2] in load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(logits(cls, tmp_path / "m"), logits(cls, tmp_path / "out"))


def test_what_is_not_stored_under_a_flag_that_says_false(audit, tmp_path):
    cls = apart("roberta", tmp_path / "m")
    told = json.loads((tmp_path / "m" / "config.json").read_text()) | {"tie_word_embeddings": False}
    (tmp_path / "m" / "config.json").write_text(json.dumps(told))
    status, rows, _ = audit(tmp_path / "m")
    assert status == 1 and "lm_head.decoder.bias is not stored" in rows[0]["message"], rows
    assert not cls.from_pretrained(tmp_path / "m").lm_head.decoder.bias.any()
    assert audit(tmp_path / "m", "--write", tmp_path / "out")[0] == 0
    assert cls.from_pretrained(tmp_path / "out").lm_head.decoder.bias.any()


def test_torch_files_are_left_to_their_owner(audit, tmp_path):
    apart("bert", tmp_path / "m")
    torch.save(load_file(tmp_path / "m" / "model.safetensors"), tmp_path / "m" / "pytorch_model.bin")
    (tmp_path / "m" / "model.safetensors").unlink()
    status, _, err = audit(tmp_path / "m", "--write", tmp_path / "out")
    assert status == 2 and "by the same flag, and --write rewrites no torch files" in err


def test_nothing_is_turned_where_other_fields_decide(audit, tmp_path):
    names = ("model.shared.weight", "lm_head.weight")
    claims = {"model_type": "marian", "architectures": ["MarianMTModel"], "tie_word_embeddings": True}
    folder = checkpoint(tmp_path / "m", table(), table(1), names=names, **claims)
    status, _, err = audit(folder, "--write", tmp_path / "out")
    assert status == 2 and "other fields of the config decide" in err
