"""The two ends of a module, as places in it: found by one watched pass, and compared by identity ever after.

What is found is kept as paths from the root and weak references, so that nothing keeps a model or a table alive.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import random
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from operator import is_
from typing import Any

import numpy as np
import torch
from tiecheck.conformance.errors import NotJudged, TieLost, sentence
from tiecheck.conformance.evidence import Array
from tiecheck.conformance.foreign import foreign
from tiecheck.conformance.premise import SHAPES
from torch import Tensor, nn

from .calls import call, find_logits, positions
from .lookups import Group, choose, group_lookups
from .places import Place, places, split, unwrapped
from .restore import Snapshot, Surroundings, named_tensors, seed_torch
from .seen import Head, find_head
from .tie import End, Held, apart, groups_of, listing, named, orphan, owner, plain, two_parameters, two_tables, windows
from .trace import Lookup, Product, Trace, Watch, eager, key_of

Caller = Callable[..., Any]


@dataclass(frozen=True)
class TorchEnds:
    """Both ends of a tied module. See `tiecheck.conformance.protocol.Ends`.

    Attributes:
        held: every place that holds the table or a part of what it is made of, with what it held.
        views: two tensors that are to lie over one memory, for each tensor that is no other name of the table.
        tables: the parameters of which each optimizer must hold one.
        lookups, head: the parameters that the reading modules hold themselves; empty where they read them elsewhere.
        ids: with which the pass was made, to make it again.
        asked: optimizers that were searched for orphans, with how much they held then.
    """

    held: tuple[tuple[Place, weakref.ref[Tensor]], ...]
    views: tuple[tuple[weakref.ref[Tensor], weakref.ref[Tensor]], ...]
    tables: tuple[weakref.ref[Tensor], ...]
    lookups: tuple[Place, ...]
    head: tuple[Place, ...]
    ids: Array | None
    asked: weakref.WeakKeyDictionary[Any, int] = field(default_factory=weakref.WeakKeyDictionary, compare=False)

    def unchanged(self, model: nn.Module) -> bool:
        """Whether every place holds the very tensor that it held when the ends were found."""
        for place, known in self.held:
            tensor = known()
            if tensor is None or place.read(model) is not tensor:
                return False
        for one, other in self.views:
            a, b = one(), other()
            if a is None or b is None or key_of(a) != key_of(b):
                return False
        return True

    def listed(self, model: nn.Module, optimizer: Any) -> None:
        """Raises TieLost unless the optimizer (or several, in a list) holds the table's parameter exactly once."""
        groups = groups_of(optimizer)
        for reference in self.tables:
            table = reference()
            count = 0
            for group in groups:
                count += sum(map(is_, group["params"], repeat(table)))
            if count == 1 or (count == 0 and table is not None and not table.requires_grad):
                continue
            raise TieLost(listing(model, table, groups, count))
        size = sum(len(group["params"]) for group in groups)
        optimizers = optimizer if isinstance(optimizer, list | tuple) else (optimizer,)
        if self.tables and any(self.asked.get(one) != size for one in optimizers):
            problem = orphan(model, [t for t in (reference() for reference in self.tables) if t is not None], groups)
            if problem:
                raise TieLost(problem)
            self.asked.update((one, size) for one in optimizers)

    def described(self) -> str:
        """Every name of the table, its shape, dtype and where it is."""
        held = [(place, tensor) for place, known in self.held if (tensor := known()) is not None]
        tables = [t for t in (reference() for reference in self.tables) if t is not None] or [t for _, t in held[:1]]
        said = []
        for table in tables:
            # Wrappers keep lists of their own beside what is registered.
            over = [place for place, tensor in held if tensor is table]
            names = [str(place) for place in over if place.is_parameter] or [str(place) for place in over]
            size, dtype = " x ".join(map(str, table.shape)), str(table.dtype).removeprefix("torch.")
            more = "; on meta: by name, no values yet" if table.is_meta else "" if plain(table) else "; sharded"
            said.append(f"{' = '.join(names)} ({size}, {dtype}{more})")
        return " and ".join(said)


# finding the ends


