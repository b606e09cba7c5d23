"""From the words of a target to a built model and the adapter that judges it. No adapter is named here."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import Declined, NotJudged, sentence
from .factories import KEYWORD, Keyword, keyword_of, made, separated, unpacked
from .foreign import foreign
from .protocol import Built, adapters


@dataclass(frozen=True)
class Target:
    """A target that was understood: `build` makes the model anew each time.

    ``flag`` says whether the tie flag can be asked for (contract, decision 20), ``keyword`` which keyword of a factory that
    is; in ``folder`` a factory, or the model, may import its neighbours when it is called.
    """

    name: str
    adapter: Any | None
    source: Any
    flag: bool
    given: bool = False
    folder: str = ""
    keyword: Keyword | None = None

    @property
    def flag_name(self) -> str:
        """What the tie flag is called."""
        return self.keyword.name if self.keyword is not None else str(getattr(self.adapter, "FLAG_NAME", KEYWORD))

    def build(self, tied: bool | None, seed: int) -> Built:
        """The model. Raises Declined (a NotJudged) with one sentence where its factory fails."""
        if self.given:
            return Built(self.source, untrained=False)
        named = self.adapter is not None and isinstance(self.source, str)
        try:
            with _seeded(seed), foreign():
                if named:
                    built = self.adapter.build(self.source, tied=tied, seed=seed)  # type: ignore[union-attr]
                    assert isinstance(built, Built)
                    return built
                if not is_factory(self.source):
                    return dataclasses.replace(unpacked(self.source), untrained=False)
                return made(self.source, self.keyword, tied)
        except NotJudged as error:
            raise Declined(str(error)) from error
        except Exception as error:
            if named and isinstance(error, LookupError):  # the adapter has no model of that name, and says so
                raise NotJudged(str(error.args[0]) if error.args else str(error)) from error
            raise Declined(f"{self.name} failed to build{self._asked(tied)}: {sentence(error)}") from error

    def _asked(self, tied: bool | None) -> str:
        words = self.keyword.words(tied) if self.keyword is not None else {}
        return "".join(f" with {name}={value}" for name, value in words.items())


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Every build is seeded by the run, whatever framework is loaded."""
    import random

    import numpy as np

    state, numpy_state = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch = sys.modules.get("torch")
    torch_state = torch.get_rng_state() if torch is not None else None
    if torch is not None:
        torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
        if torch is not None and torch_state is not None:
            torch.set_rng_state(torch_state)


def is_factory(source: Any) -> bool:
    """A function or a class is called; an instance that can be judged is taken as it is."""
    return inspect.isclass(source) or inspect.isroutine(source) or (callable(source) and not _judgeable(source))


def _judgeable(model: object) -> bool:
    return any(adapter.accepts(model) for adapter in loaded().values() if hasattr(adapter, "accepts"))


def loaded() -> dict[str, Any]:
    """Every adapter, imported. An adapter that cannot be imported is left out."""
    out = {}
    for name, point in adapters().items():
        with contextlib.suppress(ImportError):
            out[name] = point.load()
    return out


def adapter_for(model: object) -> Any:
    """The adapter that judges an object. Raises NotJudged where none does."""
    for adapter in loaded().values():
        if hasattr(adapter, "accepts") and adapter.accepts(model):
            return adapter
    raise NotJudged(
        f"what was built is a {kind(model)}, which no installed backend can judge (a torch.nn.Module is wanted)"
    )


def given(model: Any) -> Target:
    """A model or a factory as handed to `check`. Raises NotJudged where even looking at it fails."""
    try:
        with foreign():
            return _given(model)
    except Exception as error:
        raise NotJudged(f"what was handed in cannot be looked at: {sentence(error)}") from error


def _given(model: Any) -> Target:
    if not _judgeable(model) and (inspect.isclass(model) or callable(model)):
        name = getattr(model, "__qualname__", None)
        return _made_by(model, None, name if isinstance(name, str) else kind(model), "")
    return Target(kind(model), None, model, flag=False, given=True)


def _made_by(source: Any, keyword: str | None, name: str, folder: str) -> Target:
    """The target that a factory is. Raises NotJudged where a keyword was named that it does not have."""
    try:
        with foreign():
            factory = is_factory(source)
    except Exception as error:
        raise NotJudged(f"{name} cannot be looked at: {sentence(error)}") from error
    where = name.rpartition("@")[0] if keyword is not None else name
    if keyword is not None and not factory:
        raise NotJudged(f"{where} is a {kind(source)}, and no factory that takes {keyword!r}")
    found = keyword_of(source, keyword, where) if factory else None
    return Target(name, None, source, flag=found is not None, folder=folder, keyword=found)


