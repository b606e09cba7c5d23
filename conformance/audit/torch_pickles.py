"""The pickle of a torch file, read by a list of opcodes and names that a table needs. Nothing is imported or called.

A tensor comes out as what its pickle says of it: a key of the archive, an offset, a shape and strides.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import clean
from .tensors import ITEM, Unreadable

STORAGES = {
    "FloatStorage": "F32",
    "DoubleStorage": "F64",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "UntypedStorage": "U8",
}
_DTYPES = {"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "uint16": "U16", "uint32": "U32", "uint64": "U64"}
"""Dtypes that have no storage of their own; a third kind of rebuilding names them."""
_CALLED = {
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_tensor_v3",
    "torch._utils _rebuild_parameter",
    "collections OrderedDict",
    "torch Size",
}
_LIMIT = 4_000_000
"""Steps that a pickle may take: a checkpoint of a thousand layers takes a tenth."""


@dataclass(frozen=True)
class Name:
    """A name that the pickle asks for; it is never looked up."""

    word: str


@dataclass(frozen=True)
class Storage:
    """A storage by its key in the archive; ``count`` elements."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class View:
    """A tensor: a view of a storage, in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Mark:
    pass


class _Machine:
    """The stack of a pickle, its memo, and an action for each opcode that is allowed."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def mark(self) -> list[Any]:
        """What lies above the last mark, taken off."""
        for index in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[index], _Mark):
                items = self.stack[index + 1 :]
                del self.stack[index:]
                return items
        raise Unreadable("an opcode finds no mark")

    def push(self, value: Any) -> None:
        """One value more."""
        self.stack.append(value)


