"""A torch module as a subject: ids in, evidence out, and the module back as it was."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import torch
from tiecheck.conformance.declaration import Declaration
from tiecheck.conformance.errors import NoBackward, NotJudged
from tiecheck.conformance.evidence import Array, Gradient, Holdings, Look, Probe, Step, Trajectory, Use
from tiecheck.conformance.operations import Operation
from tiecheck.reference import GPTConfig
from torch import Tensor, nn

from . import graph, holdings, training
from .calls import call, find_logits, find_loss, positions, target_keyword
from .restore import Snapshot, Surroundings, named_tensors
from .seen import Group, Head, Reader, choose, dtype_name, find_head, group_lookups, rounded, to_numpy
from .trace import Inject, Lookup, Product, Trace, Watch, eager, key_of
from .training import mapped

Caller = Callable[..., Any]
Mapped = Callable[[nn.Module], "tuple[GPTConfig, training.Weights] | None"]
Draw = Callable[[tuple[int, ...]], Array]


class TorchSubject:
    """Answers what the protocol asks of one module. Use as a context manager: on exit the module is as it was handed in.

    Args:
        module: called with a LongTensor of shape (B, T).
        declared: what it is declared to be.
        seed: fixes every generator before every pass.
        caller: how to call it, where not with the ids alone.
        optimizer: an optimizer whose groups are to be counted too.
        twin: trainable scalars of the same architecture with the tie flag turned, where that can be built.
        dtype, device: judge it after a move there.
        mapped: configuration and weights of the reference network, where the module's map onto it.
        ours: the module was built or copied for this run alone: nothing is put back, what is moved stays moved.
    """

    def __init__(
        self,
        module: nn.Module,
        declared: Declaration,
        *,
        name: str,
        seed: int = 0,
        caller: Caller = call,
        optimizer: Any = None,
        twin: Callable[[], int | None] | None = None,
        device: str | None = None,
        dtype: str | None = None,
        notes: tuple[str, ...] = (),
        package: str = "torch",
        mapped: Mapped = mapped,
        ours: bool = False,
    ) -> None:
        self.module, self.declared, self.name, self.seed = module, declared, name, seed
        self.notes, self.packages = notes, ("torch", package) if package != "torch" else ("torch",)
        self.forward_passes = self.backward_passes = 0
        self.missing: dict[str, str] = {}
        self._caller, self._optimizer, self._twin = caller, optimizer, twin
        self._device, self._dtype = device, dtype
        self._mapped = mapped
        self._ours, self._moved_off, self._neutral = ours, False, list[tuple[Tensor, Tensor]]()
        self._table: Tensor | None = None
        self._head: Tensor | None = None
        self._products: list[int] = []
        self._derived = False
        self._kept: tuple[int, Probe, Look | None] | None = None

    # --- lifetime ------------------------------------------------------------------------------------------------

    def __enter__(self) -> TorchSubject:
        self._stack = contextlib.ExitStack()
        try:
            self._materialize()
            self._stack.enter_context(Surroundings())
            self._snapshot = None if self._ours else self._stack.enter_context(Snapshot(self.module))
            self._stack.enter_context(torch.enable_grad())
            if self._device is not None or self._dtype is not None:
                self._move()
            self._named = list(named_tensors(self.module))
            self._place = next((t.device for _, t in self._named), torch.device("cpu"))
            if self._place.type == "meta":
                raise NotJudged("the model is on the meta device: its tensors hold no values, so nothing can be run")
            if not self._moved_off:
                self._move_off_neutral()
                self._moved_off = self._ours
            self._buffers = [(b, b.detach().clone()) for b in self.module.buffers() if b.numel() <= 1 << 16]
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept = None
        self._table = self._head = None
        # A watched pass holds every tensor that it saw.
        self._named, self._buffers = [], []
        for name in ("_reader", "_watched"):
            self.__dict__.pop(name, None)
        self._stack.close()

    def _materialize(self) -> None:
        """A lazy module has no parameters before its first forward: there is nothing yet to put back or to judge."""
        if any(isinstance(p, nn.parameter.UninitializedParameter) for p in self.module.parameters()):
            state, modes = torch.get_rng_state(), [(m, m.training) for m in self.module.modules()]
            torch.manual_seed(self.seed)
            with torch.no_grad():
                self._caller(self.module, torch.tensor([[1, 0], [0, 1]]))
            torch.set_rng_state(state)
            for module, training in modes:
                module.training = training

    def _move(self) -> None:
        dtype = getattr(torch, self._dtype) if self._dtype else None
        try:
            self.module.to(device=self._device, dtype=dtype)
        except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
            raise NotJudged(f"the model cannot be moved to {self._device or self._dtype}: {_line(error)}") from error

    def _move_off_neutral(self) -> None:
        """What is neutral at initialization (a bias of 0, a scale of 1) would be invisible: give it a random value."""
        seen: set[int] = set()
        named = {self.declared.output_bias, self.declared.output_scale}  # it may be a buffer
        for name, tensor in self._named:
            wanted = isinstance(tensor, nn.Parameter) or name in named
            if not wanted or id(tensor) in seen or not tensor.is_floating_point():
                continue
            seen.add(id(tensor))
            if not _is_constant(tensor):
                continue
            self._save(tensor)
            # By name, so that a copy of the model that holds more or fewer tensors is moved to the same place.
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + self.seed + 1)
            noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
            value = float(tensor.detach().reshape(-1)[0])
            new = value * (0.8 + 0.4 * noise) if value else 0.12 * noise - 0.06 + 0.02 * (noise - 0.5).sign()
            self._neutral.append((tensor, tensor.detach().clone()))
            with torch.no_grad():
                tensor.copy_(new.to(tensor.dtype))

    def _save(self, tensor: Tensor) -> None:
        """Keep what is about to be written, where the module is to come back as it was."""
        if self._snapshot is not None:
            self._snapshot.save_storage(tensor)

    # --- calls ---------------------------------------------------------------------------------------------------

    def _run(self, ids: Array, train: bool, reseed: bool = True) -> Tensor:
        """One forward with graph: logits as (N, C)."""
        if any(m.training != train for m in self.module.modules()):
            self.module.train(train)
        self._rewind(train)
        if reseed:
            torch.manual_seed(self.seed)
            np.random.seed(self.seed % 2**32)
            random.seed(self.seed)
        tensor = torch.tensor(ids, dtype=torch.long, device=self._place)
        self.forward_passes += 1
        logits = find_logits(self._caller(self.module, tensor))
        return positions(logits, *ids.shape)

    def _rewind(self, train: bool) -> None:
        """Put the buffers back that a pass in train mode moves (power iterations, running means), so that passes agree.

        Not one of the table's size: what is kept there is what the verdict is about.
        """
        size = self._table.numel() if self._table is not None else 0
        for buffer, values in self._buffers if train else ():
            if buffer.numel() != size and not torch.equal(buffer, values.to(buffer.dtype)):
                with torch.no_grad():
                    buffer.copy_(values)

    def logits(self, ids: Array, train: bool = False, reseed: bool = True) -> Array:
        """Logits as (N, C) in float64."""
        with torch.no_grad() if not train else contextlib.nullcontext():
            return to_numpy(self._run(ids, train, reseed)).astype(np.float64)

    @property
    def device(self) -> str:
        """Where it is judged."""
        return str(self._place)

    @property
    def dtype(self) -> str:
        """The dtype of the table."""
        return dtype_name(self._table.dtype) if self._table is not None else "float32"

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Every dtype that the table could have: those of the floating-point tensors, known before any pass."""
        return tuple(sorted({dtype_name(t.dtype) for _, t in self._named if t.is_floating_point()}))

    # --- watching ------------------------------------------------------------------------------------------------

    def _watch(self, probe: Probe, inject: Inject | None = None) -> tuple[Watch, Tensor, Tensor]:
        ids = torch.tensor(probe.ids, dtype=torch.long, device=self._place)
        if any(m.training != probe.train for m in self.module.modules()):
            self.module.train(probe.train)
        self._rewind(probe.train)
        torch.manual_seed(self.seed)
        np.random.seed(self.seed % 2**32)
        random.seed(self.seed)
        watch = Watch(self.module, self._named, ids, self._save, inject)
        self.forward_passes += 1
        with eager(), watch:
            logits = find_logits(self._caller(self.module, ids))
        return watch, logits, positions(logits, *probe.ids.shape)

    def look(self, probe: Probe) -> Look | None:
        """One watched pass: the table, the projection, h. None where no lookup and no written row shows a table.

        The latest look is handed out again where nothing but the same probe was asked since.
        """
        if self._kept is not None and self._kept[0] == self.forward_passes and _same_probe(self._kept[1], probe):
            return self._kept[2]
        look = self._look(probe)
        self._kept = (self.forward_passes, probe, look)
        return look

    def _look(self, probe: Probe) -> Look | None:
        for name in (self.declared.table, self.declared.head):
            if name is not None:
                self._parameter(name)
        watch, logits, flat = self._watch(probe)
        reader = Reader(watch, self._named)
        reader.buffers = frozenset(n for n, _ in self.module.named_buffers(remove_duplicate=False))
        groups = [g for g in group_lookups(watch, probe.ids) if g.score > 0]
        self._reader, self._watched = reader, watch
        columns = flat.shape[-1]
        group = self._choose(groups, watch, logits, columns)
        if group is None:
            return self._look_by_writing(probe, reader, watch, logits, flat)
        table, view = reader.use(group.first.array, group.first.trace, group.first.where, group.first.autocast)
        cast = {n for k in group.lookups for n in k.narrow}
        if table.narrowed is None and len(cast) == 1 and None not in cast:
            table = dataclasses.replace(table, narrowed=dtype_name(next(iter(cast))))  # type: ignore[arg-type]
        head = find_head(watch, logits, columns, group.first.array)
        if self.declared.head is not None and (head is None or self._unlike(head)):
            head = self._named_head(watch, logits)
        return self._describe(reader, watch, logits, flat, group, table, view, head)

    def _choose(self, groups: list[Group], watch: Watch, logits: Tensor, columns: int) -> Group | None:
        """Decision 8: the array that the ids index; of several, the one whose rows the projection reads."""
        if self.declared.table is not None:
            wanted = key_of(self._parameter(self.declared.table))
            named = [g for g in groups if wanted in g.first.trace.leaves or key_of(g.first.array) == wanted]
            if named:
                return named[0]
        return choose(groups, watch, logits, columns, self.module)

    def _unlike(self, head: Head) -> bool:
        assert self.declared.head is not None
        return key_of(head.array) != key_of(self._parameter(self.declared.head))

    def _named_head(self, watch: Watch, logits: Tensor) -> Head | None:
        """The product of the parameter that the declaration names as the head's."""
        assert self.declared.head is not None
        key = key_of(self._parameter(self.declared.head))
        for i, product in enumerate(watch.products):
            if key in product.trace.leaves and logits.shape[-1] in product.array.shape:
                return Head(product.array, product.trace, product.hidden, [i], product)
        return None

    def _parameter(self, name: str) -> Tensor:
        for known, tensor in self._named:
            if known == name:
                return tensor
        raise NotJudged(f"the declaration names {name!r}, but the model has no tensor of that name")

    def _describe(
        self,
        reader: Reader,
        watch: Watch,
        logits: Tensor,
        flat: Tensor,
        group: Group,
        table: Use,
        view: Tensor | None,
        head: Head | None,
    ) -> Look:
        self._table = view if view is not None else group.first.array
        self._derived = view is None
        self._products = head.indices if head is not None else []
        head_use: Use | None = None
        self._head = None
        dtypes: tuple[str, ...] = ()
        if head is not None:
            head_use, head_view = reader.use(head.array, head.trace, head.first.where, head.first.autocast)
            self._head = head_view
        own = set(self._products)
        dtypes = tuple(dtype_name(p.dtype) for i, p in enumerate(watch.products) if i not in own and p.op != "mul")
        assert group.tokens is not None
        read = [group.rows] + [
            _rows_within(k.array, to_numpy(k.rows), self._table)
            for k in watch.lookups
            if _overlap(k.array, self._table) or (view is None and k.trace.leaves == group.first.trace.leaves)
        ]
        if self._dense(watch, head):
            read.append(np.arange(table.values.shape[0]))
        others = {
            reader.owner(k.array)[0]: None
            for k in watch.lookups
            if key_of(k.array) in watch.leaf and key_of(k.array) != key_of(self._table)
        }
        last = watch.trace(logits)
        factors = (
            *last.factors,
            *((*head.first.hidden_trace.factors, *head.trace.factors) if head is not None else ()),
        )
        hidden = None
        if head is not None and head.hidden is not None:
            hidden = to_numpy(head.hidden)
        written = reader.names(watch.writes)
        padding = next((k.padding for k in group.lookups if k.padding is not None), None)
        return Look(
            table=table,
            head=head_use,
            tokens=group.tokens.copy(),
            rows=group.rows.copy(),
            rows_read=np.unique(np.concatenate([r.ravel() for r in read])),
            input_scales=rounded(s for k in group.lookups for s in k.scales.values()),
            input_sums=rounded(sum(k.scales.values()) for k in group.lookups),
            factors=tuple(float(f) for f in factors),
            hidden=hidden,
            product_dtype=dtype_name(head.first.dtype) if head is not None else "",
            network_dtypes=dtypes,
            written=tuple(sorted(written, key=lambda n: n != (table.region.owner if table.region else ""))),
            others=tuple(others),
            padding_seen=padding,
            cut_lookups=_cut(group.lookups),
            logits=to_numpy(flat).astype(np.float64),
            cut_products=_cut([watch.products[i] for i in self._products]),
            head_where=head.first.where if head is not None else "",
            trail=last.trail,
        )

    def _dense(self, watch: Watch, head: Head | None) -> bool:
        """Whether another product of the table's memory flows into h: a third use that reads every row."""
        if head is None or self._table is None:
            return False
        return any(_overlap(watch.products[i].array, self._table) for i in head.first.hidden_trace.past)

    def _look_by_writing(self, probe: Probe, reader: Reader, watch: Watch, logits: Tensor, flat: Tensor) -> Look | None:
        """No lookup was seen: the table is the array where a row of the input moves many logits, and another only its own."""
        before = to_numpy(flat).astype(np.float64)
        columns = flat.shape[-1]
        used = int(probe.ids.ravel()[0])
        absent = next((t for t in range(columns) if t not in set(probe.ids.ravel().tolist())), None)
        best: tuple[float, Tensor] | None = None
        for key in list(watch.leaf):
            for name, tensor in reader.owners.get(key, [("", watch.leaf[key])])[:1]:
                flat = tensor.detach()
                flat = flat.squeeze() if flat.dim() > 2 else flat
                if not flat.is_floating_point() or flat.dim() != 2 or (name and name == self.declared.head):
                    continue
                for matrix in (flat, flat.T):
                    if matrix.shape[0] < columns or matrix.shape[0] <= used:
                        continue
                    moved = self._moved(matrix, used, probe, before)
                    other = self._moved(matrix, absent, probe, before) if absent is not None else 0.0
                    if moved > 0 and other <= 1 and (best is None or moved > best[0]):
                        best = (moved, matrix)
        if best is None:
            return None
        matrix = best[1]
        trace = watch.trace(matrix)
        table, view = reader.use(matrix, trace, "", False)
        head = find_head(watch, logits, columns, matrix)
        group = Group([], np.unique(probe.ids), tokens=np.zeros(0, dtype=np.int64))
        group.lookups = [_pretend(matrix, trace)]
        look = self._describe(reader, watch, logits, flat, group, table, view, head)
        empty = np.zeros(0, dtype=np.int64)
        return dataclasses.replace(look, tokens=empty, rows=empty, rows_read=np.unique(probe.ids), input_scales=())

    def _moved(self, matrix: Tensor, row: int, probe: Probe, before: Array) -> float:
        """How many columns of the logits a random vector in ``row`` moves."""
        with torch.no_grad():
            old = matrix[row].clone()
            spread = float(matrix.float().std()) or 1.0
            generator = torch.Generator().manual_seed(self.seed + 2)
            matrix[row] = (torch.randn(old.shape, generator=generator) * spread).to(matrix)
            try:
                after = self.logits(probe.ids, probe.train)
            except (IndexError, RuntimeError):
                return 0.0
            finally:
                matrix[row] = old
        return float((np.abs(after - before) > 1e-6 * np.abs(before).max()).any(0).sum())

    # --- the table and its memory --------------------------------------------------------------------------------

    def table(self) -> Array:
        """The table as (V, D), a view of memory where NumPy has the dtype."""
        assert self._table is not None
        return to_numpy(self._table)

    def can_write(self, side: str = "table") -> bool:
        """Whether rows of the table (or of the projection's array) lie in memory as rows that can be written."""
        return self._side(side) is not None

    def _side(self, side: str) -> Tensor | None:
        view = self._head if side == "head" else (None if self._derived else self._table)
        if view is None or view.device.type == "meta" or view.is_inference():
            return None
        return view

    @contextlib.contextmanager
    def written(self, side: str, rows: Array, values: Array) -> Iterator[None]:
        """Rows of the table hold other values inside the block, and their own bits again after it.

        The write goes through the tensor that the model holds, in place, as an optimizer's would; no copy of the table.
        """
        view = self._side(side)
        assert view is not None
        owner = self._reader.owner(view)[1]
        index = torch.tensor(rows, dtype=torch.long, device=view.device)
        with torch.no_grad():
            target = owner.as_strided(view.shape, view.stride(), view.storage_offset())
            old = target[index].clone()
            target[index] = torch.tensor(np.asarray(values), device=view.device).to(view.dtype)
        try:
            yield
        finally:
            with torch.no_grad():
                target[index] = old

    def quantized(self, values: Array) -> Array:
        """Values as the table's dtype holds them, in float64."""
        assert self._table is not None
        return to_numpy(torch.tensor(np.asarray(values)).to(self._table.dtype)).astype(np.float64)

    # --- gradients -----------------------------------------------------------------------------------------------

    def gradient(self, probe: Probe, cotangent: Draw, again: bool = False) -> tuple[Array, str, Gradient]:
        """A plain forward with graph and the backward of <R, logits>: logits, their dtype, and dL/dE."""
        if self._derived:
            return self._derived_gradient(probe, cotangent)
        logits = self._run(probe.ids, probe.train)
        values, dtype = to_numpy(logits).astype(np.float64), dtype_name(logits.dtype)
        assert self._table is not None
        if not logits.requires_grad:
            return values, dtype, Gradient(None, note="the logits do not depend on any trainable parameter")
        walked = graph.walk(logits)
        R = torch.tensor(cotangent(tuple(logits.shape)), device=logits.device).to(logits.dtype)
        sides = [self._table] + ([self._head] if self._separate() and self._head is not None else [])
        leaves = [walked.over(side, self._objects(side)) for side in sides]
        wanted = [leaf for side in leaves for leaf in side]
        self.backward_passes += 1
        try:
            graph.backward(logits, R, wanted, self.module)
        except Exception as error:
            graph.clear(wanted, self.module)
            raise NoBackward(f"the model refuses a backward pass in {probe.mode} mode: {_line(error)}") from error
        table = graph.total(leaves[0], self._table)
        head = graph.total(leaves[1], sides[1]) if len(sides) > 1 else None
        twice = None
        if again:
            table, head = table.copy(), None if head is None else head.copy()  # the second pass adds to this memory
            self.backward_passes += 1
            second = self._run(probe.ids, probe.train)
            graph.backward(second, R, wanted, self.module, keep=True)
            twice = graph.total(leaves[0], self._table)
        graph.clear(wanted, self.module)
        names = tuple(self._name_of(leaf) for leaf in leaves[0])
        return values, dtype, Gradient(table, head, twice, names, (walked.edges(leaves[0]),))

    def _derived_gradient(self, probe: Probe, cotangent: Draw) -> tuple[Array, str, Gradient]:
        """dL/dE at the computed array itself, from the tensors that one watched pass with graph handed on."""
        watch, logits, flat = self._watch(probe)
        values, dtype = to_numpy(flat).astype(np.float64), dtype_name(flat.dtype)
        groups = [g for g in group_lookups(watch, probe.ids) if g.score > 0]
        group = self._choose(groups, watch, logits, flat.shape[-1])
        if group is None or not flat.requires_grad:
            return values, dtype, Gradient(None, note="the logits do not depend on any trainable parameter")
        head = find_head(watch, logits, flat.shape[-1], group.first.array)
        arrays = [(k.array, k.source) for k in group.lookups]
        if head is not None:
            arrays += [(watch.products[i].array, watch.products[i].source) for i in head.indices]
        R = torch.tensor(cotangent(tuple(flat.shape)), device=flat.device).to(flat.dtype)
        self.backward_passes += 1
        table = graph.at_arrays(flat, R, arrays, tuple(group.first.array.shape))
        names = self._reader.names(group.first.trace.leaves)
        routes: tuple[tuple[str, float, float, float], ...] = ()
        if head is not None and len(head.indices) == 1:
            one, other = group.first, watch.products[head.indices[0]]
            known = [t for t in {id(t): t for _, t in self._named}.values() if t.is_leaf and t.requires_grad]
            found = graph.routes((one.array, one.source), (other.array, other.source), known, self.seed)
            routes = tuple((self._name_of(leaf), *numbers) for leaf, numbers in found)
        note = "" if table is not None else "not reached"
        return values, dtype, Gradient(table, by_object=names, routes=routes, note=note)

    def edges(self, probe: Probe, calls: int) -> tuple[int, ...]:
        """On consecutive calls, how many edges of the autograd graph enter the table's leaves."""
        if self._derived or self._table is None:
            return ()
        out = []
        for _ in range(calls):
            logits = self._run(probe.ids, probe.train)
            if not logits.requires_grad:
                out.append(0)
                continue
            walked = graph.walk(logits)
            out.append(walked.edges(walked.over(self._table, self._objects(self._table))))
        return tuple(out)

    def _separate(self) -> bool:
        return self._head is not None and self._table is not None and not _overlap(self._head, self._table)

    def _objects(self, view: Tensor) -> list[Tensor]:
        key = key_of(view)
        return [t for t in {id(t): t for _, t in self._named}.values() if t.is_leaf and key_of(t) == key]

    def _name_of(self, leaf: Tensor) -> str:
        return next((n for n, t in self._named if t is leaf), "a tensor outside the model's parameters")

    # --- a chosen h, its own loss, a sharper twin --------------------------------------------------------------------

    def inject(self, probe: Probe, hidden: Array) -> Array | None:
        """Logits (N, C) with the chosen h (N, D) put in at the observed projection; None where that cannot be done."""
        if not self._products:
            return None
        todo = torch.tensor(hidden, device=self._place)
        taken: dict[int, int] = {}

        def put(index: int, seen: Tensor) -> Tensor | None:
            if index not in self._products:
                return None
            if seen.numel() == todo.numel():
                taken[index] = todo.shape[0]
                return todo
            start = sum(taken.values())
            if seen.dim() != 2 or seen.shape[1] != todo.shape[1] or start + seen.shape[0] > todo.shape[0]:
                return None
            taken[index] = seen.shape[0]
            return todo[start : start + seen.shape[0]]

        try:
            _, _, flat = self._watch(probe, put)
        except (RuntimeError, ValueError, TypeError):
            return None
        return to_numpy(flat).astype(np.float64) if taken else None

    def own_loss(self, ids: Array, targets: Array) -> tuple[float, Array] | None:
        """The model's own loss for targets and its gradient at the table; None where it has none."""
        keyword = target_keyword(self.module)
        if keyword is None or self._derived or self._table is None:
            return None
        if any(m.training for m in self.module.modules()):
            self.module.train(False)
        torch.manual_seed(self.seed)
        tensor = torch.tensor(ids, dtype=torch.long, device=self._place)
        wanted = torch.tensor(targets, dtype=torch.long, device=self._place)
        self.forward_passes += 1
        try:
            loss = find_loss(self._caller(self.module, tensor, **{keyword: wanted}))
        except Exception as error:
            self.missing["own_loss"] = f"the model's own loss raised {type(error).__name__}: {_line(error)}"
            return None
        if loss is None:
            return None
        walked = graph.walk(loss)
        leaves = walked.over(self._table, self._objects(self._table))
        self._reached = {id(leaf) for leaf in walked.leaves}
        self.backward_passes += 1
        graph.backward(loss, None, leaves, self.module)
        gradient = graph.total(leaves, self._table)
        graph.clear(leaves, self.module)
        return float(loss.detach()), gradient

    def loss_value(self, ids: Array, targets: Array) -> float:
        """The model's own loss alone."""
        keyword = target_keyword(self.module)
        assert keyword is not None
        torch.manual_seed(self.seed)
        tensor = torch.tensor(ids, dtype=torch.long, device=self._place)
        wanted = torch.tensor(targets, dtype=torch.long, device=self._place)
        self.forward_passes += 1
        loss = find_loss(self._caller(self.module, tensor, **{keyword: wanted}))
        return float("nan") if loss is None else float(loss.detach())

    @contextlib.contextmanager
    def sharpened(self) -> Iterator[bool]:
        """Every parameter and buffer in float64 inside the block, memory still shared as before; yields whether it is."""
        tensors = {id(t): t for _, t in self._named if t.is_floating_point()}
        storages: dict[int | None, Tensor] = {}
        kept = [(t, t.data) for t in tensors.values()]
        view, head, reader, watched, products = self._table, self._head, self._reader, self._watched, self._products
        fits = sum(t.numel() for t in tensors.values()) <= 1 << 21 and view is not None and not self._derived
        if not fits or all(t.dtype == torch.float64 for t in tensors.values()):
            yield False
            return
        assert view is not None
        # Keys are taken before anything is swapped: the table may be the parameter object itself.
        keys = [None if side is None else key_of(side) for side in (view, head)]
        try:
            for tensor, data in kept:
                key = key_of(data)
                if key not in storages:
                    flat = torch.empty(0, dtype=data.dtype, device=data.device).set_(data.untyped_storage())
                    storages[key] = flat.double()
                tensor.data = storages[key].as_strided(data.shape, data.stride(), data.storage_offset())
            if keys[0] not in storages:
                yield False
                return
            self._table = storages[keys[0]].as_strided(view.shape, view.stride(), view.storage_offset())
            if head is not None and keys[1] in storages:
                self._head = storages[keys[1]].as_strided(head.shape, head.stride(), head.storage_offset())
            yield True
        finally:
            for tensor, data in kept:
                tensor.data = data
            self._table, self._head, self._reader, self._watched, self._products = view, head, reader, watched, products

    def holdings(self, probe: Probe, twin: bool = True) -> Holdings:
        """Names, memory, enumerations and sizes."""
        return holdings.gather(self, probe, self._twin() if twin and self._twin is not None else None)

    def control(self, probe: Probe, cotangent: Array) -> tuple[float, float] | None:
        """A difference of <R, logits> along the gradient of the network's own parameters: what autograd says, what is."""
        logits = self._run(probe.ids, probe.train)
        R = torch.tensor(cotangent, device=logits.device).to(logits.dtype)
        mine = {key_of(side) for side in (self._table, self._head) if side is not None}
        body = [leaf for leaf in graph.walk(logits).leaves if key_of(leaf) not in mine]
        if not body:
            return None
        self.backward_passes += 1
        try:
            grads = torch.autograd.grad(logits, body, R, allow_unused=True)
        except RuntimeError:
            return None
        pairs = [(leaf, grad.detach()) for leaf, grad in zip(body, grads, strict=True) if grad is not None]
        norm = sum(float(grad.double().square().sum()) for _, grad in pairs) ** 0.5
        size = sum(float(leaf.detach().double().square().sum()) for leaf, _ in pairs) ** 0.5
        step = 1e-3 * size / (norm or 1.0)
        values = []
        kept = [leaf.detach().clone() for leaf, _ in pairs]
        try:
            for sign in (1, -1):
                with torch.no_grad():
                    for (leaf, grad), old in zip(pairs, kept, strict=True):
                        leaf.copy_(old + sign * step * grad)
                values.append(float((cotangent * np.nan_to_num(self.logits(probe.ids, probe.train))).sum()))
        finally:
            with torch.no_grad():
                for (leaf, _), old in zip(pairs, kept, strict=True):
                    leaf.copy_(old)
        return norm**2, (values[0] - values[1]) / (2 * step) if norm else 0.0

    # --- what comes after: operations and training -------------------------------------------------------------------

    def again(self, module: nn.Module) -> TorchSubject:
        """The subject of another module of the same kind that belongs to the run: a copy, or one that was built afresh."""
        subject = self.after(module)
        subject._device, subject._dtype, subject._moved_off = self._device, self._dtype, False
        return subject

    def after(self, module: nn.Module) -> TorchSubject:
        """The subject of what an operation returned: where it is, in the dtype and with the values that it has."""
        subject = TorchSubject(module, self.declared, name=self.name, seed=self.seed, caller=self._caller, ours=True)
        subject._moved_off, subject._mapped = True, self._mapped
        return subject

    def copied(self) -> TorchSubject:
        """The subject of a deepcopy of the module. Raises what copying raises."""
        return self.again(copy.deepcopy(self.module))

    def assign(self, to: str, of: str) -> None:
        """Let the name ``to`` hold the very tensor that ``of`` holds. Raises what Python or torch raises."""
        owner, _, last = to.rpartition(".")
        value: Any = self.module
        for part in of.split("."):
            value = getattr(value, part)
        setattr(self.module.get_submodule(owner), last, value)

    def shares(self, other: TorchSubject) -> bool:
        """Whether two modules hold any memory together."""
        mine = {key_of(t) for _, t in named_tensors(self.module)}
        return any(key_of(t) in mine for _, t in named_tensors(other.module))

    def size(self) -> int:
        """Scalars that the module holds."""
        return sum(t.numel() for t in {id(t): t for _, t in named_tensors(self.module)}.values())

    def initial(self, ids: Array) -> Array:
        """Logits (N, C) with what is neutral at initialization put back for the moment."""
        kept = [(tensor, tensor.detach().clone()) for tensor, _ in self._neutral]
        with torch.no_grad():
            for tensor, value in self._neutral:
                tensor.copy_(value)
        try:
            return self.logits(ids)
        finally:
            with torch.no_grad():
                for tensor, value in kept:
                    tensor.copy_(value)

    def steps(self, probe: Probe, kind: str, count: int) -> Step:
        """Train the module, which must be the run's own, for ``count`` steps; see `training.steps`."""
        return training.steps(self, probe, kind, count)

    def trajectory(self, probe: Probe, count: int) -> Trajectory | None:
        """The same in float64 beside the reference; None where the weights do not map onto it."""
        return training.trajectory(self, probe, count)

    def operations(self) -> tuple[Operation, ...]:
        """What users do to a torch module; see `operations`."""
        from .operations import OPERATIONS

        return OPERATIONS


