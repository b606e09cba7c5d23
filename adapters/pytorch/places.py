"""Where a tree of modules holds its tensors: places that can be read again, whatever was assigned since."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

_HOLDERS = ("_parameters", "_buffers", "__dict__")


@dataclass(frozen=True)
class Place:
    """The names of the modules from the root, which of a module's dictionaries, the name in it, and a key below that."""

    path: tuple[str, ...]
    holder: str
    name: str
    key: Any = None

    def __str__(self) -> str:
        dotted = ".".join((*self.path, self.name))
        return dotted if self.key is None else f"{dotted}[{self.key!r}]"

    @property
    def is_parameter(self) -> bool:
        """Whether the module registers it as a parameter."""
        return self.holder == "_parameters"

    @property
    def code(self) -> str:
        """How Python code reaches it from ``model``."""
        parts = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in (*self.path, self.name))
        return "model" + parts + ("" if self.key is None else f"[{self.key!r}]")

    def read(self, root: nn.Module) -> Any:
        """What is there now; None where nothing is."""
        module: Any = root
        for name in self.path:
            module = module._modules.get(name)
            if module is None:
                return None
        value = getattr(module, self.holder).get(self.name)
        if self.key is None or value is None:
            return value
        try:
            return value[self.key]
        except (LookupError, TypeError):
            return None


def places(root: nn.Module) -> Iterator[tuple[Place, Tensor]]:
    """Every place of every tensor that the modules hold: parameters, buffers, plain attributes; aliases included."""
    for prefix, part in root.named_modules(remove_duplicate=False):
        path = split(prefix)
        for holder in _HOLDERS:
            for name, value in getattr(part, holder).items():
                if isinstance(value, Tensor):
                    yield Place(path, holder, name), value
                elif name in _HOLDERS:
                    continue
                elif isinstance(value, list | tuple):
                    yield from ((Place(path, holder, name, i), v) for i, v in enumerate(value) if isinstance(v, Tensor))
                elif isinstance(value, dict):
                    yield from ((Place(path, holder, name, k), v) for k, v in value.items() if isinstance(v, Tensor))


def split(path: str) -> tuple[str, ...]:
    """``a.b`` as its names; the root is no name."""
    return tuple(path.split(".")) if path else ()


def unwrapped(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """The module inside the wrappers of torch that call it unchanged, and the path to it."""
    path: tuple[str, ...] = ()
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            name = "module"
        elif "_orig_mod" in model._modules:
            name = "_orig_mod"
        else:
            return model, path
        inner = model._modules[name]
        assert inner is not None
        model, path = inner, (*path, name)
