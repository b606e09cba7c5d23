"""Classes whose tables go by no name of a framework, or that have none of the two: as `save_pretrained` wrote them."""

import importlib.util
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiecheck.adapters.huggingface_tiny import set_flag, small_sizes
from tiecheck.conformance.audit import facts, installed

pytestmark = pytest.mark.skipif(
    installed.version() != facts.shipped()["transformers"], reason="names are those of the version in the table"
)


@pytest.fixture
def saved(tmp_path):
    """Writes a tiny model of a class, and returns the folder."""
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()

    def write(name, tied, **more):
        torch.manual_seed(0)
        cls = getattr(transformers, name)
        config = cls.config_class(**{**small_sizes(cls.config_class, tied), **more})
        set_flag(config, tied, name)
        cls(config).save_pretrained(tmp_path)
        return tmp_path

    yield write
    transformers.logging.set_verbosity(level)


def tables(row):
    return [table["name"] for table in row["tables"]]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["ElectraForPreTraining", "FunnelForPreTraining"])
def test_a_class_without_a_projection_over_the_vocabulary_owes_none(name, tied, saved, audit):
    status, (row,), _ = audit(saved(name, tied))
    assert (status, row["claim"]["tied"], row["state"]) == (0, tied, "embedding only"), row
    assert "no projection over a vocabulary" in row["claim"]["obeyed"] and row["loaders"] == []


def test_what_is_stored_under_the_name_of_a_head_is_none_in_such_a_class(saved, audit, tmp_path):
    folder = saved("ElectraForPreTraining", True)
    held = load_file(folder / "model.safetensors")
    save_file({**held, "expert.lm_head.weight": torch.randn(101, 24)}, folder / "model.safetensors", {"format": "pt"})
    status, (row,), _ = audit(folder)
    assert (status, tables(row)) == (0, ["electra.embeddings.word_embeddings.weight"]), row


@pytest.mark.parametrize("name", ["Wav2Vec2ForPreTraining", "VideoMAEForPreTraining"])
def test_a_class_without_tables_has_nothing_to_tie(name, saved, audit):
    status, (row,), _ = audit(saved(name, None))
    assert (status, tables(row)) == (0, []), row
    assert row["message"].endswith(f"{name} has no table of a vocabulary: there is nothing to tie")


ENDS = {
    "CpmAntForCausalLM": ["cpmant.input_embedding.weight", "lm_head.weight"],
    "ReformerModelWithLMHead": ["reformer.embeddings.word_embeddings.weight", "lm_head.decoder.weight"],
    "CohereAsrForConditionalGeneration": [
        "model.transf_decoder._embedding.token_embedding.weight",
        "log_softmax.mlp.layer0.weight",
    ],
    "UltrabertForMaskedLM": ["ultrabert.embed_tokens.weight", "cls.weight"],
    "MusicgenForCausalLM": ["model.decoder.embed_tokens.0.weight", "lm_heads.0.weight"],
}


@pytest.mark.parametrize("name", ENDS)
def test_tables_under_names_of_the_class_alone(name, saved, audit):
    status, (row,), _ = audit(saved(name, False))
    assert (status, row["state"], tables(row)) == (0, "different", ENDS[name]), row
    assert {table["known_by"] for table in row["tables"]} == {"class"}
    assert row["loaders"][0]["outcome"] == "untied"


@pytest.mark.parametrize("name", ["CohereAsrForConditionalGeneration", "UltrabertForMaskedLM"])
def test_such_a_head_is_missed_where_it_is_not_stored(name, saved, audit):
    folder = saved(name, False)
    held = load_file(folder / "model.safetensors")
    del held[ENDS[name][1]]
    save_file(held, folder / "model.safetensors", {"format": "pt"})
    status, (row,), _ = audit(folder)
    assert (status, row["state"], row["mend"]["action"]) == (1, "embedding only", "set flag true"), row


@pytest.mark.parametrize("name", ["CpmAntForCausalLM", "ReformerModelWithLMHead", "MusicgenForCausalLM"])
def test_two_tables_of_two_shapes_are_meant_by_no_flag(name, saved, audit):
    status, (row,), _ = audit(saved(name, True))
    assert (status, row["claim"]["tied"], row["mend"]) == (0, True, None), row
    assert row["message"].endswith("its tables have two shapes") and row["loaders"][0]["outcome"] == "untied"


@pytest.mark.parametrize("tied", [True, False])
def test_of_several_heads_none_is_picked(tied, saved, audit):
    status, (row,), _ = audit(saved("FlavaForPreTraining", tied))
    assert (status, row["verdict"]) == ((2, "not decidable") if tied else (0, "agreement")), row
    assert tables(row) == ["flava.text_model.embeddings.word_embeddings.weight", "mlm_head.decoder.weight"]


def test_what_is_shipped_is_seen_on_the_installed_classes():
    path = Path(__file__).parents[2] / "docs" / "audit_facts.py"
    spec = importlib.util.spec_from_file_location("audit_facts", path)
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    table = facts.shipped()
    for name in [*ENDS, "ElectraForPreTraining", "Wav2Vec2ForPreTraining", "FlavaForPreTraining", "LlamaForCausalLM"]:
        seen = page.ends(name)
        assert page.headless(seen) == table["headless"].get(name)
        assert page.idle(seen) == table["idle"].get(name)
        assert page.unnamed(name, seen) == table["ends"].get(name)
    # a head under the flag of a model inside, and one that the class itself tells of nowhere
    for name in [
        "BlipForConditionalGeneration",
        "LxmertForPreTraining",
        "EncoderDecoderModel",
        "DiaForConditionalGeneration",
    ]:
        assert name not in table["headless"]