def _same_probe(one: Probe, other: Probe) -> bool:
    return one.train == other.train and one.seed == other.seed and np.array_equal(one.ids, other.ids)


def _cut(uses: Sequence[Lookup | Product]) -> tuple[str, ...]:
    """Where some of several uses lie outside the graph. All of them say nothing: inside an autograd function none is in it."""
    cut = [use.where for use in uses if not use.graded]
    return tuple(dict.fromkeys(cut)) if len(cut) < len(uses) else ()


def _overlap(one: Tensor, other: Tensor) -> bool:
    """Whether two windows on one memory meet."""
    if key_of(one) != key_of(other):
        return False
    ends = [
        t.storage_offset() + sum((n - 1) * s for n, s in zip(t.shape, t.stride(), strict=True)) for t in (one, other)
    ]
    return one.storage_offset() <= ends[1] and other.storage_offset() <= ends[0]


def _rows_within(array: Tensor, rows: Array, table: Tensor) -> Array:
    """Row numbers of ``array`` as rows of ``table``, where both are windows on the same rows."""
    if key_of(array) == key_of(table) and array.stride() == table.stride() and table.stride(0):
        shift, rest = divmod(int(array.storage_offset() - table.storage_offset()), table.stride(0))
        rows = rows + shift if rest == 0 else rows
    return np.asarray(rows[(rows >= 0) & (rows < table.shape[0])])


def _is_constant(tensor: Tensor) -> bool:
    flat = tensor.detach().reshape(-1)
    if flat.numel() == 0 or tensor.device.type == "meta":
        return False
    head = flat[:64]
    return bool((head == flat[0]).all()) and bool((flat == flat[0]).all())


def _line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def _pretend(matrix: Tensor, trace: Trace) -> Lookup:
    return Lookup(matrix, matrix, torch.zeros(0, dtype=torch.long), trace, True, "", False, True)
