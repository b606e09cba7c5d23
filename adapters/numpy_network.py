"""The reference network in NumPy as a subject: the proof that the protocol needs no torch.

Tied, one array is both tables; untied, there are two. Everything else about it is what the oracle computes.
"""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tiecheck.conformance import translated
from tiecheck.conformance.declaration import Declaration
from tiecheck.conformance.evidence import Array
from tiecheck.conformance.leaves import Way
from tiecheck.conformance.operations import reads
from tiecheck.conformance.protocol import Backend, Built
from tiecheck.reference import GPTConfig, forward, parameter_count, random_weights

from .reference import CONFIGS, config_of

FLAG = True
"""Whether the tie flag can be asked for."""


@dataclass(frozen=True, eq=False)
class Network:
    """A network of the oracle with its weights; tied, ``weights["E_in"]`` and ``weights["E_out"]`` are one array."""

    config: GPTConfig
    weights: dict[str, Array]


def backend() -> Backend:
    """See `tiecheck.conformance.protocol.Adapter`."""
    asks = ("logits", "writes", "gradients derived by hand", "steps", "copies")
    return Backend("numpy", "the reference network in NumPy, without torch", True, asks, tuple(CONFIGS))


def accepts(model: object) -> bool:
    """Only its own `Network`."""
    return isinstance(model, Network)


def build(name: str, *, tied: bool | None, seed: int) -> Built:
    """The reference network of that name with random weights. LookupError: no such name."""
    config = config_of(name, tied, "numpy")
    weights = random_weights(config, np.random.default_rng(seed))
    if config.tied:
        weights["E_out"] = weights["E_in"]
    return Built(
        Network(config, weights),
        Declaration(tied=config.tied, parameter_count=parameter_count(config)),
        flag=True,
        untrained=False,
        notes=("the reference network, tiny and random, in NumPy",),
        twin=lambda: parameter_count(replace(config, tied=not config.tied)),
    )


class _Leaves:
    """What the oracle says of a `Network`; tied, E_out is no leaf of its own."""

    idiom = 'weights["E_out"] = weights["E_in"]'

    def __init__(self, network: Network) -> None:
        self.model, self.config, self.weights = network, network.config, network.weights
        self._tied = self.weights["E_in"] is self.weights["E_out"]

    def logits(self, ids: Array) -> Array:
        """Logits (B, T, V) in float64."""
        return forward(self.config, self.weights, ids).logits

    def leaves(self) -> dict[str, Array]:
        """Every weight of the network by the oracle's name."""
        return {name: array for name, array in self.weights.items() if not (self._tied and name == "E_out")}

    def write(self, name: str, values: Array) -> None:
        """Into the array itself, so that both uses of a tied table see it."""
        self.weights[name][...] = values

    def gradient(self, ids: Array, R: Array) -> dict[str, Array]:
        """The gradient derived by hand; of a tied table the sum over both uses."""
        dw = forward(self.config, self.weights, ids).backward(R)
        return {**dw, "E_in": dw["E_in"] + dw["E_out"]} if self._tied else dw

    def stepper(self, kind: str, rate: float, decay: float) -> Callable[[Mapping[str, Array]], None]:
        """SGD with momentum 0.9 or AdamW, by their formulas."""
        m = {name: np.zeros_like(leaf) for name, leaf in self.leaves().items()}
        v = {name: np.zeros_like(leaf) for name, leaf in self.leaves().items()}
        steps = itertools.count(1)

        def step(gradients: Mapping[str, Array]) -> None:
            t = next(steps)
            for name, leaf in self.leaves().items():
                g = gradients[name]
                if kind == "sgd":
                    m[name] = 0.9 * m[name] + g + decay * leaf
                    leaf -= rate * m[name]
                else:
                    m[name], v[name] = 0.9 * m[name] + 0.1 * g, 0.999 * v[name] + 0.001 * g * g
                    corrected = m[name] / (1 - 0.9**t) / (np.sqrt(v[name] / (1 - 0.999**t)) + 1e-8)
                    leaf -= rate * (corrected + decay * leaf)

        return step

    def ways(self) -> tuple[Way, ...]:
        """A network is plain Python: it is copied and pickled."""
        return (
            Way("deepcopy", "copy.deepcopy(network)", lambda network, fresh: copy.deepcopy(network)),
            Way(
                "pickle",
                "pickle.loads(pickle.dumps(network))",
                lambda network, fresh: _unpickled(pickle.dumps(network)),
            ),
        )


def _unpickled(stored: bytes) -> Any:
    return reads(lambda: pickle.loads(stored), "what pickle stored cannot be read again")


subject_of = translated.subject_of(_Leaves)
