"""Adapters of PEFT beside their base."""

import pytest
import torch
from test_writers import model

peft = pytest.importorskip("peft", reason="peft is not installed; `tox -e audit` installs it")

LORA = {"r": 2, "lora_alpha": 4}


def adapter(folder, tied, change=lambda model: None, **options):
    base = model("llama", tied)
    base.save_pretrained(folder / "base")
    base.config._name_or_path = base.name_or_path = str(folder / "base")
    tuned = peft.get_peft_model(base, peft.LoraConfig(**LORA, **options))
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter += 0.01 * torch.randn_like(parameter)
        change(tuned)
    tuned.save_pretrained(folder / "adapter")
    return folder / "adapter"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("tied", "options", "status"),
    [
        (True, {"target_modules": ["q_proj"]}, 0),
        (False, {"target_modules": ["q_proj"]}, 0),
        (True, {"target_modules": ["q_proj", "embed_tokens"]}, 1),
        (True, {"target_modules": ["q_proj", "lm_head"]}, 1),
        (False, {"target_modules": ["q_proj", "lm_head"]}, 0),
        (True, {"target_modules": ["q_proj", "embed_tokens", "lm_head"]}, 1),
        (True, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}, 1),
        (True, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}, 1),
        (True, {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, 1),
        (False, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}, 0),
    ],
)
def test_an_adapter(tied, options, status, audit, tmp_path):
    folder = adapter(tmp_path, tied, **options)
    found, rows, _ = audit(folder)
    (row,) = rows
    assert (found, row["format"]) == (status, "peft"), row


@pytest.mark.filterwarnings("ignore")
def test_the_base_is_found_beside_it_or_said_to_be_missing(audit, refused, tmp_path):
    folder = adapter(tmp_path, True, target_modules=["q_proj"])
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / "base").rename(moved / "base")
    folder = folder.rename(moved / "adapter")
    assert audit(folder)[0] == 0
    (moved / "base").rename(tmp_path / "other")
    assert "base" in refused(folder)