def resolve(text: str) -> Target:
    """The first match: an adapter's own word, FILE.py:FACTORY, BACKEND:NAME, package.module:FACTORY.

    Raises NotJudged, one sentence, where nothing matches.
    """
    points = adapters()
    if text in points and ":" not in text:
        adapter = _load(points[text], text)
        if not hasattr(adapter, "build"):
            raise NotJudged(f"{text!r} is a backend without models of its own; hand it a model as FILE.py:FACTORY")
        return Target(text, adapter, "", flag=True)
    head, colon, tail = text.rpartition(":")
    if colon and head.endswith(".py"):
        path = Path(head)
        folder = (
            _here() if not path.is_absolute() else ""
        )  # before the file runs: it may leave, and take the folder away
        name, keyword = separated(tail)
        return _made_by(_from_file(path, name), keyword, text, os.path.join(folder, path.parent))
    if text.endswith(".py"):
        raise NotJudged(f"{text!r} names a file but no factory in it; write {text}:FACTORY")
    head, colon, tail = text.partition(":")
    if colon and head in points:
        adapter = _load(points[head], head)
        if not hasattr(adapter, "build"):
            raise NotJudged(f"the backend {head!r} has no models of its own; hand it a model as FILE.py:FACTORY")
        if not tail:
            raise NotJudged(f"{text!r} names a backend but no model of it")
        return Target(text, adapter, tail, flag=getattr(adapter, "FLAG", True))
    if colon and head and all(part.isidentifier() for part in head.split(".")):
        name, keyword = separated(tail)
        return _made_by(_from_module(head, name), keyword, text, _here())
    raise NotJudged(
        f"{text!r} is no target: write FILE.py:FACTORY, package.module:FACTORY, or one of {', '.join(f'{n}:NAME' for n in points)}"
    )


def _load(point: Any, name: str) -> Any:
    try:
        return point.load()
    except ImportError as error:
        raise NotJudged(f"the backend {name!r} cannot be used here: {sentence(error)}") from error


def _from_file(path: Path, name: str) -> Any:
    try:
        there = path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        there = False
    if not there:
        raise NotJudged(f"there is no file {path}")
    full = path.absolute()
    spec = importlib.util.spec_from_file_location(_label(full), full)
    if spec is None or spec.loader is None:
        raise NotJudged(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        with importable(str(full.parent), first=True), foreign():
            spec.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(spec.name, None)
        raise NotJudged(f"{path} cannot be imported: {sentence(error)}") from error
    return _attribute(module, name, str(path))


def _label(path: Path) -> str:
    """The name under which a file is imported: its own, where that is nobody else's and pickle can write it."""
    stem = path.stem
    free = stem.isidentifier() and stem not in sys.modules
    if free:
        with contextlib.suppress(ImportError, ValueError):
            free = importlib.util.find_spec(stem) is None
    return stem if free else "_tiecheck_target_" + re.sub(r"\W", "_", stem)


@contextlib.contextmanager
def importable(folder: str, first: bool = False) -> Iterator[None]:
    """A folder is on the import path: before all others, or behind them."""
    if not folder or (folder in sys.path and not first):
        yield
        return
    sys.path.insert(0 if first else len(sys.path), folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def _from_module(module_name: str, name: str) -> Any:
    folder = _here()
    try:
        with importable(folder, first=folder not in sys.path), foreign():
            module = importlib.import_module(module_name)
    except Exception as error:
        raise NotJudged(f"{module_name} cannot be imported: {sentence(error)}") from error
    return _attribute(module, name, module_name)


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:  # somebody took the folder away
        return ""


def _attribute(module: Any, name: str, where: str) -> Any:
    if not name:
        raise NotJudged(f"{where} is named without a factory; write {where}:FACTORY")
    value = module
    for part in name.split("."):
        try:
            with foreign():
                value = getattr(value, part)
        except AttributeError:
            raise NotJudged(f"{where} has no {name!r}") from None
        except Exception as error:  # a property, or a module's own __getattr__
            raise NotJudged(f"{name} of {where} cannot be had: {sentence(error)}") from error
    return value


def building(target: Target, built: Built, tied: bool | None) -> str:
    """Lines of Python that define ``build()``, which makes the model of a target; a comment where only its user can."""
    code = built.extra.get("code", "")
    if code:
        return str(code() if callable(code) else code)
    name, _, factory = target.name.rpartition("@")[0 if "@" in target.name else 2].rpartition(":")
    if target.given or target.adapter is not None or not factory.isidentifier():
        return f"build = ...  # makes the model that was judged: {target.name}"
    words = target.keyword.words(tied) if target.keyword is not None else {}
    call = ", ".join(f"{key}={value}" for key, value in words.items())
    made = f"build = lambda: {factory}({call})" if call else f"build = {factory}"
    if name.endswith(".py"):
        path = Path(name)
        return f"import sys\nsys.path.insert(0, {str(path.absolute().parent)!r})\nfrom {path.stem} import {factory}\n{made}"
    return f"from {name} import {factory}\n{made}" if name else made


def kind(model: object) -> str:
    """The name of an object's class, whatever its metaclass says."""
    try:
        return str.__str__(type(model).__name__)
    except BaseException:
        return "thing without a name"
