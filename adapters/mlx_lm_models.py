"""MLX-LM: modules are trees of arrays, and a table is shared by `nn.Embedding.as_linear`."""

from __future__ import annotations

import copy
import functools
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tiecheck.conformance import translated
from tiecheck.conformance.declaration import Declaration
from tiecheck.conformance.evidence import Array
from tiecheck.conformance.leaves import Way
from tiecheck.conformance.operations import reads
from tiecheck.conformance.protocol import Backend, Built

if TYPE_CHECKING:
    from types import ModuleType

FLAG = True
FLAG_NAME = "tie_word_embeddings"
SHOWN = ("gpt2", "llama", "qwen2", "gemma")
UNDIFFERENTIABLE = dict.fromkeys(
    ("gradient", "stepper"), "MLX cannot differentiate the model: it raises for the indices of a gather"
)


def backend() -> Backend:
    """See `tiecheck.conformance.protocol.Adapter`."""
    here = find_spec("mlx") is not None and find_spec("mlx_lm") is not None
    asks = ("logits", "writes", "gradients", "steps of mlx.optimizers", "copies, casts, weight files, freezing")
    return Backend(
        "mlx-lm", "mlx.nn.Module, called with ids (B, T)", here, asks, (*SHOWN, "MODEL_TYPE of mlx_lm.models")
    )


def every() -> tuple[str, ...]:
    """Every model module of mlx_lm."""
    from .examples import mlx_lm_tiny

    return mlx_lm_tiny.every()


def accepts(model: object) -> bool:
    """Any MLX module; the library is not imported to find out."""
    nn: ModuleType | None = sys.modules.get("mlx.nn")
    return nn is not None and isinstance(model, nn.Module)


def build(name: str, *, tied: bool | None, seed: int) -> Built:
    """A tiny model of that type, with the flag as asked. LookupError: no such type. NotJudged: it has no flag to turn so."""
    from .examples.mlx_lm_tiny import tiny

    return tiny(name, tied, seed)


class Network:
    """What MLX says of one module. Leaves are what ``parameters()`` lists, by path."""

    packages = ("mlx", "mlx-lm")
    idiom = "logits = self.embed_tokens.as_linear(h)"

    def __init__(self, model: Any, differentiable: bool = True) -> None:
        import mlx.core as mx
        from mlx.utils import tree_flatten, tree_unflatten

        self.model, self._mx, self._flat, self._tree = model, mx, tree_flatten, tree_unflatten
        self.unasked = {} if differentiable else UNDIFFERENTIABLE
        self.device = "cpu" if mx.default_device().type == mx.DeviceType.cpu else "cuda"
        model.eval()

    def logits(self, ids: Array) -> Array:
        """Logits (B, T, V)."""
        return self._numpy(self.model(self._mx.array(ids)))

    def leaves(self) -> dict[str, Array]:
        """Every array by its path."""
        return {name: self._numpy(leaf) for name, leaf in self._flat(self.model.parameters())}

    def trained(self) -> frozenset[str]:
        """What ``trainable_parameters()`` lists, which is what an optimizer updates."""
        return frozenset(name for name, _ in self._flat(self.model.trainable_parameters()))

    def write(self, name: str, values: Array) -> None:
        """Another array in the leaf's place."""
        self.model.update(self._tree([(name, self._like(name, values))]))

    def gradient(self, ids: Array, R: Array) -> dict[str, Array]:
        """d<R, logits>/d leaf, by `nn.value_and_grad`."""
        import mlx.nn as nn

        def product(model: Any) -> Any:
            logits = model(self._mx.array(ids))
            return (self._mx.array(R.astype(np.float32)).astype(logits.dtype) * logits).sum()

        _, found = nn.value_and_grad(self.model, product)(self.model)
        return {name: self._numpy(leaf) for name, leaf in self._flat(found)}

    def stepper(self, kind: str, rate: float, decay: float) -> Callable[[Mapping[str, Array]], None]:
        """An optimizer of mlx.optimizers over the module."""
        import mlx.optimizers as optimizers

        if kind == "sgd":
            optimizer = optimizers.SGD(rate, momentum=0.9, weight_decay=decay)
        else:
            optimizer = optimizers.AdamW(rate, weight_decay=decay, bias_correction=True)

        def step(gradients: Mapping[str, Array]) -> None:
            named = [(name, self._like(name, value)) for name, value in gradients.items()]
            optimizer.update(self.model, self._tree(named))
            self._mx.eval(self.model.parameters(), optimizer.state)

        return step

    def ways(self) -> tuple[Way, ...]:
        """What users of MLX do to a module."""
        mx = self._mx
        library = (
            Way("save", "mlx_lm.utils.save_model(folder, model); load_model(folder)", _through_folder, fresh=True),
        )
        return (
            *(library if find_spec("mlx_lm") is not None else ()),
            Way("deepcopy", "copy.deepcopy(model)", lambda model, fresh: copy.deepcopy(model)),
            Way("save", "model.save_weights(file); fresh.load_weights(file)", _through_file, fresh=True),
            Way("load", "fresh.update(model.parameters())", _updated, fresh=True),
            Way("cast", "model.set_dtype(mx.bfloat16)", lambda m, f: _done(m, m.set_dtype(mx.bfloat16)), False, True),
            Way("freeze", "model.freeze(); model.unfreeze()", lambda m, fresh: _done(m, m.freeze(), m.unfreeze())),
            Way("train-mode", "model.train(); model.eval()", lambda m, fresh: _done(m, m.train(), m.eval())),
        )

    def _like(self, name: str, values: Array) -> Any:
        dtype = dict(self._flat(self.model.parameters()))[name].dtype
        return self._mx.array(np.asarray(values, dtype=np.float32)).astype(dtype)

    def _numpy(self, leaf: Any) -> Array:
        """NumPy has no bfloat16: such leaves are widened, which loses nothing."""
        return np.array(leaf.astype(self._mx.float32) if leaf.dtype == self._mx.bfloat16 else leaf)


def _done(model: Any, *results: Any) -> Any:
    """The model, changed in place by what was called in the arguments."""
    return model


def _through_file(model: Any, fresh: Callable[[], Any]) -> Any:
    other = fresh()
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "weights.safetensors"))
        model.save_weights(file)
        reads(lambda: other.load_weights(file), "load_weights refuses what save_weights stored")
        import mlx.core as mx

        mx.eval(other.parameters())  # MLX reads when a value is wanted, and the file is about to go
    return other


def _through_folder(model: Any, fresh: Callable[[], Any]) -> Any:
    """The library's own reading: it builds the class anew, calls its ``sanitize``, and misses no name silently."""
    from mlx_lm.utils import load_model, save_model

    class Arguments:
        from_dict = staticmethod(lambda config: None)

    with tempfile.TemporaryDirectory() as folder:
        save_model(folder, model)
        Path(folder, "config.json").write_text("{}", "utf-8")
        # One that its loading ties is not to be tied before it.
        classes = (lambda _: type(model)(model.args) if hasattr(model, "args") else fresh(), Arguments)
        return reads(
            lambda: load_model(Path(folder), get_model_classes=lambda config: classes)[0],
            "load_model refuses what save_model stored",
        )


def _updated(model: Any, fresh: Callable[[], Any]) -> Any:
    other = fresh()
    other.update(model.parameters())
    return other


def subject_of(built: Built, declared: Declaration, **options: Any) -> translated.Translated:
    """The subject, without gradients where MLX cannot differentiate the module."""
    network = functools.partial(Network, differentiable=built.extra.get("differentiable", True))
    return translated.subject_of(network)(built, declared, **options)
