"""The reference network in NumPy as a subject: the proof that the protocol needs no torch.

Tied, one array is both tables; untied, there are two. Everything else about it is what the oracle computes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np
from tiecheck.conformance.declaration import Declaration
from tiecheck.conformance.errors import NotJudged
from tiecheck.conformance.evidence import Array, Gradient, Probe
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
    asks = ("logits", "writes", "gradients derived by hand")
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
        notes=("the reference network, tiny and random, in NumPy",),
        twin=lambda: parameter_count(replace(config, tied=not config.tied)),
    )


def subject_of(
    built: Built,
    declared: Declaration,
    *,
    name: str,
    seed: int,
    device: str | None = None,
    dtype: str | None = None,
    optimizer: Any = None,
) -> NetworkSubject:
    """The subject for a `Network`. Raises NotJudged for what NumPy cannot do: another device, another dtype."""
    del declared, seed, optimizer
    if device not in (None, "cpu"):
        raise NotJudged(f"the NumPy network runs on the cpu alone, not on {device}")
    if dtype not in (None, "float64"):
        raise NotJudged(f"the NumPy network computes in float64 alone, not in {dtype}")
    if not accepts(built.model):
        raise NotJudged(f"what was built is a {type(built.model).__name__}, not a network of the NumPy backend")
    return NetworkSubject(built.model, name)


class NetworkSubject:
    """Answers what the protocol asks of one `Network`. What it lacks (a look inside, holdings) is simply absent."""

    notes: tuple[str, ...] = ()
    device = "cpu"
    dtype = "float64"

    def __init__(self, network: Network, name: str) -> None:
        self.network, self.name = network, name
        self.missing: dict[str, str] = {}
        self.forward_passes = self.backward_passes = 0

    def __enter__(self) -> NetworkSubject:
        return self  # nothing of it is neutral: the oracle draws biases and gains too

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass  # `written` has put everything back

    def logits(self, ids: Array, train: bool = False, reseed: bool = True) -> Array:
        """Logits (N, V). Mode and generators mean nothing to it: it is a function of its input."""
        del train, reseed
        self.forward_passes += 1
        logits = forward(self.network.config, self.network.weights, ids).logits
        return logits.reshape(-1, logits.shape[-1])

    def table(self) -> Array:
        """The array that the lookup reads, (V, D)."""
        return self.network.weights["E_in"]

    def head(self) -> Array | None:
        """The projection's own array, (V, D); None where it is the lookup's."""
        weights = self.network.weights
        return None if weights["E_out"] is weights["E_in"] else weights["E_out"]

    @contextlib.contextmanager
    def written(self, side: str, rows: Array, values: Array) -> Iterator[None]:
        """Rows of the lookup's array ("table") or of the projection's ("head") hold ``values`` inside the block."""
        array = self.network.weights["E_out" if side == "head" else "E_in"]
        old = array[rows].copy()
        array[rows] = values
        try:
            yield
        finally:
            array[rows] = old

    def gradient(
        self, probe: Probe, cotangent: Callable[[tuple[int, ...]], Array], again: bool = False
    ) -> tuple[Array, str, Gradient]:
        """Logits, their dtype and the gradient of <R, logits>: the sum over both uses where one array serves both."""
        weights = self.network.weights
        self.forward_passes += 1
        passed = forward(self.network.config, weights, probe.ids)
        logits = passed.logits.reshape(-1, passed.logits.shape[-1])
        R = np.asarray(cotangent(logits.shape), dtype=np.float64).reshape(passed.logits.shape)

        def shares() -> tuple[Array, Array | None]:
            self.backward_passes += 1
            dw = passed.backward(R)
            tied = weights["E_in"] is weights["E_out"]
            return (dw["E_in"] + dw["E_out"], None) if tied else (dw["E_in"], dw["E_out"])

        table, head = shares()
        return logits, self.dtype, Gradient(table, head, table + shares()[0] if again else None)