def find(model: nn.Module, ids: Any = None, before: TorchEnds | None = None, caller: Caller = call) -> TorchEnds:
    """Both ends of ``model``: by identity where it was known who reads them, else by one watched pass.

    The framework's accessors (``get_input_embeddings``, ``get_output_embeddings``) speak only where no pass can show
    the ends, because they may name what forward does not use.

    Args:
        model: any module; the wrappers of torch are looked through.
        ids: (B, T), for a model that does not take the ids that are drawn otherwise.
        before: what was found the last time, and has changed since.
        caller: how to call it.

    Raises:
        TieLost: the two ends are not one registered parameter.
        NotJudged: they cannot be found.
    """
    _reshard(model)
    given = _as_ids(ids) if ids is not None else before.ids if before is not None else None
    if before is not None and before.lookups and before.head and before.lookups != before.head:
        known = _by_identity(model, before)
        if known is not None:
            return known
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters()):
        raise NotJudged("the model has parameters without a shape yet; run it once, then ask")
    try:
        if flattened(model):
            raise NotJudged("no pass can be watched where FullyShardedDataParallel flattens the parameters")
        return _observed(model, given, caller)
    except NotJudged as unseen:
        named = _accessors(model)
        if named is None:
            raise
        try:
            return _identified(model, *named, given)
        except NotJudged:
            raise unseen from None


def _as_ids(ids: Any) -> Array:
    array = np.asarray(ids.detach().cpu() if isinstance(ids, Tensor) else ids)
    if array.ndim != 2 or array.size == 0 or not np.issubdtype(array.dtype, np.integer):
        raise NotJudged(f"ids are whole numbers of shape (B, T), not {array.dtype} of shape {array.shape}")
    return array.astype(np.int64)


def _by_identity(model: nn.Module, before: TorchEnds) -> TorchEnds | None:
    """The verdict where the modules at both ends hold what they read themselves; None where that does not decide."""
    lookups = [place.read(model) for place in before.lookups]
    heads = [place.read(model) for place in before.head]
    if not all(isinstance(t, nn.Parameter) for t in (*lookups, *heads)):
        return None
    if all(t is heads[0] for t in (*lookups, *heads)) or not any(t is h for t in lookups for h in heads):
        return _identified(model, before.lookups, before.head, before.ids)
    return None


def _accessors(model: nn.Module) -> tuple[tuple[Place, ...], tuple[Place, ...]] | None:
    """What the framework's own accessors name as the two ends, if they name both."""
    inner, prefix = unwrapped(model)
    out = []
    for name in ("get_input_embeddings", "get_output_embeddings"):
        module = None
        with contextlib.suppress(Exception):
            module = getattr(inner, name)()
        weight = getattr(module, "weight", None)
        if not isinstance(weight, Tensor):
            return None
        path = next((n for n, m in inner.named_modules() if m is module), None)
        if path is None:
            return None
        out.append((Place((*prefix, *split(path)), "_parameters", "weight"),))
    return out[0], out[1]


def _identified(model: nn.Module, lookups: tuple[Place, ...], heads: tuple[Place, ...], ids: Array | None) -> TorchEnds:
    """The ends from the places that are read. Raises TieLost where these hold two tensors, NotJudged where none."""
    one, other = lookups[0].read(model), heads[0].read(model)
    if one is None or other is None:
        raise NotJudged(f"{lookups[0] if one is None else heads[0]} is computed, so that identity says nothing of it")
    held = list(places(model))
    if one is not other:
        shared = plain(one) and plain(other) and key_of(one) == key_of(other)
        raise TieLost(two_parameters(held, [one, other]) if shared else two_tables(lookups[0], heads[0], one, other))
    table, aliases = owner(held, key_of(one), one, str(lookups[0])) if plain(one) else (one, [])
    kept = [(place, tensor) for place, tensor in held if tensor is one]
    return _ends(kept, [(one, t) for t in aliases], [] if table is None else [table], lookups, heads, ids)


def _ends(
    held: Held,
    views: list[tuple[Tensor, Tensor]],
    tables: list[Tensor],
    lookups: tuple[Place, ...],
    heads: tuple[Place, ...],
    ids: Array | None,
) -> TorchEnds:
    return TorchEnds(
        tuple((place, weakref.ref(tensor)) for place, tensor in held),
        tuple((weakref.ref(a), weakref.ref(b)) for a, b in views),
        tuple(weakref.ref(table) for table in tables),
        lookups,
        heads,
        ids,
    )


# one watched pass


@dataclass(frozen=True)
class Seen:
    """What one watched pass showed; ``prefix`` leads from the root to the module that was called."""

    watch: Watch
    prefix: tuple[str, ...]
    logits: Tensor
    group: Group
    head: Head | None


