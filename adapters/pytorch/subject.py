"""A torch module as a subject: ids in, evidence out, and the module back as it was."""

from __future__ import annotations

import contextlib
import copy
import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import numpy as np
import torch
from tiecheck.conformance.declaration import Declaration
from tiecheck.conformance.errors import NoBackward, NotJudged, line
from tiecheck.conformance.evidence import Array, Chain, Gradient, Holdings, Look, Probe, Step, Trajectory
from tiecheck.conformance.foreign import foreign
from tiecheck.conformance.operations import Inapplicable, Operation
from tiecheck.reference import GPTConfig
from torch import Tensor, nn

from . import asides, graph, holdings, looking, training
from .arrays import dtype_name, to_numpy
from .calls import call, find_logits, positions
from .lookups import group_lookups
from .restore import Snapshot, Surroundings, is_leaf, named_tensors, seed_torch
from .seen import Reader, find_head
from .trace import Inject, Lookup, Product, Watch, eager, key_of, overlap
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
        self._reader: Reader
        self._watched: Watch
        self._reached: set[int] = set()
        self._heads: set[int] = set()
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
        self._heads = set()
        # A watched pass holds every tensor that it saw.
        self._named, self._buffers = [], []
        for name in ("_reader", "_watched"):
            self.__dict__.pop(name, None)
        self._stack.close()

    def _materialize(self) -> None:
        """A lazy module has no parameters before its first forward: there is nothing yet to put back or to judge."""
        if any(isinstance(p, nn.parameter.UninitializedParameter) for p in self.module.parameters()):
            state, modes = torch.get_rng_state(), [(m, m.training) for m in self.module.modules()]
            seed_torch(self.seed)
            with torch.no_grad(), foreign():
                self._caller(self.module, torch.tensor([[1, 0], [0, 1]]))
            torch.set_rng_state(state)
            for module, training in modes:
                module.training = training

    def _move(self) -> None:
        dtype = getattr(torch, self._dtype) if self._dtype else None
        try:
            self.module.to(device=self._device, dtype=dtype)
        except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
            raise NotJudged(f"the model cannot be moved to {self._device or self._dtype}: {line(error)}") from error

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
            generator = torch.Generator("cpu").manual_seed(zlib.crc32(name.encode()) + self.seed + 1)
            noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64, device="cpu")
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
        self._set(train, reseed)
        return positions(self._found(self._answer(self._ids(ids))), *ids.shape)

    def _set(self, train: bool, reseed: bool = True) -> None:
        """The mode and every generator, as each pass finds them."""
        with foreign():
            if any(m.training != train for m in self.module.modules()):
                self.module.train(train)
        self._rewind(train)
        if reseed:
            seed_torch(self.seed)
            np.random.seed(self.seed % 2**32)
            random.seed(self.seed)

    def _ids(self, ids: Array) -> Tensor:
        return torch.tensor(ids, dtype=torch.long, device=self._place)

    def _answer(self, ids: Tensor, **more: Any) -> Any:
        """What the module returns for ids."""
        self.forward_passes += 1
        with foreign():
            return self._caller(self.module, ids, **more)

    def _found(self, output: Any) -> Tensor:
        with foreign():  # it may be an object of the model's own
            return find_logits(output)

    def _rewind(self, train: bool) -> None:
        """Put the buffers back that a pass in train mode moves (power iterations, running means), so that passes agree.

        Not one of the table's size: what is kept there is what the verdict is about.
        """
        size = self._table.numel() if self._table is not None else 0
        for buffer, values in self._buffers if train else ():
            if buffer.numel() != size and not torch.equal(buffer, values.to(buffer.dtype)):
                with torch.no_grad():
                    buffer.copy_(values)

    def seen_table(self) -> Tensor:
        """The table as a short watched pass shows it. Raises Inapplicable where it shows none, or a computed one."""
        self.look(Probe(np.array([[0, 1, 1]])))
        if self._table is None or self._derived:
            raise Inapplicable("the table is computed, so that no key holds it")
        return self._table

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
        ids = self._ids(probe.ids)
        self._set(probe.train)
        watch = Watch(self.module, self._named, ids, self._save, inject)
        with eager(), watch:
            logits = self._found(self._answer(ids))
        return watch, logits, positions(logits, *probe.ids.shape)

    def look(self, probe: Probe) -> Look | None:
        """One watched pass: the table, the projection, h. None where no lookup and no written row shows a table.

        The latest look is handed out again where nothing but the same probe was asked since.
        """
        if self._kept is not None and self._kept[0] == self.forward_passes and _same_probe(self._kept[1], probe):
            return self._kept[2]
        look = looking.look(self, probe)
        self._kept = (self.forward_passes, probe, look)
        return look

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
        if view is None or view.device.type == "meta" or view.is_inference() or not self._reader.knows(view):
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
        with self.undone(lambda: target.__setitem__(index, old)):
            yield

    @contextlib.contextmanager
    def undone(self, put_back: Callable[[], object]) -> Iterator[None]:
        """What was written is put back after the block, or when the subject is left before that; once, whoever does it."""

        def undo_it() -> None:
            with torch.no_grad():
                put_back()

        undo = contextlib.ExitStack()
        undo.callback(undo_it)
        self._stack.callback(undo.close)
        try:
            yield
        finally:
            undo.close()

    def quantized(self, values: Array) -> Array:
        """Values as the table's dtype holds them, in float64."""
        assert self._table is not None
        return to_numpy(torch.tensor(np.asarray(values), device="cpu").to(self._table.dtype)).astype(np.float64)

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
            raise NoBackward(f"the model refuses a backward pass in {probe.mode} mode: {line(error)}") from error
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
        group = looking.choose_table(self, groups, watch, logits, flat.shape[-1])
        if group is None or not flat.requires_grad:
            return values, dtype, Gradient(None, note="the logits do not depend on any trainable parameter")
        head = find_head(watch, logits, flat.shape[-1], group.first.array)
        # Each reading of a computed table may compute it anew: by the lookup, the projection, and whatever else reads it.
        mine = group.first.trace.leaves
        every: list[Lookup | Product] = [*watch.lookups, *watch.products]
        own: list[Lookup | Product] = [*group.lookups, *(watch.products[i] for i in (head.indices if head else ()))]
        readings = [*own, *(one for one in every if one.trace.leaves == mine)]
        arrays = [(one.array, one.source) for one in readings]
        R = torch.tensor(cotangent(tuple(flat.shape)), device=flat.device).to(flat.dtype)
        self.backward_passes += 1
        try:
            table = graph.at_arrays(flat, R, arrays, tuple(group.first.array.shape))
        except RuntimeError as error:
            raise NoBackward(f"the model refuses a backward pass in {probe.mode} mode: {line(error)}") from error
        names = Reader(watch, self._named).names(group.first.trace.leaves)
        routes: tuple[tuple[str, float, float, float], ...] = ()
        if head is not None and len(head.indices) == 1:
            one, other = group.first, watch.products[head.indices[0]]
            known = [t for t in {id(t): t for _, t in self._named}.values() if is_leaf(t) and t.requires_grad]
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
        return self._head is not None and self._table is not None and not overlap(self._head, self._table)

    def _objects(self, view: Tensor) -> list[Tensor]:
        key = key_of(view)
        return [t for t in {id(t): t for _, t in self._named}.values() if is_leaf(t) and key_of(t) == key]

    def _name_of(self, leaf: Tensor) -> str:
        return next((n for n, t in self._named if t is leaf), "a tensor outside the model's parameters")

    # --- a chosen h, its own loss, a sharper twin --------------------------------------------------------------------

    def inject(self, probe: Probe, hidden: Array) -> Array | None:
        """Logits (N, C) with the chosen h (N, D) put in at the observed projection; None where that cannot be done."""
        return asides.inject(self, probe, hidden)

    def own_loss(self, ids: Array, targets: Array) -> tuple[float, Array] | None:
        """The model's own loss for targets and its gradient at the table; None where it has none."""
        return asides.own_loss(self, ids, targets)

    def loss_value(self, ids: Array, targets: Array) -> float:
        """The model's own loss alone."""
        return asides.loss_value(self, ids, targets)

    def sharpened(self) -> AbstractContextManager[bool]:
        """Every parameter and buffer in float64 inside the block, memory still shared as before; yields whether it is."""
        return asides.sharpened(self)

    def control(self, probe: Probe, cotangent: Array) -> tuple[float, float] | None:
        """A difference of <R, logits> along the gradient of the network's own parameters: what autograd says, what is."""
        return asides.control(self, probe, cotangent)

    def holdings(self, probe: Probe, twin: bool = True) -> Holdings:
        """Names, memory, enumerations and sizes."""
        return holdings.gather(self, probe, self._twin() if twin and self._twin is not None else None)

    # --- what comes after: operations and training -------------------------------------------------------------------

    def again(self, module: nn.Module) -> TorchSubject:
        """The subject of another module of the same kind that belongs to the run: a copy, or one that was built afresh."""
        subject = self.after(module)
        subject._device, subject._dtype, subject._moved_off = self._device, self._dtype, False
        return subject

    def after(self, module: nn.Module, plainly: bool = False) -> TorchSubject:
        """The subject of what an operation returned: where it is, in the dtype and with the values that it has.

        ``plainly`` where it is called with the ids alone, whatever the model itself wants.
        """
        caller = call if plainly else self._caller
        subject = TorchSubject(module, self.declared, name=self.name, seed=self.seed, caller=caller, ours=True)
        subject._moved_off, subject._mapped = True, self._mapped
        return subject

    def copied(self) -> TorchSubject:
        """The subject of a deepcopy of the module. Raises what copying raises."""
        made = self.again(copy.deepcopy(self.module))
        if self.shares(made):
            raise RuntimeError("its deepcopy shares memory with the model itself")
        return made

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
        with self.undone(lambda: [tensor.copy_(value) for tensor, value in kept]):
            return self.logits(ids)

    def steps(self, probe: Probe, kind: str, count: int) -> Step:
        """Train the module, which must be the run's own, for ``count`` steps; see `training.steps`."""
        return training.steps(self, probe, kind, count)

    def trajectory(self, probe: Probe, count: int) -> Trajectory | None:
        """The same in float64 beside the reference; None where the weights do not map onto it."""
        return training.trajectory(self, probe, count)

    def script(self, building: str, chain: Chain, fresh: Callable[[], TorchSubject]) -> str:
        """Lines of Python that show what a sequence loses; see `script`."""
        from .script import script

        return script(building, chain, lambda: fresh().module)

    def operations(self) -> tuple[Operation, ...]:
        """What users do to a torch module; see `operations`."""
        from .loading import LOADING
        from .operations import OPERATIONS
        from .wrapping import WRAPPING

        return (*OPERATIONS, *LOADING, *WRAPPING)


def _same_probe(one: Probe, other: Probe) -> bool:
    return one.train == other.train and one.seed == other.seed and np.array_equal(one.ids, other.ids)


def _is_constant(tensor: Tensor) -> bool:
    flat = tensor.detach().reshape(-1)
    if flat.numel() == 0 or tensor.device.type == "meta":
        return False
    head = flat[:64]
    return bool((head == flat[0]).all()) and bool((flat == flat[0]).all())
