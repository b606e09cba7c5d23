"""What users do to a torch module. Each is tried in the ways in which it is written."""

from __future__ import annotations

import contextlib
import copy
import io
import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tiecheck.conformance.operations import Operation, reads
from torch import nn

if TYPE_CHECKING:
    from .subject import TorchSubject

Fresh = Callable[[], "TorchSubject"]
Change = Callable[[nn.Module], Any]
_STATE = "the state dict that was saved cannot be loaded again"


def _deepcopy(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    return subject.after(copy.deepcopy(subject.module))


def _pickle(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    stored = pickle.dumps(subject.module)
    return subject.after(reads(lambda: pickle.loads(stored), "what pickle stored cannot be read again"))


def _save(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    return subject.after(through_file(subject.module, "what torch.save stored cannot be loaded again"))


def _save_state(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    return into_fresh(subject, fresh, through_file(subject.module.state_dict()))


def _load(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    return into_fresh(subject, fresh, subject.module.state_dict())


def _save_weights(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    return into_fresh(subject, fresh, through_file(subject.module.state_dict(), _STATE, weights_only=True))


def through_file(thing: Any, problem: str = _STATE, weights_only: bool = False) -> Any:
    """What torch.load makes of what torch.save wrote."""
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    # The file is our own, written the line before: reading the whole object back runs nothing that did not run already.
    return reads(lambda: torch.load(file, weights_only=weights_only), problem)


def settled(fresh: Fresh) -> TorchSubject:
    """A fresh model that is where the run wants it, and off what is neutral."""
    other = fresh()
    with other:
        pass
    return other


def into_fresh(subject: TorchSubject, fresh: Fresh, state: Any, **how: Any) -> TorchSubject:
    """A state dict in a fresh model."""
    other = settled(fresh)
    _load_into(other.module, state, **how)
    return subject.after(other.module)


def _load_itself(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    _load_into(subject.module, subject.module.state_dict())
    return subject.after(subject.module)


def _load_leniently(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    return into_fresh(subject, fresh, subject.module.state_dict(), strict=False)


def _load_into(module: nn.Module, state: Any, **how: Any) -> None:
    reads(lambda: module.load_state_dict(state, **how), "the model's own load_state_dict refuses its own state_dict")


def _in_place(change: Change) -> Callable[[TorchSubject, Fresh], TorchSubject]:
    """An operation that changes the module, and may return it or another."""

    def perform(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
        changed = change(subject.module)
        return subject.after(changed if isinstance(changed, nn.Module) else subject.module)

    return perform


def _flips(module: nn.Module) -> None:
    for mode in (False, True) * 3:
        module.train(mode)


def _flips_with_calls(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    _called(subject, (False, True, False, True, False))
    return subject.after(subject.module)


def _called(subject: TorchSubject, modes: Iterable[bool]) -> None:
    """A short call in each mode; True is train mode."""
    with subject:
        for train in modes:
            subject.logits(np.zeros((1, 2), dtype=np.int64), train)


@contextlib.contextmanager
def _thawed_as_before(module: nn.Module) -> Iterator[None]:
    """Whatever is frozen and thawed inside, each name requires gradients afterwards as it did before."""
    flags = {name: p.requires_grad for name, p in module.named_parameters(remove_duplicate=False)}
    yield
    for name, parameter in module.named_parameters(remove_duplicate=False):
        parameter.requires_grad_(flags.get(name, True))


def _frozen(module: nn.Module) -> None:
    with _thawed_as_before(module):
        module.requires_grad_(False)
        module.requires_grad_(True)


def _frozen_by_flags(module: nn.Module) -> None:
    with _thawed_as_before(module):
        for flag in (False, True):
            for parameter in module.parameters():
                parameter.requires_grad = flag


def _frozen_with_a_call(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    """Nobody freezes a model without running it: what is packed or cached then may stay."""
    with _thawed_as_before(subject.module):
        subject.module.requires_grad_(False)
        _called(subject, (False, True))
        subject.module.requires_grad_(True)
    return subject.after(subject.module)


def _other_device(subject: TorchSubject) -> str:
    return "" if torch.cuda.is_available() else "there is no other device here"


def _there_and_back(module: nn.Module) -> nn.Module:
    place = next((p.device for p in module.parameters()), torch.device("cpu"))
    other = torch.device("cpu") if place.type == "cuda" else torch.device("cuda")
    moved: nn.Module = module.to(other).to(place)
    return moved


def _cast(spelling: str, change: Change, back: bool, code: str = "") -> Operation:
    return Operation("cast", spelling, _in_place(change), exact=back, halfway=not back, code=code)


def own(module: nn.Module) -> torch.dtype:
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


_METHODS = {torch.float64: "double", torch.float32: "float", torch.bfloat16: "bfloat16", torch.float16: "half"}


def _by_methods(module: nn.Module) -> nn.Module:
    """To float64 and back by .double() and the method of the model's own dtype."""
    back = _METHODS[own(module)]
    result: nn.Module = getattr(module.double(), back)()
    return result


def _by_to(module: nn.Module) -> nn.Module:
    before = own(module)
    result: nn.Module = module.to(torch.float64).to(before)
    return result


_FRESH = "fresh = build()\n"
_KEPT = "\nmodel = fresh"
_FROM_FILE = f"torch.save(model.state_dict(), 'state.pt')\n{_FRESH}fresh.load_state_dict(torch.load('state.pt')){_KEPT}"

OPERATIONS: tuple[Operation, ...] = (
    Operation("deepcopy", "copy.deepcopy(model)", _deepcopy, large=True, code="model = copy.deepcopy(model)"),
    Operation("pickle", "pickle.loads(pickle.dumps(model))", _pickle, code="model = pickle.loads(pickle.dumps(model))"),
    _cast("model.double()", lambda m: m.double(), False),
    _cast("model.double().float()", _by_methods, True),
    _cast(
        "model.to(torch.float64).to(torch.float32)", _by_to, True, "model = model.to(torch.float64).to(torch.float32)"
    ),
    _cast("model.bfloat16()", lambda m: m.bfloat16(), False),
    _cast("model.to(torch.bfloat16)", lambda m: m.to(torch.bfloat16), False),
    Operation("move", "model.to(device).to(the old one)", _in_place(_there_and_back), here=_other_device),
    Operation("move", "model.cpu()", _in_place(lambda m: m.cpu()), weak=True),
    Operation("train-mode", "model.eval(); model.train()", _in_place(_flips), large=True, code="model.eval().train()"),
    Operation(
        "train-mode",
        "model.eval(); model(ids); model.train(); model(ids)",
        _flips_with_calls,
        exact=False,
        code="model.eval()\nmodel(ids)\nmodel.train()\nmodel(ids)",
    ),
    Operation(
        "freeze",
        "model.requires_grad_(False); model.requires_grad_(True)",
        _in_place(_frozen),
        code="model.requires_grad_(False).requires_grad_(True)",
    ),
    Operation("freeze", "p.requires_grad = False, then True, for p in model.parameters()", _in_place(_frozen_by_flags)),
    Operation(
        "freeze",
        "model.requires_grad_(False); model(ids); model.requires_grad_(True)",
        _frozen_with_a_call,
        exact=False,
    ),
    Operation(
        "load",
        "model.load_state_dict(model.state_dict())",
        _load_itself,
        large=True,
        code="model.load_state_dict(model.state_dict())",
    ),
    Operation(
        "load",
        "fresh.load_state_dict(model.state_dict())",
        _load,
        fresh=True,
        code=f"{_FRESH}fresh.load_state_dict(model.state_dict()){_KEPT}",
    ),
    Operation("load", "fresh.load_state_dict(model.state_dict(), strict=False)", _load_leniently, fresh=True),
    Operation(
        "save",
        "torch.save(model, file); torch.load(file)",
        _save,
        code="torch.save(model, 'model.pt')\nmodel = torch.load('model.pt', weights_only=False)",
    ),
    Operation(
        "save",
        "torch.save(model.state_dict(), file); fresh.load_state_dict(torch.load(file))",
        _save_state,
        fresh=True,
        code=_FROM_FILE,
    ),
    Operation(
        "save",
        "torch.save(model.state_dict(), file); fresh.load_state_dict(torch.load(file, weights_only=True))",
        _save_weights,
        fresh=True,
    ),
)