def _setitems(machine: _Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if not isinstance(target, dict) or len(items) % 2:
        raise Unreadable("it sets items of what is no dictionary")
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[key if isinstance(key, str | int | float | bool | None) else repr(type(key))] = value


def _appends(machine: _Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if not isinstance(target, list):
        raise Unreadable("it appends to what is no list")
    target += items


def _reduce(machine: _Machine) -> None:
    arguments, called = machine.stack.pop(), machine.stack.pop()
    word = called.word if isinstance(called, Name) else ""
    if word not in _CALLED or not isinstance(arguments, tuple):
        raise Unreadable("it calls what is no function of torch that builds a tensor")
    if word == "collections OrderedDict":
        if arguments:
            raise Unreadable("it builds an OrderedDict of arguments")
        machine.push({})
    elif word == "torch Size":
        machine.push(arguments[0] if arguments else ())
    elif word == "torch._utils _rebuild_parameter":
        machine.push(arguments[0] if arguments else None)
    else:
        machine.push(_view(arguments, word.endswith("v3")))


def _view(arguments: tuple[Any, ...], third: bool) -> View:
    if len(arguments) < (7 if third else 4) or not isinstance(arguments[0], Storage):
        raise Unreadable("a tensor of it has no storage")
    storage, offset, shape, strides = arguments[:4]
    if third:
        word = arguments[6].word if isinstance(arguments[6], Name) else ""
        dtype = _DTYPES.get(word.partition(" ")[2])
        if dtype is None:
            raise Unreadable(f"a tensor of it has the dtype {clean(word)}")
        storage = Storage(storage.key, dtype, storage.count // ITEM[dtype])
    numbers = (offset, *shape, *strides) if isinstance(shape, tuple) and isinstance(strides, tuple) else (None,)
    if not all(isinstance(n, int) and 0 <= n < 1 << 62 for n in numbers) or len(shape) != len(strides):
        raise Unreadable("a tensor of it has no legal shape")
    return View(storage, offset, shape, strides)


def _persistent(machine: _Machine) -> None:
    said = machine.stack.pop()
    match said:
        case ("storage", Name(word), str(key), _, int(count)):
            dtype = STORAGES.get(word.partition(" ")[2], "")
            if not dtype or not 0 <= count < 1 << 62:
                raise Unreadable(f"a storage of it is a {clean(word)}")
            machine.push(Storage(key, dtype, count))
        case _:
            raise Unreadable("it names something from outside that is no storage")


def _build(machine: _Machine) -> None:
    machine.stack.pop()  # the state of an OrderedDict: metadata of a state dict
    if not isinstance(machine.stack[-1], dict):
        raise Unreadable("it sets attributes of what is no dictionary")


def _named(machine: _Machine, word: str) -> None:
    module, _, name = word.partition(" ")
    known = word in _CALLED or (module in ("torch", "torch.storage") and name in {**STORAGES, **_DTYPES})
    if not known:
        raise Unreadable(
            f"it asks for {clean(word.replace(' ', '.', 1))[:120]}, which no table needs; it was not executed"
        )
    machine.push(Name(word))


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    def act(machine: _Machine, _argument: Any) -> None:
        items = tuple(machine.stack[len(machine.stack) - count :])
        if len(items) < count:
            raise Unreadable("a tuple has too few items")
        del machine.stack[len(machine.stack) - count :]
        machine.push(items)

    return act


def _pushed(machine: _Machine, argument: Any) -> None:
    machine.push(argument)


def _constant(make: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, _argument: machine.push(make())


def _keep(machine: _Machine, argument: Any) -> None:
    machine.memo[argument if argument is not None else len(machine.memo)] = machine.stack[-1]


def _setitem(machine: _Machine, _argument: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _setitems(machine, [key, value])


_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, argument: None),
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _pushed
    ),
    **dict.fromkeys(("SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES"), _pushed),
    "NONE": _constant(lambda: None),
    "NEWTRUE": _constant(lambda: True),
    "NEWFALSE": _constant(lambda: False),
    "EMPTY_DICT": _constant(dict),
    "EMPTY_LIST": _constant(list),
    "EMPTY_TUPLE": _constant(tuple),
    "MARK": _constant(_Mark),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.mark())),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "BINPUT": _keep,
    "LONG_BINPUT": _keep,
    "MEMOIZE": lambda machine, _: _keep(machine, None),
    "BINGET": lambda machine, argument: machine.push(machine.memo[argument]),
    "LONG_BINGET": lambda machine, argument: machine.push(machine.memo[argument]),
    "SETITEM": _setitem,
    "SETITEMS": lambda machine, _: _setitems(machine, machine.mark()),
    "APPEND": lambda machine, _: _appends(machine, [machine.stack.pop()]),
    "APPENDS": lambda machine, _: _appends(machine, machine.mark()),
    "GLOBAL": _named,
    "REDUCE": lambda machine, _: _reduce(machine),
    "BUILD": lambda machine, _: _build(machine),
    "BINPERSID": lambda machine, _: _persistent(machine),
}


def views(raw: bytes) -> dict[str, View]:
    """Every tensor of a pickle by its way through the dictionaries, joined by dots. Raises Unreadable."""
    machine = _Machine()
    try:
        _run(machine, raw)
    except Unreadable:
        raise
    except Exception as error:  # whatever a mangled pickle runs into
        raise Unreadable(f"its pickle is damaged ({type(error).__name__})") from None
    found: dict[str, View] = {}
    _collect(machine.stack[-1] if machine.stack else None, "", found, set(), 0)
    return found


def _run(machine: _Machine, raw: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pickletools warns of odd strings before they are refused
        for step, (opcode, argument, _) in enumerate(pickletools.genops(raw)):
            if step > _LIMIT:
                raise Unreadable("its pickle takes more steps than any checkpoint")
            action = _ACTIONS.get(opcode.name)
            if action is None:
                raise Unreadable(f"its pickle has the opcode {opcode.name}, which no table needs; nothing was executed")
            action(machine, argument)


def _collect(value: Any, path: str, found: dict[str, View], seen: set[int], depth: int) -> None:
    if isinstance(value, View):
        found.setdefault(path, value)
    elif isinstance(value, dict) and id(value) not in seen and depth < 8:
        seen.add(id(value))
        for key, item in value.items():
            name = key if isinstance(key, str) else str(key)[:40]
            _collect(item, f"{path}.{name}" if path else name, found, seen, depth + 1)
