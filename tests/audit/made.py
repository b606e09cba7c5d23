"""Checkpoints of a few kilobytes, written with safetensors' own writer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

V, D = 48, 8


def table(seed: int = 0, rows: int = V, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, D)).astype(dtype)


def config(**more: Any) -> dict[str, Any]:
    base = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": V, "hidden_size": D}
    return {key: value for key, value in {**base, **more}.items() if value is not ...}


def checkpoint(folder: Path, embedding: Any = None, head: Any = None, *, names: Any = None, **claims: Any) -> Path:
    """A folder: config.json, and one safetensors file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(**claims)))
    lookup, projection = names or ("model.embed_tokens.weight", "lm_head.weight")
    tensors = {"model.layers.0.mlp.up_proj.weight": table(9), "model.norm.weight": np.ones(D, np.float32)}
    tensors |= {lookup: embedding} if embedding is not None else {}
    tensors |= {projection: head} if head is not None else {}
    save_file(tensors, folder / "model.safetensors")
    return folder
