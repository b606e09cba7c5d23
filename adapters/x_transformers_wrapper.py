"""x-transformers: TransformerWrapper with the options of its README, tied by ``tie_embedding``.

Left out are a mixture of softmaxes, which is no product with a table, and several output heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .torch_library import Builder, Library, adapter_of

FLAG = True
FLAG_NAME = "tie_embedding"


def _wrapper(
    options: Mapping[str, Any] | None = None, *, layers: Mapping[str, Any] | None = None, **declared: Any
) -> Builder:
    """A tiny decoder; tied, the library multiplies its logits by dim ** -0.5, untied by nothing."""

    def build(tied: bool) -> tuple[Any, Mapping[str, Any]]:
        from x_transformers import Decoder, TransformerWrapper

        attention = Decoder(dim=32, depth=2, heads=2, attn_dim_head=16, **(layers or {}))
        wrapper = TransformerWrapper(
            **{"num_tokens": 101, "max_seq_len": 64, "tie_embedding": tied, "attn_layers": attention, **(options or {})}
        )
        return wrapper, {**({"output_scale": "1/sqrt(D)"} if tied else {}), **declared}

    return build


backend, accepts, build, subject_of = adapter_of(
    Library(
        "x-transformers",
        "x_transformers",
        "TransformerWrapper with a Decoder, tie_embedding as asked",
        {
            "decoder": _wrapper(),
            "tie-embedding-scale": _wrapper({"tie_embedding_scale": 1.0}, output_scale=1.0),
            "post-emb-norm": _wrapper({"post_emb_norm": True}),
            "l2norm-embed": _wrapper({"l2norm_embed": True}),
            "emb-frac-gradient": _wrapper({"emb_frac_gradient": 0.1}, input_gradient_scale=0.1),
            "memory-tokens": _wrapper({"num_memory_tokens": 4}),
            "rotary": _wrapper({"use_abs_pos_emb": False}, layers={"rotary_pos_emb": True}),
            "alibi": _wrapper({"use_abs_pos_emb": False}, layers={"alibi_pos_bias": True}),
            "sinusoidal": _wrapper({"scaled_sinu_pos_emb": True}),
            "sandwich-norm": _wrapper(layers={"sandwich_norm": True}),
            "looped": _wrapper({"looped": True}, layers={"pre_norm_has_final_norm": True, "pre_and_post_norm": True}),
            "emb-dim": _wrapper({"emb_dim": 16}),
        },
    )
)
