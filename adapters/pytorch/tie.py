"""Whether two ends are one table that trains once; and in words, with the line that mends it, what is wrong if not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from tiecheck.conformance.errors import NotJudged, TieLost
from torch import Tensor, nn

from .arrays import same_values
from .places import Place, places
from .trace import Watch, key_of, overlap

Held = list[tuple[Place, Tensor]]
_DRIFT = "an optimizer keeps its state by parameter, so that they drift apart"
_ORPHAN = (
    "in group {} there is a parameter of the same shape that the model does not have: the optimizer was built before the "
    "tie, or before the model was loaded or moved, and trains an orphan; build it afterwards, from model.parameters()"
)


@dataclass(frozen=True)
class End:
    """One use of the table.

    Attributes:
        leaves: the memories that its array is made of, scales and biases aside.
        array: the array (V, D) that it read.
        view: whether that is a view of the one leaf.
        places: the parameters that the reading modules hold themselves, where that is all that they read.
        where: file and line.
    """

    leaves: frozenset[int]
    array: Tensor
    view: bool
    places: tuple[Place, ...]
    where: str


def owner(
    held: Held, key: int, window: Tensor, name: str, used: frozenset[int] = frozenset()
) -> tuple[Tensor | None, list[Tensor]]:
    """The one parameter over a memory, and the other tensors that lie over it.

    The parameter is None for a table that is frozen and held elsewhere. Raises TieLost where two parameters share it,
    where what is read is trained and no module registers it, and where it is no parameter while one of its shape waits
    that is none of the memories ``used`` by the pass.
    """
    over = [(p, t) for p, t in held if key_of(t) == key and overlap(t, window)]
    parameters = list({id(t): t for p, t in over if p.is_parameter}.values())
    if len(parameters) > 1:
        raise TieLost(two_parameters(held, parameters))
    aliases = list({id(t): t for _, t in over if not any(t is p for p in parameters)}.values())
    if parameters:
        return parameters[0], aliases
    idle = [(p, t) for p, t in held if p.is_parameter and t.requires_grad and key_of(t) not in used]
    twin = next((p for p, t in idle if t.shape == window.shape), None)
    if window.requires_grad or any(t.requires_grad for t in aliases):
        raise TieLost(
            f"both ends read {name}, which is trained, but no module registers it as a parameter: model.parameters() does "
            "not list it, so that it is neither trained nor saved; assign it as a parameter of a module"
        )
    if twin is not None:
        raise TieLost(
            f"both ends read {name}, which is no parameter, while the parameter {twin} of the same shape is not used"
        )
    return None, aliases


def windows(watch: Watch, held: Held, lookup: End, head: End) -> str:
    """What is wrong where both ends are made of the same memory, but not of the same part of it."""
    a, b = lookup.array, head.array
    name = named(watch, held, lookup.leaves)
    if lookup.view and head.view:
        transposed = a.shape == b.shape and a.stride() == tuple(reversed(b.stride()))
        same = a.stride() == b.stride() or 1 in (a.shape[0], b.shape[0])
        if a.storage_offset() == b.storage_offset() and a.shape[1] == b.shape[1] and (same or transposed):
            return ""
        return f"the tie is lost: both ends read the memory of {name}, but not the same part of it{_at(head)}"
    size = sum(watch.leaf[key].numel() for key in lookup.leaves)
    if size <= 2 * a.numel() or a.is_meta or a.shape[1] != b.shape[1]:
        return ""
    # One long parameter that other weights are cut from too: then only the values tell which part was taken.
    rows = min(a.shape[0], b.shape[0])
    dtype = a.dtype if torch.finfo(a.dtype).bits <= torch.finfo(b.dtype).bits else b.dtype
    if same_values(a[:rows].to(dtype), b[:rows].to(dtype)):
        return ""
    return f"the tie is lost: both ends are made of {name}, but not of the same part of it{_at(head)}"


def apart(watch: Watch, held: Held, lookup: End, head: End) -> str:
    """Two ends that are not made of the same memory, in words."""
    reads, projects = named(watch, held, lookup.leaves), named(watch, held, head.leaves)
    if lookup.view and head.view:
        (one,), (other,) = lookup.leaves, head.leaves
        first, second = (_best(held, key, end) for key, end in ((one, lookup), (other, head)))
        if first is not None and second is not None and first[0].is_parameter and second[0].is_parameter:
            return two_tables(first[0], second[0], first[1], second[1], _at(head))
        kind = "a copy that was made before" if second is None or not second[0].is_parameter else "another table"
        return (
            f"the tie is lost: the lookup reads {reads}, the projection reads {projects}{_at(head)}, {kind}; "
            "read the lookup's parameter itself there, in every pass"
        )
    common = lookup.leaves & head.leaves
    if common:
        end, use = (head, "projection") if head.leaves - common else (lookup, "lookup")
        return (
            f"the tie is lost: both ends read {named(watch, held, common)}, but the {use} alone is made with "
            f"{named(watch, held, end.leaves - common)} too{_at(end)}; change the table for both ends"
        )
    return f"the tie is lost: the lookup reads {reads}, the projection reads {projects}{_at(head)}: nothing in common"


def two_tables(first: Place, second: Place, one: Tensor, other: Tensor, at: str = "") -> str:
    mend = (
        f"; {second.code} = {first.code} ties them, before the optimizer is built" if one.shape == other.shape else ""
    )
    return f"the tie is lost: the lookup reads {first}, the projection reads {second}{at}: two tables{mend}"


def two_parameters(held: Held, parameters: list[Tensor]) -> str:
    first, second = (next(p for p, t in held if t is tensor) for tensor in parameters[:2])
    same = parameters[0].shape == parameters[1].shape and "parametrizations" not in second.path
    mend = f"; {second.code} = {first.code} makes them one" if same else ""
    return f"the tie is lost: {first} and {second} are two parameters over one memory, and {_DRIFT}{mend}"


def _best(held: Held, key: int, end: End) -> tuple[Place, Tensor] | None:
    """The name under which an end's memory is best known: the one it was read by, else a parameter's."""
    over = [(p, t) for p, t in held if key_of(t) == key]
    return min(over, key=lambda item: (item[0] not in end.places, not item[0].is_parameter), default=None)


def named(watch: Watch, held: Held, keys: Iterable[int]) -> str:
    """The memories by the names that the model has for them."""
    said = []
    for key in keys:
        names = [str(p) for p, t in held if key_of(t) == key]
        said.append(" = ".join(names[:3]) or watch.names[key])
    return " and ".join(sorted(said))


def _at(end: End) -> str:
    return f" ({end.where})" if end.where else ""


def plain(tensor: Tensor) -> bool:
    """Whether the tensor's own storage is its memory; a distributed or quantized tensor's is not."""
    return type(tensor) in (Tensor, nn.Parameter)


# the optimizer


def groups_of(optimizer: Any) -> list[dict[str, Any]]:
    """The parameter groups of an optimizer, or of several. Raises NotJudged for what has none."""
    if isinstance(optimizer, list | tuple):
        return [group for one in optimizer for group in groups_of(one)]
    groups = getattr(optimizer, "param_groups", None)
    if not isinstance(groups, list):
        raise NotJudged(f"a {type(optimizer).__name__} has no param_groups, so that it cannot be asked what it trains")
    return groups


def listing(model: nn.Module, table: Tensor | None, groups: list[dict[str, Any]], count: int) -> str:
    """What is wrong with how the optimizer's groups list the table, and what mends it."""
    name = " = ".join(str(place) for place, tensor in places(model) if tensor is table)
    if count > 1:
        where = [str(i) for i, group in enumerate(groups) if any(p is table for p in group["params"])]
        groups_said = f"group {where[0]}" if len(where) == 1 else f"groups {' and '.join(where)}"
        return (
            f"the optimizer lists {name} {count} times, in {groups_said}: each step would decay and move it {count} times; "
            "make the groups from model.named_parameters(), which gives a tied parameter once"
        )
    orphans = [(i, p) for i, p in strangers(model, groups) if table is not None and p.shape == table.shape]
    if orphans:
        return f"the optimizer does not hold {name}; {_ORPHAN.format(orphans[0][0])}"
    return f"the optimizer does not hold {name}, which therefore never trains; hand it model.parameters()"


def strangers(model: nn.Module, groups: list[dict[str, Any]]) -> list[tuple[int, Tensor]]:
    """What the groups hold that the model does not, with the number of the group."""
    own = {id(tensor) for _, tensor in places(model)}
    return [(i, p) for i, group in enumerate(groups) for p in group["params"] if id(p) not in own]


def orphan(model: nn.Module, tables: list[Tensor], groups: list[dict[str, Any]]) -> str:
    """What is wrong where all that an optimizer holds besides the model's parameters has the shape of the table.

    Several models may share an optimizer: then much else is in it that is none of this one's.
    """
    extra = strangers(model, groups)
    shapes = {tuple(table.shape) for table in tables}
    if not extra or any(tuple(p.shape) not in shapes for _, p in extra):
        return ""
    name = " = ".join(str(place) for place, tensor in places(model) if tensor is tables[0])
    return f"besides {name} the optimizer holds what is none of the model's; {_ORPHAN.format(extra[0][0])}"
