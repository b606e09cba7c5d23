"""TransformerLens: a TransformerBridge over a GPT-2 of transformers, plain and in compatibility mode."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any

from .torch_library import Builder, Library, adapter_of

FLAG = True
FLAG_NAME = "tie_word_embeddings"


def _bridge(compatible: bool, **declared: Any) -> Builder:
    """A tiny GPT-2 from a folder, which a bridge wants together with a tokenizer."""

    def build(tied: bool) -> tuple[Any, Mapping[str, Any]]:
        from tokenizers import Tokenizer, models
        from transformer_lens.model_bridge import TransformerBridge
        from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

        words = Tokenizer(models.WordLevel({"<eos>": 0, **{f"t{i}": i for i in range(1, 101)}}, unk_token="<eos>"))
        special = dict.fromkeys(("eos_token", "bos_token", "pad_token", "unk_token"), "<eos>")
        config = GPT2Config(
            vocab_size=101, n_positions=64, n_embd=32, n_layer=2, n_head=2, tie_word_embeddings=tied,
            bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            GPT2LMHeadModel(config).save_pretrained(folder)
            PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
            bridge = TransformerBridge.boot_transformers(folder, device="cpu")
        if compatible:
            bridge.enable_compatibility_mode()
        return bridge, declared

    return build


backend, accepts, build, subject_of = adapter_of(
    Library(
        "transformer-lens",
        "transformer_lens",
        "a TransformerBridge over GPT-2, and the same after enable_compatibility_mode()",
        {"gpt2": _bridge(False), "gpt2-compatibility": _bridge(True)},
        tied=("gpt2", "gpt2-compatibility"),
    )
)
