"""KerasHub: causal language models over a Backbone whose `ReversibleEmbedding` is called in reverse for the logits.

Every array crosses as NumPy, so the same adapter serves the torch, JAX and TensorFlow backends of Keras; the gradient alone
is asked of each in its own way. A Keras model that a factory in a file gives is judged here too, also on the torch backend,
where it is a torch.nn.Module as well.
"""

from __future__ import annotations

import copy
import functools
import pickle
import random
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from tiecheck.conformance import translated
from tiecheck.conformance.errors import NotJudged
from tiecheck.conformance.evidence import Array
from tiecheck.conformance.leaves import Way
from tiecheck.conformance.operations import reads
from tiecheck.conformance.protocol import Backend, Built

FLAG = True
FLAG_NAME = "tie_word_embeddings"


def backend() -> Backend:
    """See `tiecheck.conformance.protocol.Adapter`."""
    here = all(find_spec(name) for name in ("keras", "keras_hub"))
    asks = ("logits", "writes", "gradients", "steps of keras.optimizers", "copies, configs, files")
    from .examples.keras_hub_tiny import MODELS

    return Backend("keras-hub", "keras_hub.models.CausalLM, tie_word_embeddings as asked", here, asks, tuple(MODELS))


def accepts(model: object) -> bool:
    """Any Keras model; the library is not imported to find out."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(model, keras.Model)


def build(name: str, *, tied: bool | None, seed: int) -> Built:
    """A tiny model of that architecture. LookupError: no such name. NotJudged: it has no switch, and is always the other."""
    from .examples.keras_hub_tiny import tiny

    return tiny(name, tied, seed)


class Variables:
    """`Leaves` of a Keras model: its weights by path."""

    idiom = "logits = self.token_embedding(h, reverse=True)"

    def __init__(self, model: Any) -> None:
        import keras

        if any(weight.name.startswith("lora_embeddings") for weight in model.weights):
            raise NotJudged(
                "the table has a LoRA part: what both uses read is a sum of arrays; judge it merged, or before"
            )
        self.model, self._keras = model, keras
        kind = keras.backend.backend()
        self.packages = ("keras", "keras-hub", kind)
        self._weights = _by_name(model.weights)
        self._trainable = _by_name(model.trainable_weights)
        self._calls = CALLS[kind](model)
        # Keras divides by sqrt(v) + epsilon and corrects the bias outside: at the first step, v = 0.001 g².
        self.epsilon = keras.optimizers.AdamW().epsilon / 0.001**0.5

    def logits(self, ids: Array) -> Array:
        """Logits (B, T, V)."""
        return self._array(self._calls[0](ids))

    def leaves(self) -> dict[str, Array]:
        """Every weight by its path."""
        return {name: self._array(weight.value) for name, weight in self._weights.items()}

    def trained(self) -> frozenset[str]:
        """The weights that an optimizer is given."""
        return frozenset(self._trainable)

    def write(self, name: str, values: Array) -> None:
        """`Variable.assign`."""
        self._weights[name].assign(values)

    def gradient(self, ids: Array, R: Array) -> dict[str, Array]:
        """d<R, logits>/d weight, by the backend's own differentiation."""
        found = self._calls[1](ids, R)
        return {name: self._array(share) for name, share in zip(self._trainable, found, strict=True)}

    def stepper(self, kind: str, rate: float, decay: float) -> Callable[[Mapping[str, Array]], None]:
        """The optimizer of Keras over the trainable weights."""
        optimizers = self._keras.optimizers
        if kind == "sgd":
            optimizer = optimizers.SGD(rate, momentum=0.9, weight_decay=decay)
        else:
            optimizer = optimizers.AdamW(rate, weight_decay=decay)
        weights = list(self._trainable.values())
        optimizer.build(weights)

        def step(gradients: Mapping[str, Array]) -> None:
            optimizer.apply([self._keras.ops.convert_to_tensor(gradients[n]) for n in self._trainable], weights)

        return step

    def own_counts(self) -> dict[str, int]:
        """What the model says of its own size."""
        return {"model.count_params": int(self.model.count_params())}

    def ways(self) -> tuple[Way, ...]:
        """What Keras documents for copying and storing a model."""
        return WAYS

    def _array(self, tensor: Any) -> Array:
        return np.asarray(self._keras.ops.convert_to_numpy(tensor))


subject_of = translated.subject_of(Variables)


def drawn(make: Callable[[], Any], seed: int) -> Any:
    """A model whose initializers draw from the seed: each takes a seed of its own from Python's generator."""
    state = random.getstate()
    random.seed(seed)
    try:
        return make()
    finally:
        random.setstate(state)