def _observed(model: nn.Module, ids: Array | None, caller: Caller) -> TorchEnds:
    inner, prefix = unwrapped(model)
    held = list(places(model))  # before the pass: what it leaves behind is taken away again
    sharded = not all(plain(t) for p, t in held if p.is_parameter)
    with Surroundings(), Snapshot(inner) as snapshot, torch.set_grad_enabled(not sharded), eager():
        try:
            try:
                seen, used = _first_that_runs(inner, prefix, ids, snapshot, caller)
            except NotJudged:
                if not sharded:
                    raise
                # The first pass of FSDP2 makes the memory that it gathers into, and then nobody knows whose that is.
                seen, used = _first_that_runs(inner, prefix, ids, snapshot, caller)
        except NotJudged as problem:
            if sharded:
                raise NotJudged(
                    f"parameters are sharded or quantized, and no pass could be watched: {problem}"
                ) from problem
            raise
        finally:
            _reshard(model)
        lookup = _end(seen, held, seen.group.lookups, seen.group.first.array, seen.group.first.trace, sharded)
        if seen.head is not None:
            reads = [seen.watch.products[i] for i in seen.head.indices]
            head = _end(seen, held, reads, seen.head.array, seen.head.trace, sharded)
        elif not sharded:
            _follow(inner, seen, lookup, used, snapshot, caller)
            head = dataclasses.replace(lookup, places=(), where="")
        if not sharded:
            return _compared(model, seen, held, lookup, head, ids)
        # What was read may be a copy, gathered for the pass: the modules that read it hold the parameters.
        if seen.head is not None and lookup.places and lookup.leaves == head.leaves:
            head = dataclasses.replace(head, places=head.places or lookup.places)
        if seen.head is None or not lookup.places or not head.places:
            raise NotJudged(
                "parameters are sharded or quantized, and the modules that read the table do not hold it themselves"
            )
        return _identified(model, lookup.places, head.places, ids)


def _reshard(model: nn.Module) -> None:
    """Fully sharded modules may keep what they gathered for a pass registered in place of their parameters."""
    if "torch.distributed.fsdp" not in sys.modules:
        return
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def flattened(model: nn.Module) -> bool:
    """Whether the older FullyShardedDataParallel holds parts of it, whose memory moves under every forward pass."""
    if "torch.distributed.fsdp" not in sys.modules:
        return False
    from torch.distributed.fsdp import FullyShardedDataParallel

    return any(isinstance(module, FullyShardedDataParallel) for module in model.modules())


def _first_that_runs(
    inner: nn.Module, prefix: tuple[str, ...], ids: Array | None, snapshot: Snapshot, caller: Caller
) -> tuple[Seen, Tensor]:
    """A watched pass with the ids given, or else with the first that the model takes."""
    named = [(name, tensor) for name, tensor in named_tensors(inner) if tensor.layout == torch.strided]
    device = next((t.device for _, t in named), torch.device("cpu"))
    problem = ""
    candidates: Iterable[Array] = _drawn() if ids is None else [ids]
    if device.type == "meta":  # nothing there depends on which ids, or on how many
        candidates = itertools.islice(candidates, 1)
    for drawn in candidates:
        tensor = torch.tensor(drawn, device=device)
        try:
            return _watched(inner, prefix, tensor, named, snapshot, caller), tensor
        except NotJudged:
            raise
        except Exception as error:
            problem = problem or sentence(error)
    raise NotJudged(f"the model does not run on the ids ({problem}); hand in ids= that it takes")


def _drawn() -> Iterator[Array]:
    """Ids that are surely legal, in falling shapes; never in the order of the positions."""
    for batch, length in SHAPES:
        ids = np.resize([1, 0, 0, 1, 1], (batch, length)).astype(np.int64)
        yield from (ids, np.zeros_like(ids))


def _watched(
    inner: nn.Module,
    prefix: tuple[str, ...],
    ids: Tensor,
    named: list[tuple[str, Tensor]],
    snapshot: Snapshot,
    caller: Caller,
) -> Seen:
    watch = Watch(inner, named, ids, snapshot.save_storage)
    with watch:
        logits = _logits(inner, ids, caller)
    columns = positions(logits, *ids.shape).shape[-1]
    numbers = np.zeros(ids.shape, np.int64) if ids.is_meta else ids.cpu().numpy()
    group = choose([g for g in group_lookups(watch, numbers) if g.score > 0], watch, logits, columns, inner)
    if group is None:
        raise NotJudged("no lookup of the watched pass read rows of an array by the token ids")
    rows, width = group.first.array.shape
    head = find_head(watch, logits, columns, group.first.array)
    if columns == width != rows:
        raise NotJudged(f"the model returns {width} numbers a position, hidden states and not logits of {rows} tokens")
    return Seen(watch, prefix, logits, group, head)


