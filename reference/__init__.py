"""What is right: a GPT in torch, the same network in NumPy with its gradient split by use, and its size by formula.

Read `gpt.py` first: one file, in the order in which data flows. `oracle.py` is the same mathematics written a second
time, sharing nothing but the configuration, so that an error would have to be made twice to go unseen.

    model = GPT(PRESETS["gpt2"])                            # torch; imports it only now
    parameter_count(PRESETS["gpt2"])                        # by formula, imports nothing
    shares = gradients(config, weights_of(model), ids, R)   # {"E_in": ..., "E_out": ..., ...}

Names are imported when first used: the package itself costs neither torch nor NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import PRESETS, GPTConfig
    from .counts import parameter_count, parameter_terms
    from .descent import cross_entropy, descend
    from .gpt import GPT, load_weights, weights_of
    from .oracle import Forward, forward, gradients, random_weights, weight_shapes

__all__ = [
    "GPT",
    "PRESETS",
    "Forward",
    "GPTConfig",
    "cross_entropy",
    "descend",
    "forward",
    "gradients",
    "load_weights",
    "parameter_count",
    "parameter_terms",
    "random_weights",
    "weight_shapes",
    "weights_of",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        for module in (
            "config",
            "counts",
            "oracle",
            "descent",
            "gpt",
        ):  # in the order of what they cost: nothing, NumPy, torch
            home = import_module(f".{module}", __name__)
            if hasattr(home, name):
                return getattr(home, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
