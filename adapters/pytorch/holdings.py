"""What a module holds and enumerates: names over one memory, parameter lists, optimizers, sizes, dead parameters."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from tiecheck.conformance.errors import line, sentence
from tiecheck.conformance.evidence import Holdings, Named, Probe
from tiecheck.conformance.foreign import foreign
from torch import Tensor, nn

from . import graph
from .calls import parameters_of
from .restore import is_leaf, registered
from .trace import key_of

if TYPE_CHECKING:
    from .subject import TorchSubject

# The usual arguments of configure_optimizers, as the teaching repositories spell them.
USUAL: dict[str, Any] = {
    "weight_decay": 0.1,
    "learning_rate": 1e-3,
    "lr": 1e-3,
    "betas": (0.9, 0.95),
    "device_type": "cpu",
    "device": "cpu",
    "train_config": types.SimpleNamespace(weight_decay=0.1, learning_rate=1e-3, betas=(0.9, 0.95)),
}


def gather(subject: TorchSubject, probe: Probe, twin: int | None) -> Holdings:
    """See `tiecheck.conformance.evidence.Holdings`."""
    module, named = subject.module, subject._named
    reader, table = subject._reader, subject._table
    assert table is not None
    objects: dict[int, int] = {}
    rows = tuple(
        Named(name, objects.setdefault(id(_whose(subject, t)), len(objects)), reader.region(t), t.numel())
        for name, t in [*named, *_outside(subject)]
        if t.layout == torch.strided and t.device.type != "meta"
    )
    parameters = list({id(p): p for p in registered(module)}.values())
    own = _table_parameters(subject, parameters)
    lists = {"parameters()": _listing(module.parameters(), own, subject)}
    refused: dict[str, str] = {}
    stumbles: dict[str, str] = {}
    _ask_optimizers(subject, own, lists, refused, stumbles)
    counts = _own_counts(module, refused)
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    return Holdings(
        named=rows,
        trainable=trainable,
        lists=lists,
        refused=refused,
        stumbles=stumbles,
        own_counts=counts,
        explained_counts=_explained(parameters, subject),
        dead=_dead(subject, parameters, probe),
        twin=twin,
    )


def _whose(subject: TorchSubject, tensor: Tensor) -> Tensor:
    """The tensor itself; of a kept view, which is no parameter of its own and trains nothing, the one that it looks at."""
    seen = tensor if isinstance(tensor, nn.Parameter) or tensor._base is None else tensor._base
    trained = isinstance(seen, nn.Parameter) or seen.requires_grad
    return seen if trained or not subject._reader.knows(seen) else subject._reader.owner(seen)[1]


def _outside(subject: TorchSubject) -> list[tuple[str, Tensor]]:
    known = {key_of(t) for _, t in subject._named}
    return [(subject._watched.names[k], t) for k, t in subject._watched.leaf.items() if k not in known]


def _table_parameters(subject: TorchSubject, parameters: list[nn.Parameter]) -> list[Tensor]:
    """The trainable tensors that the table is, or is made of; those behind the projection's array too."""
    keys: set[int] = set()
    for view in (subject._table, subject._head):
        if view is not None:
            keys.add(key_of(view))
    if subject._derived:
        groups = [k for k in subject._watched.lookups if k.array is subject._table]
        for lookup in groups:
            keys |= lookup.trace.leaves
    known = {id(t): t for _, t in [*subject._named, *_outside(subject)]}
    del parameters
    return [t for t in known.values() if key_of(t) in keys and t.requires_grad and is_leaf(t)]


def _listing(listed: Iterable[Any], own: list[Tensor], subject: TorchSubject) -> tuple[tuple[str, int], ...]:
    items = list(listed)
    return tuple((subject._name_of(t), sum(1 for p in items if p is t)) for t in own)