def _logits(inner: nn.Module, ids: Tensor, caller: Caller) -> Tensor:
    """The logits of one pass, with the generators at one state, so that two passes differ by what was written alone."""
    seed_torch(0)
    np.random.seed(0)
    random.seed(0)
    with foreign():
        return find_logits(caller(inner, ids))


def _end(seen: Seen, held: Held, reads: Sequence[Lookup | Product], array: Tensor, trace: Trace, sharded: bool) -> End:
    key = key_of(array)
    view = key in seen.watch.leaf
    # What has as many numbers as there are rows or columns is a scale or a bias, and no part of the table.
    leaves = [k for k in trace.leaves if seen.watch.leaf[k].numel() > max(array.shape)]
    own: list[Place] = []
    for reader in dict.fromkeys(read.reader for read in reads):
        path = (*seen.prefix, *split(reader))
        here = [(p, t) for p, t in held if p.path == path and (t.dim() == 2 if sharded else key_of(t) == key)]
        if len(here) != 1 or not here[0][0].is_parameter or here[0][1].numel() != array.numel():
            own = []
            break
        own.append(here[0][0])
    where = next((read.where for read in reads), "")
    return End(frozenset([key]) if view else frozenset(leaves or trace.leaves), array, view, tuple(own), where)


def _follow(inner: nn.Module, seen: Seen, lookup: End, ids: Tensor, snapshot: Snapshot, caller: Caller) -> None:
    """Where no product shows the projection: whether the logit of a token follows a write to its row of the table.

    Raises TieLost where it does not, NotJudged where no row can be written.
    """
    array = lookup.array.detach()
    read = {int(row) for k in seen.group.lookups for row in k.rows.reshape(-1)} if not array.is_meta else set()
    columns = seen.logits.shape[-1]
    row = next((r for r in range(min(columns, array.shape[0])) if r not in read), None)
    if not lookup.view or array.is_meta or not plain(lookup.array) or row is None:
        raise NotJudged("the projection was not seen as a product of an array, and no row can be written to find it")
    snapshot.save_storage(lookup.array)
    with torch.no_grad():
        old = array[row].clone()
        try:
            before = _logits(inner, ids, caller)[..., row]
            array[row] = torch.randn_like(old) + old
            after = _logits(inner, ids, caller)[..., row]
        finally:
            array[row] = old
    if not (seen.logits.any() and before.isfinite().all() and after.isfinite().all()):
        raise NotJudged("the projection was not seen as a product of an array, and the logits are zero or not a number")
    if torch.equal(before, after):
        name = named(seen.watch, [], lookup.leaves)
        raise TieLost(
            f"the tie is lost: the logit of token {row} does not follow a write to its row of {name}, which the lookup "
            f"reads, so that the projection reads something else"
        )


# what the pass showed


def _compared(model: nn.Module, seen: Seen, held: Held, lookup: End, head: End, ids: Array | None) -> TorchEnds:
    """The ends of a tied module. Raises TieLost where they are not one."""
    if lookup.leaves != head.leaves:
        raise TieLost(apart(seen.watch, held, lookup, head))
    problem = windows(seen.watch, held, lookup, head)
    if problem:
        raise TieLost(problem)
    kept: Held = []
    views: list[tuple[Tensor, Tensor]] = []
    tables: list[Tensor] = []
    exact = bool(lookup.places and head.places)
    traces = [k.trace for k in seen.watch.lookups] + [p.trace for p in seen.watch.products]
    used = frozenset(key for trace in traces for key in trace.leaves)
    for key in lookup.leaves:
        leaf = seen.watch.leaf[key]
        window = lookup.array if lookup.view else leaf
        table, aliases = owner(held, key, window, named(seen.watch, held, [key]), used)
        over = [(p, t) for p, t in held if key_of(t) == key]
        kept += [(p, t) for p, t in over if table is None or t is table or not exact]
        if table is not None:
            tables.append(table)
            views += [] if exact else [(table, alias) for alias in aliases]
    return _ends(kept, views, tables, lookup.places, head.places, ids)
