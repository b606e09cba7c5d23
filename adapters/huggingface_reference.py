"""GPT and GPT-2 of transformers as the reference network: the same weights under the names that the oracle gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiecheck.reference import GPTConfig

from .huggingface_declared import unwrapped

if TYPE_CHECKING:
    import numpy as np
    import torch

# By model type: whether the norm comes first, and the names of the two tables.
_KNOWN = {"gpt2": (True, "wte", "wpe"), "openai-gpt": (False, "tokens_embed", "positions_embed")}
_NAMES = {
    "h.": "blocks.",
    "attn.c_attn": "attention.qkv",
    "attn.c_proj": "attention.out",
    "mlp.c_fc": "mlp.up",
    "mlp.c_proj": "mlp.down",
    "ln_1": "norm_1",
    "ln_2": "norm_2",
    "ln_f.": "norm.",
}


def mapped(model: torch.nn.Module) -> tuple[GPTConfig, dict[str, np.ndarray]] | None:
    """Configuration and weights, matrices as (out, in); None for a type or a config that is not the reference's network."""
    inside: Any = unwrapped(model)
    config: Any = getattr(inside, "config", None)
    known = _KNOWN.get(getattr(config, "model_type", ""))
    if known is None or not _like_the_reference(config):
        return None
    pre_norm, table, positions = known
    weights: dict[str, np.ndarray] = {}
    for name, parameter in inside.named_parameters(remove_duplicate=False):
        array = parameter.detach().cpu().double().numpy().copy()
        if name == "lm_head.weight":
            weights["E_out"] = array
            continue
        name = name.removeprefix("transformer.")
        if name in (f"{table}.weight", f"{positions}.weight"):
            weights["E_in" if name.startswith(table) else "P"] = array
            continue
        for theirs, ours in _NAMES.items():
            name = name.replace(theirs, ours)
        weights[name] = array.T if array.ndim == 2 else array  # their Conv1D keeps a matrix as (in, out)
    tied = inside.lm_head.weight is inside.get_input_embeddings().weight
    sizes = (config.vocab_size, config.n_positions, config.n_embd, config.n_layer, config.n_head)
    inner = getattr(config, "n_inner", None)
    return GPTConfig(*sizes, pre_norm=pre_norm, inner=inner, tied=tied), weights


def _like_the_reference(config: Any) -> bool:
    """The epsilon, the activation and the scale of attention that the reference has, and none of the later additions."""
    return (
        getattr(config, "layer_norm_epsilon", None) == 1e-5
        and getattr(config, "activation_function", "gelu_new") == "gelu_new"
        and getattr(config, "afn", "gelu") == "gelu"  # which is the tanh form there
        and getattr(config, "scale_attn_weights", True)
        and not getattr(config, "scale_attn_by_inverse_layer_idx", False)
        and not getattr(config, "add_cross_attention", False)
    )
