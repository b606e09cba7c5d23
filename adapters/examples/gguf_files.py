"""Tiny GGUF files of two architectures, as a converter writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tiecheck.conformance.evidence import Array

V, D, WIDE, HEADS, LAYERS, CONTEXT = 101, 32, 64, 2, 2, 256


def write(path: Path, arch: str, head: str, rng: np.random.Generator) -> None:
    """A tiny random model of one of two architectures, as a converter writes it."""
    import gguf

    writer = gguf.GGUFWriter(path, arch)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(D)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(WIDE)
    writer.add_head_count(HEADS)
    writer.add_vocab_size(V)
    if arch == "llama":
        writer.add_head_count_kv(HEADS)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_dimension_count(D // HEADS)
    else:
        writer.add_layer_norm_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([b"<unk>", b"<s>", b"</s>", *(b"t%d" % i for i in range(3, V))])
    writer.add_token_scores([0.0] * V)
    writer.add_token_types([2, 3, 3] + [1] * (V - 3))
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, values in _tensors(arch, head, rng).items():
        writer.add_tensor(name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(arch: str, head: str, rng: np.random.Generator) -> dict[str, Array]:
    def drawn(*shape: int) -> Array:
        return rng.standard_normal(shape) * 0.3

    out = {"token_embd.weight": drawn(V, D), "output_norm.weight": np.ones(D)}
    if head != "tied":
        out["output.weight"] = np.array(out["token_embd.weight"]) if head == "copied" else drawn(V, D)
    if arch == "gpt2":
        out |= {"position_embd.weight": drawn(CONTEXT, D), "output_norm.bias": np.zeros(D)}
    for i in range(LAYERS):
        for name, shape in (_LLAMA if arch == "llama" else _GPT2).items():
            neutral = np.ones(shape) if "norm.weight" in name else np.zeros(shape)
            out[f"blk.{i}.{name}"] = drawn(*shape) if len(shape) == 2 else neutral
    return out


_LLAMA: dict[str, tuple[int, ...]] = {
    "attn_norm.weight": (D,),
    "attn_q.weight": (D, D),
    "attn_k.weight": (D, D),
    "attn_v.weight": (D, D),
    "attn_output.weight": (D, D),
    "ffn_norm.weight": (D,),
    "ffn_gate.weight": (WIDE, D),
    "ffn_up.weight": (WIDE, D),
    "ffn_down.weight": (D, WIDE),
}
_GPT2: dict[str, tuple[int, ...]] = {
    "attn_norm.weight": (D,),
    "attn_norm.bias": (D,),
    "attn_qkv.weight": (3 * D, D),
    "attn_qkv.bias": (3 * D,),
    "attn_output.weight": (D, D),
    "attn_output.bias": (D,),
    "ffn_norm.weight": (D,),
    "ffn_norm.bias": (D,),
    "ffn_up.weight": (WIDE, D),
    "ffn_up.bias": (WIDE,),
    "ffn_down.weight": (D, WIDE),
    "ffn_down.bias": (D,),
}