def _ask_optimizers(
    subject: TorchSubject,
    own: list[Tensor],
    lists: dict[str, tuple[tuple[str, int], ...]],
    refused: dict[str, str],
    stumbles: dict[str, str],
) -> None:
    if subject._optimizer is not None:
        groups = getattr(subject._optimizer, "param_groups", [])
        lists["the optimizer that was handed in"] = _listing((p for g in groups for p in g["params"]), own, subject)
    factory = getattr(subject.module, "configure_optimizers", None)
    if not callable(factory):
        return
    arguments = {}
    for name, parameter in parameters_of(factory).items():
        if name in USUAL:
            arguments[name] = USUAL[name]
        elif parameter.default is inspect.Parameter.empty and parameter.kind in (
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            inspect.Parameter.KEYWORD_ONLY,
            inspect.Parameter.POSITIONAL_ONLY,
        ):
            refused["configure_optimizers"] = f"it takes {name}, which is none of the usual arguments"
            return
    try:
        with foreign():
            made = factory(**arguments)
    except Exception as error:
        text = line(error)
        if "more than one parameter group" in text or "duplicate" in text.lower() or "both decay" in text:
            lists["configure_optimizers()"] = tuple((subject._name_of(t), 2) for t in own)
        elif isinstance(error, KeyError) and error.args and error.args[0] in _second_names(subject, own):
            stumbles["configure_optimizers()"] = f"KeyError: {error.args[0]!r}"
        else:
            refused["configure_optimizers"] = f"it raised {sentence(error)}"
        return
    optimizers = [o for o in _flat(made) if hasattr(o, "param_groups")]
    if not optimizers:
        refused["configure_optimizers"] = "it returned no optimizer"
        return
    listed = [p for o in optimizers for g in o.param_groups for p in g["params"]]
    lists["configure_optimizers()"] = _listing(listed, own, subject)


def _second_names(subject: TorchSubject, own: list[Tensor]) -> set[str]:
    """Names of the table that ``named_parameters()`` leaves out, since it gives each parameter once."""
    listed = {name for name, _ in subject.module.named_parameters()}
    mine = {id(t) for t in own}
    every = subject.module.named_parameters(remove_duplicate=False)
    return {name for name, parameter in every if id(parameter) in mine and name not in listed}


def _flat(made: Any) -> list[Any]:
    if isinstance(made, dict):
        return [v for value in made.values() for v in _flat(value)]
    if isinstance(made, list | tuple):
        return [v for value in made for v in _flat(value)]
    return [made]


def _own_counts(module: nn.Module, refused: dict[str, str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in ("num_parameters", "get_num_params"):
        method = getattr(module, name, None)
        if not callable(method):
            continue
        if any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters_of(method).values()):
            refused[name] = "it takes arguments that are not known"
            continue
        try:
            with foreign():
                number = method()
        except Exception as error:
            refused[name] = f"it raised {sentence(error)}"
            continue
        if isinstance(number, int) and not isinstance(number, bool):
            counts[name] = number
        else:
            refused[name] = f"it returned {type(number).__name__}, not a whole number"
    return counts


def _explained(parameters: list[nn.Parameter], subject: TorchSubject) -> tuple[int, ...]:
    """Honest sizes: all or the trainable scalars, each less the position and segment tables that the pass looked up."""
    totals = {sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)}
    table = key_of(subject._table) if subject._table is not None else 0
    looked = {key_of(k.source): k.source.numel() for k in subject._watched.lookups if key_of(k.source) != table}
    small = [p.numel() for p in parameters if p.dim() in (2, 3) and key_of(p) != table]
    less = {0, sum(looked.values()), *looked.values(), *small}
    return tuple(sorted({t - x for t in totals for x in less}))


def _dead(subject: TorchSubject, parameters: list[nn.Parameter], probe: Probe) -> tuple[str, ...]:
    """V x D parameters, besides the table, that neither the logits of either mode nor the model's own loss reach."""
    table = subject._table
    assert table is not None
    shapes = {tuple(table.shape), tuple(table.shape[::-1])}
    same = {key_of(v) for v in (table, subject._head) if v is not None}
    suspects = [p for p in parameters if tuple(p.shape) in shapes and p.requires_grad and key_of(p) not in same]
    if not suspects:
        return ()
    reached = set(subject._reached)
    for train in (False, True):
        walked = graph.walk(subject._run(probe.ids, train))
        reached |= {id(leaf) for leaf in walked.leaves}
    used = {key_of(k.source) for k in subject._watched.lookups} | {
        leaf for p in subject._watched.products for leaf in p.trace.leaves
    }
    return tuple(subject._name_of(p) for p in suspects if id(p) not in reached and key_of(p) not in used)
