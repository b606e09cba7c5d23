"""The rows of the tables against the vocab_size of the config, for classes whose tables are known to have that many."""

import importlib.util
from pathlib import Path

import pytest
import transformers
from made import V, checkpoint, table
from tiecheck.conformance.audit import facts, installed

E = table()
SMALL = {"num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": V}


@pytest.mark.parametrize(
    ("tied", "rows", "head", "wrong"),
    [
        (False, V, V - 4, "lm_head.weight has 44 rows"),
        (False, V, V + 8, "lm_head.weight has 56 rows"),
        (False, V + 4, V, "model.embed_tokens.weight has 52 rows"),
        (False, V + 4, V + 4, "model.embed_tokens.weight has 52 rows and lm_head.weight has 52 rows"),
        (True, V - 4, None, "model.embed_tokens.weight has 44 rows"),
    ],
)
def test_a_table_of_another_size(tied, rows, head, wrong, audit, tmp_path):
    other = None if head is None else table(1, rows=head)
    folder = checkpoint(tmp_path / "m", table(rows=rows), other, tie_word_embeddings=tied, **SMALL)
    status, (row,), _ = audit(folder)
    assert status == 1 and f"{wrong} where vocab_size gives {V}" in row["message"], row
    assert [loader["outcome"] for loader in row["loaders"]] == ["refuses"] and row["mend"]["action"] == ""
    with pytest.raises(RuntimeError, match="mismatch"):
        transformers.LlamaForCausalLM.from_pretrained(folder)
    status, _, err = audit(folder, "--write", tmp_path / "out")
    assert status == 2 and "which size is meant" in err


def test_the_size_of_the_level_that_matters(audit, tmp_path):
    claims = {"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"], "tie_word_embeddings": True}
    names = ("model.language_model.embed_tokens.weight", "")
    for rows, status in ((V, 0), (V + 1, 1)):
        inner = {"model_type": "gemma3_text", "vocab_size": rows, "hidden_size": 8}
        folder = checkpoint(tmp_path / str(rows), E, None, names=names, vocab_size=7, text_config=inner, **claims)
        assert audit(folder)[0] == status


@pytest.mark.parametrize("claims", [{"architectures": ["NewForCausalLM"]}, {"vocab_size": ...}, {"vocab_size": "48"}])
def test_nothing_is_claimed_of_what_is_not_known(claims, audit, tmp_path):
    head = table(1, rows=V + 8)
    assert audit(checkpoint(tmp_path / "m", E, head, tie_word_embeddings=False, **claims))[0] == 0


@pytest.mark.parametrize("share", [True, False])
def test_a_class_with_two_vocabularies(share, audit, tmp_path):
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "pad_token_id": 0}
    other = V if share else V - 8
    config = transformers.MarianConfig(vocab_size=V, decoder_vocab_size=other, **sizes, **heads)
    config.share_encoder_decoder_embeddings = share
    transformers.MarianMTModel(config).save_pretrained(tmp_path)
    status, (row,), _ = audit(tmp_path)
    assert status == 0 and row["loaders"][0]["outcome"] == "tied", row


def test_what_is_shipped_is_seen_on_the_installed_classes():
    if installed.version() != facts.shipped()["transformers"]:
        pytest.skip(f"the table is of transformers {facts.shipped()['transformers']}")
    path = Path(__file__).parents[2] / "docs" / "audit_facts.py"
    spec = importlib.util.spec_from_file_location("audit_facts", path)
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    table = facts.shipped()["sized"]
    for name in ["LlamaForCausalLM", "PhiForCausalLM", "T5ForConditionalGeneration", "LlavaForConditionalGeneration"]:
        assert page.sized(name) == table[name]
    # further rows for what is no word, or rows that another field decides
    for name in [
        "CpmAntForCausalLM",
        "MllamaForConditionalGeneration",
        "MarianMTModel",
        "Ovis2ForConditionalGeneration",
    ]:
        assert page.sized(name) is None and name not in table