def _by_name(weights: Any) -> dict[str, Any]:
    """Weights by path; two layers of one name in two places of a model have the same path."""
    out: dict[str, Any] = {}
    for weight in weights:
        name, again = weight.path, 2
        while name in out:
            name, again = f"{weight.path}#{again}", again + 1
        out[name] = weight
    return out


def _inputs(model: Any, ids: Array) -> Any:
    """Ids, with a mask that hides nothing where the model takes one."""
    names = model.input if isinstance(getattr(model, "input", None), dict) else {}
    if not names:
        return ids
    return {name: np.ones(ids.shape, dtype=np.int32) if "mask" in name else ids for name in names}


def _called(model: Any, ids: Array) -> Any:
    return model(_inputs(model, ids), training=False)


Calls = tuple[Callable[[Array], Any], Callable[[Array, Array], Any]]
"""Ids to logits, and (ids, R) to d<R, logits>/d each trainable weight."""


def _by_torch(model: Any) -> Calls:
    import torch

    def gradient(ids: Array, R: Array) -> Any:
        logits = _called(model, ids)
        product = (logits * torch.as_tensor(R, dtype=logits.dtype, device=logits.device)).sum()
        values = [weight.value for weight in model.trainable_weights]
        return torch.autograd.grad(product, values, allow_unused=True, materialize_grads=True)

    return functools.partial(_called, model), gradient


def _by_jax(model: Any) -> Calls:
    """Compiled, as fit and predict compile it: `stateless_call` over the values of all variables."""
    import jax

    def values() -> Any:
        return [v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables]

    def logits(trained: Any, others: Any, ids: Any) -> Any:
        return model.stateless_call(trained, others, _inputs(model, ids), training=False)[0]

    def product(trained: Any, others: Any, ids: Any, R: Any) -> Any:
        return (logits(trained, others, ids) * R).sum()

    call, gradient = jax.jit(logits), jax.jit(jax.grad(product))
    return lambda ids: call(*values(), ids), lambda ids, R: gradient(*values(), ids, np.asarray(R, dtype=np.float32))


def _by_tensorflow(model: Any) -> Calls:
    import tensorflow as tf

    def gradient(ids: Array, R: Array) -> Any:
        values = [weight.value for weight in model.trainable_weights]
        with tf.GradientTape() as tape:
            logits = _called(model, ids)
            product = tf.reduce_sum(logits * tf.cast(R, logits.dtype))
        # A lookup's share comes as slices.
        return [tf.convert_to_tensor(g) for g in tape.gradient(product, values, unconnected_gradients="zero")]

    return functools.partial(_called, model), gradient


CALLS: Mapping[str, Callable[[Any], Calls]] = {"torch": _by_torch, "jax": _by_jax, "tensorflow": _by_tensorflow}


def _stored(model: Any, fresh: Callable[[], Any]) -> Any:
    import keras

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return reads(lambda: keras.saving.load_model(path), "the saved .keras file cannot be loaded again")


def _weights_loaded(model: Any, fresh: Callable[[], Any]) -> Any:
    other = fresh()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.weights.h5"
        model.save_weights(path)
        reads(lambda: other.load_weights(path), "the saved weights do not load into a fresh model")
    return other


def _from_config(model: Any, fresh: Callable[[], Any]) -> Any:
    return drawn(lambda: type(model).from_config(model.get_config()), 0)


def _copied(model: Any, fresh: Callable[[], Any]) -> Any:
    return reads(lambda: copy.deepcopy(model), "the copy that Keras makes, a .keras file, cannot be loaded")


def _unpickled(model: Any, fresh: Callable[[], Any]) -> Any:
    stored = pickle.dumps(model)
    return reads(lambda: pickle.loads(stored), "the pickled model cannot be read again")


def _trained_and_back(model: Any, fresh: Callable[[], Any]) -> Any:
    for training in (True, False):
        model(_inputs(model, np.zeros((1, 2), dtype=np.int32)), training=training)
    return model


def _frozen_and_thawed(model: Any, fresh: Callable[[], Any]) -> Any:
    model.trainable = False
    model.trainable = True
    return model


WAYS = (
    Way("deepcopy", "copy.deepcopy(model)", _copied),
    Way("load", "Model.from_config(model.get_config())", _from_config, exact=False),
    Way(
        "load",
        "model.save_weights('m.weights.h5'); fresh.load_weights('m.weights.h5')",
        _weights_loaded,
        fresh=True,
    ),
    Way("save", "model.save('m.keras'); keras.saving.load_model('m.keras')", _stored),
    Way("pickle", "pickle.loads(pickle.dumps(model))", _unpickled),
    Way("train-mode", "model(x, training=True); model(x, training=False)", _trained_and_back),
    Way("freeze", "model.trainable = False; model.trainable = True", _frozen_and_thawed),
)
