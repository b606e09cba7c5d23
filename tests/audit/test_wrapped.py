"""Models that were saved while PEFT wrapped them: its names, written as PEFT writes them."""

import numpy as np
import pytest
import torch
import transformers
from made import D, V, checkpoint, table
from safetensors.numpy import load_file, save_file

E, OTHER = table(), table(1)
A, B = table(2, rows=2), np.ascontiguousarray(table(3)[:, :2])
LOOKUP, HEAD = "model.embed_tokens", "lm_head"
LORA = {f"{HEAD}.lora_A.default.weight": A, f"{HEAD}.lora_B.default.weight": B}
EMBEDDED = {
    f"{LOOKUP}.lora_embedding_A.default": np.ascontiguousarray(B.T),
    f"{LOOKUP}.lora_embedding_B.default": np.ascontiguousarray(A.T),
}
STATES = {
    "LoRA on the head": {f"{LOOKUP}.weight": E, f"{HEAD}.base_layer.weight": E.copy(), **LORA},
    "a head of its own": {
        f"{LOOKUP}.weight": E,
        f"{HEAD}.modules_to_save.default.weight": OTHER,
        f"{HEAD}.original_module.weight": E.copy(),
    },
    "LoRA on the lookup": {f"{LOOKUP}.base_layer.weight": E, **EMBEDDED},
}


def state(folder, tensors, prefix, **claims):
    checkpoint(folder, E, None, num_hidden_layers=1, num_attention_heads=1, intermediate_size=V, **claims)
    save_file({f"{prefix}{name}": value for name, value in tensors.items()}, folder / "model.safetensors")
    return folder


def kept_tables(folder):
    """Whether transformers takes lookup and head from the file."""
    made = transformers.LlamaForCausalLM.from_pretrained(folder)
    return [
        bool(torch.equal(end.weight, torch.from_numpy(E)))
        for end in (made.get_input_embeddings(), made.get_output_embeddings())
    ]


@pytest.mark.parametrize("prefix", ["", "base_model.model."])
@pytest.mark.parametrize("name", STATES)
def test_one_end_alone_is_no_tie(name, prefix, audit, tmp_path):
    folder = state(tmp_path / "m", STATES[name], prefix, tie_word_embeddings=True)
    status, (row,), _ = audit(folder)
    side = "lookup" if "lookup" in name else "head"
    assert status == 1 and f"the {side} alone" in row["message"] and "PEFT still wraps" in row["message"], row
    told = row["loaders"][0]
    read = kept_tables(folder)
    assert told["loader"] == "transformers" and (told["outcome"] == "broken") is not any(read)
    status, rows, err = audit(folder, "--write", tmp_path / "out")
    assert (status, rows) == (2, []) and "--write merges no adapter" in err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("prefix", ["", "base_model.model."])
def test_a_head_that_is_stored_is_not_declared_away(prefix, audit, tmp_path):
    tensors = {f"{LOOKUP}.weight": E, f"{HEAD}.base_layer.weight": OTHER, **LORA}
    folder = state(tmp_path / "m", tensors, prefix, tie_word_embeddings=False)
    status, (row,), _ = audit(folder)
    assert [(t["role"], t["name"]) for t in row["tables"]][1] == ("head", f"{prefix}lm_head.base_layer.weight")
    assert status == 1 and row["mend"]["action"] == "" and "no head" not in row["message"]
    assert audit(folder, "--write", tmp_path / "out")[0] == 2 and not (tmp_path / "out").exists()


def test_a_matrix_that_may_be_the_head_is_not_declared_away(audit, tmp_path):
    folder = checkpoint(tmp_path / "m", E, None, tie_word_embeddings=False)
    held = load_file(folder / "model.safetensors")
    save_file(held | {"lm_head.inner.kernel_t": table(1, rows=V)[:, : D // 2].copy()}, folder / "model.safetensors")
    status, rows, err = audit(folder, "--write", tmp_path / "out")
    assert (status, rows) == (2, []) and "lm_head.inner.kernel_t, which may be its head" in err


def test_the_same_update_of_both_ends_and_none_of_either(audit, tmp_path):
    head = {f"{HEAD}.base_layer.weight": E.copy(), **LORA}
    both = {f"{LOOKUP}.base_layer.weight": E, **head, **EMBEDDED}
    _, (row,), _ = audit(state(tmp_path / "both", both, "", tie_word_embeddings=True))
    assert row["verdict"] == "contradiction" and "no loader of the model finds" in row["message"]
    plain = {f"{LOOKUP}.weight": E, "model.layers.0.self_attn.q_proj.lora_A.default.weight": A}
    status, (row,), _ = audit(state(tmp_path / "plain", plain, "", tie_word_embeddings=True))
    assert (status, row["loaders"][0]["outcome"]) == (0, "tied")
    status, (row,), _ = audit(state(tmp_path / "q", plain, "base_model.model.", tie_word_embeddings=True))
    assert (status, row["loaders"][0]["outcome"]) == (0, "broken")
