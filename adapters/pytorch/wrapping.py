"""What users wrap a torch module into or put on its table: compilers, checkpointing, parametrizations, averages."""

from __future__ import annotations

import copy
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from tiecheck.conformance.errors import line
from tiecheck.conformance.operations import Inapplicable, Operation
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from .calls import find_logits
from .loading import ends, quiet
from .operations import Fresh

if TYPE_CHECKING:
    from .subject import TorchSubject

Change = Callable[[nn.Module, str], Any]


class Called(nn.Module):
    """A module that is called with ids alone and gives logits alone, however the one inside wants to be called."""

    def __init__(self, module: nn.Module, caller: Callable[..., Any]) -> None:
        super().__init__()
        self.module, self.caller = module, caller

    def forward(self, ids: Tensor) -> Tensor:
        """Logits as the module gives them."""
        return find_logits(self.caller(self.module, ids))


class Checkpointed(Called):
    """The same with every activation forgotten and computed again in the backward pass."""

    def forward(self, ids: Tensor) -> Tensor:
        """Logits as the module gives them."""
        from torch.utils.checkpoint import checkpoint

        return checkpoint(super().forward, ids, use_reentrant=False)  # type: ignore[no-any-return]


class Functional(nn.Module):
    """A module that is called with parameters of its own, by ``torch.func.functional_call``.

    The module inside is hidden: it lends its forward and its buffers, and its own parameters must not matter.
    """

    def __init__(self, module: nn.Module, caller: Callable[..., Any]) -> None:
        super().__init__()
        self.__dict__["inside"] = Called(module, caller)
        named = dict(self.__dict__["inside"].named_parameters())
        self.names = list(named)
        self.values = nn.ParameterList(nn.Parameter(p.detach().clone(), p.requires_grad) for p in named.values())

    def train(self, mode: bool = True) -> Functional:
        """The mode of the module inside."""
        self.__dict__["inside"].train(mode)
        return super().train(mode)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits as the module gives them with these parameters."""
        from torch.func import functional_call

        given = dict(zip(self.names, self.values, strict=True))
        return functional_call(self.__dict__["inside"], given, (ids,))  # type: ignore[no-any-return]


class Exported(nn.Module):
    """An exported graph, which has no modes."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def train(self, mode: bool = True) -> Exported:
        """Nothing: the graph is as it was exported."""
        return self

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the graph."""
        return self.graph(ids)  # type: ignore[no-any-return]


def _checkpointed(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    return subject.after(Checkpointed(subject.module, subject._caller), plainly=True)


def _checkpointing_enabled(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    module: Any = subject.module
    with quiet():
        module.gradient_checkpointing_enable()
    return subject.after(module)


def _no_checkpointing(subject: TorchSubject) -> str:
    there = callable(getattr(subject.module, "gradient_checkpointing_enable", None))
    return "" if there else "the model has no gradient_checkpointing_enable"


def _functional(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    return subject.after(Functional(subject.module, subject._caller), plainly=True)


def _compiled(backend: str) -> Callable[[TorchSubject, Fresh], TorchSubject]:
    def perform(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
        torch._dynamo.reset()
        compiled: Any = torch.compile(subject.module, backend=backend)
        return subject.after(compiled)

    return perform


def _no_compiler(subject: TorchSubject) -> str:
    return "" if shutil.which("g++") or shutil.which("clang++") else "there is no C++ compiler here"


def _exported(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    any_size = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    ids = torch.zeros((2, 3), dtype=torch.long, device=next((p.device for p in subject.module.parameters()), None))
    module = Called(subject.module.eval(), subject._caller)
    with quiet():
        graph = Exported(torch.export.export(module, (ids,), dynamic_shapes={"ids": any_size}).module())
    try:
        graph(torch.cat([ids, ids], 1)[:, :4])
    except Exception as error:  # a length that the graph took for a constant is none of the table's
        raise Inapplicable(f"the graph was exported for ids of one shape alone: {line(error)}") from error
    return subject.after(graph, plainly=True)


# what is put on the table


class Halved(nn.Module):
    """W / 2, as a parametrization."""

    def forward(self, W: Tensor) -> Tensor:
        """(V, D) to (V, D)."""
        return W / 2


def _holder(module: nn.Module, path: tuple[str, ...]) -> nn.Module:
    return module.get_submodule(".".join(path))


def _on_ends(change: Change, both: bool) -> Callable[[TorchSubject, Fresh], TorchSubject]:
    """A change to the parameter of the module that looks up, or of both modules; once where they are one."""

    def perform(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
        lookup, head = ends(subject)
        module = subject.module
        for place in dict.fromkeys((lookup, head) if both else (lookup,)):
            change(_holder(module, place.path), place.name)
        return subject.after(module)

    return perform


def _pruned(module: nn.Module, name: str) -> None:
    prune.l1_unstructured(module, name, amount=0.2)  # type: ignore[no-untyped-call]


def _several(change: str, one: str, both: str, put: Change, word: str, recounts: bool = False) -> tuple[Operation, ...]:
    return tuple(
        Operation(word, f"{change}({where}, 'weight')", _on_ends(put, where == both), exact=False, recounts=recounts)
        for where in (one, both)
    )


def _averaged(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    """The averaged weights after two updates with the model in different places."""
    from torch.optim.swa_utils import AveragedModel

    averaged = AveragedModel(subject.module)
    averaged.update_parameters(subject.module)
    with torch.no_grad():
        for parameter in subject.module.parameters():
            if parameter.is_floating_point():
                parameter.mul_(1.01)
    averaged.update_parameters(subject.module)
    return subject.after(averaged.module)


@contextmanager
def _supported_engine() -> Iterator[None]:
    """torch quantizes with one of its engines; none is chosen on some machines."""
    before = torch.backends.quantized.engine
    if before == "none":
        torch.backends.quantized.engine = torch.backends.quantized.supported_engines[0]
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


def _untied(subject: TorchSubject) -> str:
    return "" if subject.declared.tied else "declared untied: there is no shared table to take apart"


def _quantized(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    from torch.ao.quantization import quantize_dynamic

    with warnings.catch_warnings(), _supported_engine():
        warnings.simplefilter("ignore")
        made = quantize_dynamic(copy.deepcopy(subject.module).eval(), {nn.Linear}, dtype=torch.qint8)  # type: ignore[no-untyped-call]
    return subject.after(made)


WRAPPING: tuple[Operation, ...] = (
    Operation(
        "averaged",
        "AveragedModel(model).update_parameters(model)",
        _averaged,
        exact=False,
        code="averaged = torch.optim.swa_utils.AveragedModel(model)\naveraged.update_parameters(model)\nmodel = averaged.module",
    ),
    Operation(
        "checkpointing",
        "torch.utils.checkpoint.checkpoint(model, ids, use_reentrant=False)",
        _checkpointed,
        gradients=True,
    ),
    Operation(
        "checkpointing",
        "model.gradient_checkpointing_enable()",
        _checkpointing_enabled,
        here=_no_checkpointing,
        gradients=True,
        code="model.gradient_checkpointing_enable()",
    ),
    Operation("functional-call", "torch.func.functional_call(model, other parameters, (ids,))", _functional),
    *_several(
        "parametrize.register_parametrization",
        "embedding",
        "embedding and head",
        lambda module, name: parametrize.register_parametrization(module, name, Halved()),
        "parametrize",
    ),
    *_several(
        "parametrizations.weight_norm",
        "embedding",
        "embedding and head",
        lambda module, name: parametrizations.weight_norm(module, name),
        "weight-norm",
        recounts=True,
    ),
    *_several(
        "prune.l1_unstructured",
        "embedding",
        "embedding and head",
        _pruned,
        "prune",
    ),
    Operation("compile", "torch.compile(model, backend='eager')", _compiled("eager"), gradients=True),
    Operation(
        "compile",
        "torch.compile(model)",
        _compiled("inductor"),
        exact=False,
        heavy=True,
        here=_no_compiler,
        gradients=True,
    ),
    Operation("export", "torch.export.export(model, (ids,)).module()", _exported),
    Operation(
        "quantize",
        "torch.ao.quantization.quantize_dynamic(model, {nn.Linear})",
        _quantized,
        exact=False,
        here=_untied,
        recounts=True,
    ),
)
