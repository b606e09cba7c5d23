"""Further ways to load, store and resize a torch module: by assignment, in part, from the meta device, through libraries."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tiecheck.conformance.errors import TieLost, clean
from tiecheck.conformance.foreign import foreign
from tiecheck.conformance.operations import Inapplicable, Operation, reads
from torch import Tensor, nn

from .operations import Fresh, into_fresh, own, settled, through_file
from .places import Place
from .restore import named_tensors
from .trace import key_of, overlap

if TYPE_CHECKING:
    from .subject import TorchSubject

State = dict[str, Any]


# assignment, and the meta device


def _assigned(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    subject.module.load_state_dict(through_file(subject.module.state_dict()), assign=True)
    return subject.after(subject.module)


def _assigned_to_fresh(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    return _filled_from(subject, fresh, through_file(subject.module.state_dict()), assign=True)


def _from_meta(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    with torch.device("meta"):
        other = fresh().module
    return _filled(subject, other)


def _through_meta(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    source = subject.copied().module
    return _filled(subject, subject.module.to("meta"), source)


def _filled(subject: TorchSubject, module: nn.Module, source: nn.Module | None = None) -> TorchSubject:
    """A module on the meta device after to_empty and its state dict; what no state dict holds is put there by hand."""
    source = source if source is not None else subject.module
    place = next((p.device for p in source.parameters()), torch.device("cpu"))
    module.to_empty(device=place).to(own(source))
    state = source.state_dict()
    module.load_state_dict(state)
    buffers = dict(source.named_buffers())
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            if name not in state and name in buffers and buffer.shape == buffers[name].shape:
                buffer.copy_(buffers[name])
    left = next((name for name, t in named_tensors(module) if t.device.type == "meta"), None)
    if left is not None:
        raise Inapplicable(f"{left} is no buffer and stays on the meta device")
    return subject.after(module)


# a part of the state dict, and two tables in one


def table_keys(subject: TorchSubject) -> list[str]:
    """The keys of the state dict that hold the whole table, in its order."""
    with subject:
        view = subject.seen_table()
        state: State = subject.module.state_dict(keep_vars=True)
        return [
            key
            for key, value in state.items()
            if isinstance(value, Tensor) and value.numel() == view.numel() and key_of(value) == key_of(view)
            if overlap(value, view)
        ]


def _filled_from(subject: TorchSubject, fresh: Fresh, state: State, **how: Any) -> TorchSubject:
    """A fresh model that loads what is no state dict of its own, or in a way that takes a tie apart: it may refuse that."""
    other = settled(fresh)
    other.module.load_state_dict(state, **how)
    return subject.after(other.module)


def _by_one_key(which: int) -> Callable[[TorchSubject, Fresh], TorchSubject]:
    """A state dict that holds the table under its first key alone, or under its last."""

    def perform(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
        keys = table_keys(subject)
        if not keys:
            raise Inapplicable("no key of the state dict holds the table as it is")
        dropped = set(keys) - {keys[which]}
        state = {key: value for key, value in subject.module.state_dict().items() if key not in dropped}
        return _filled_from(subject, fresh, state, strict=False)

    return perform


def _two_tables(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    """The state dict contradicts itself: whoever loads it must end tied, or say so."""
    keys = table_keys(subject)
    if len(keys) < 2:
        raise Inapplicable("the state dict has one key for the table, so that it cannot hold two")
    state = {key: value.clone() for key, value in subject.module.state_dict().items()}
    with torch.no_grad():
        state[keys[-1]] += 0.1 * state[keys[-1]].std() * torch.randn_like(state[keys[-1]])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        made = _filled_from(subject, fresh, state)
    if any(key.rpartition(".")[0] in str(w.message) for w in told for key in keys):
        raise RuntimeError(f"it warns: {clean(str(told[0].message))}")
    return made


# libraries


def _no_safetensors(subject: TorchSubject) -> str:
    return "" if find_spec("safetensors") is not None else "the package safetensors is not installed here"


def _safetensors(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    from safetensors.torch import load_model, save_model

    other = settled(fresh)
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "model.safetensors")
        save_model(subject.module, file)
        reads(lambda: load_model(other.module, file), "load_model refuses what save_model stored")
    return subject.after(other.module)


def _lacks(*names: str) -> Callable[[TorchSubject], str]:
    """Why a module cannot be asked: it has no method of one of these names."""

    def here(subject: TorchSubject) -> str:
        missing = next((name for name in names if not callable(getattr(subject.module, name, None))), "")
        return f"the model has no {missing}" if missing else ""

    return here


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Progress bars and log lines of a library are none of the report's."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _pretrained(shards: int) -> Callable[[TorchSubject, Fresh], TorchSubject]:
    def perform(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
        module: Any = subject.module
        place = next((p.device for p in module.parameters()), torch.device("cpu"))
        with tempfile.TemporaryDirectory() as folder, quiet():
            if shards > 1:
                size = sum(p.numel() * p.element_size() for p in module.parameters())
                module.save_pretrained(folder, max_shard_size=f"{max(size // shards // 1000, 1)}KB")
                if len(list(Path(folder).glob("*.safetensors"))) < 2:
                    raise Inapplicable("one shard was written all the same")
            else:
                module.save_pretrained(folder)
            problem = "from_pretrained refuses what save_pretrained stored"
            other = reads(lambda: type(module).from_pretrained(folder), problem)
        if isinstance(other, tuple):
            other = other[0]
        return subject.after(other.to(place).train(module.training))

    return perform


def _resized(*changes: int, multiple: int | None = None) -> Callable[[TorchSubject, Fresh], TorchSubject]:
    def perform(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
        module: Any = subject.module
        with subject:
            rows = int(subject.seen_table().shape[0])
        with quiet():
            for change in changes:
                if multiple is None:
                    module.resize_token_embeddings(rows + change)
                else:
                    module.resize_token_embeddings(rows + change, pad_to_multiple_of=multiple)
        return subject.after(module)

    return perform


# the optimizer's state


def _optimizer_state(subject: TorchSubject, fresh: Fresh) -> TorchSubject:
    """A training that is stopped and taken up again: model and optimizer are stored, loaded and stepped."""
    optimizer = torch.optim.AdamW(subject.module.parameters(), lr=1e-3)
    stepped(subject, optimizer)
    stored = through_file({"model": subject.module.state_dict(), "optimizer": optimizer.state_dict()})
    other = into_fresh(subject, fresh, stored["model"])
    again = torch.optim.AdamW(other.module.parameters(), lr=1e-3)
    reads(lambda: again.load_state_dict(stored["optimizer"]), "the optimizer of a fresh model refuses the stored state")
    stepped(other, again)
    return subject.after(other.module)


def stepped(subject: TorchSubject, optimizer: torch.optim.Optimizer) -> None:
    """One training step on a few small ids."""
    with subject:
        ids = np.array([[0, 1, 1]])
        optimizer.zero_grad()
        logits = subject._run(ids, True)
        usable = torch.isfinite(logits).all(0).nonzero().ravel()
        targets = usable[torch.arange(logits.shape[0], device=usable.device) % usable.numel()]
        with foreign():
            nn.functional.cross_entropy(logits, targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        optimizer.zero_grad()


# the ends as places


def ends(subject: TorchSubject) -> tuple[Place, Place]:
    """Where the lookup's module and the projection's hold the parameter that they read; the same place twice where there is
    one. Raises Inapplicable where they hold none themselves."""
    from .ends import find

    with subject:
        try:
            found = find(subject.module, caller=subject._caller)
        except TieLost as error:
            raise Inapplicable("the two ends are not one table, so that there is nothing to take apart") from error
    holders = [place for place, known in found.held if place.is_parameter and known() is not None]
    if not holders:
        raise Inapplicable("no module holds the table as a parameter of its own")
    lookup = next(iter(found.lookups), holders[0])
    head = next(iter(found.head), lookup)
    return lookup, head


_FRESH = "fresh = build()\n"
_KEPT = "\nmodel = fresh"
_SAFETENSORS = (
    "safetensors.torch.save_model(model, 'model.safetensors')\n"
    f"{_FRESH}safetensors.torch.load_model(fresh, 'model.safetensors'){_KEPT}"
)
_META = (
    "state = model.state_dict()\nwith torch.device('meta'):\n    model = build()\n"
    "model.to_empty(device='cpu')\nmodel.load_state_dict(state)"
)
_RESUMED = (
    "torch.save({'model': model.state_dict(), 'optimizer': optimizer.state_dict()}, 'checkpoint.pt')\n"
    f"stored = torch.load('checkpoint.pt')\n{_FRESH}fresh.load_state_dict(stored['model'])\n"
    "optimizer = torch.optim.AdamW(fresh.parameters())\noptimizer.load_state_dict(stored['optimizer'])\nmodel = fresh"
)
_STORED = "model.save_pretrained('folder')\nmodel = type(model).from_pretrained('folder')"
_RESIZE = _lacks("resize_token_embeddings")
_PRETRAINED = _lacks("save_pretrained", "from_pretrained")

LOADING: tuple[Operation, ...] = (
    Operation("load-assign", "model.load_state_dict(torch.load(file), assign=True)", _assigned),
    Operation(
        "load-assign",
        "fresh.load_state_dict(torch.load(file), assign=True)",
        _assigned_to_fresh,
        fresh=True,
        code=f"torch.save(model.state_dict(), 'state.pt')\n{_FRESH}fresh.load_state_dict(torch.load('state.pt'), assign=True){_KEPT}",
    ),
    Operation(
        "load-partial", "fresh.load_state_dict(only the table's first key, strict=False)", _by_one_key(0), fresh=True
    ),
    Operation(
        "load-partial", "fresh.load_state_dict(only the table's last key, strict=False)", _by_one_key(-1), fresh=True
    ),
    Operation(
        "load-two-tables",
        "fresh.load_state_dict(two different tables under the two keys)",
        _two_tables,
        exact=False,
        fresh=True,
    ),
    Operation(
        "materialize",
        "with torch.device('meta'): fresh = build(); fresh.to_empty(device); fresh.load_state_dict(state)",
        _from_meta,
        fresh=True,
        code=_META,
    ),
    Operation("materialize", "model.to('meta').to_empty(device); model.load_state_dict(state)", _through_meta),
    Operation(
        "optimizer-state",
        "fresh.load_state_dict(model's); AdamW(fresh.parameters()).load_state_dict(optimizer's); step()",
        _optimizer_state,
        exact=False,
        fresh=True,
        code=_RESUMED,
    ),
    Operation(
        "safetensors",
        "save_model(model, file); load_model(fresh, file)",
        _safetensors,
        fresh=True,
        here=_no_safetensors,
        code=_SAFETENSORS,
    ),
    Operation(
        "pretrained",
        "model.save_pretrained(folder); type(model).from_pretrained(folder)",
        _pretrained(1),
        here=_PRETRAINED,
        code=_STORED,
    ),
    Operation(
        "pretrained",
        "model.save_pretrained(folder, max_shard_size=...); type(model).from_pretrained(folder)",
        _pretrained(3),
        here=_PRETRAINED,
    ),
    Operation("resize", "model.resize_token_embeddings(V + 5)", _resized(5), exact=False, here=_RESIZE, resizes=True),
    Operation(
        "resize",
        "model.resize_token_embeddings(V + 5); model.resize_token_embeddings(V)",
        _resized(5, 0),
        here=_RESIZE,
        code="rows = model.get_input_embeddings().weight.shape[0]\nmodel.resize_token_embeddings(rows + 5)\nmodel.resize_token_embeddings(rows)",
    ),
    Operation(
        "resize",
        "model.resize_token_embeddings(V - 1); model.resize_token_embeddings(V)",
        _resized(-1, 0),
        exact=False,
        here=_RESIZE,
    ),
    Operation(
        "resize",
        "model.resize_token_embeddings(V + 1, pad_to_multiple_of=8)",
        _resized(1, multiple=8),
        exact=False,
        here=_RESIZE,
        resizes=True,
    ),
)
