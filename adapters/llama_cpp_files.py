"""llama.cpp: a GGUF file is judged by the tables that it holds and by what the engine computes; it has no gradients.

The file is judged in a copy of its own, which is mapped into memory: a write changes it there, and the engine loads it again
at the next call.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from tiecheck.conformance import translated
from tiecheck.conformance.declaration import Declaration
from tiecheck.conformance.errors import NotJudged
from tiecheck.conformance.evidence import Array
from tiecheck.conformance.leaves import Way, is_float
from tiecheck.conformance.protocol import Backend, Built

FLAG = False
LONGEST = 64
"""Positions that the engine is given room for; nothing asks for more."""
NAMES = ("llama-tied", "llama-untied", "gpt2-tied", "gpt2-untied", "gpt2-copied")
"""A file without ``output.weight``, with one of its own, and the popular wrong one: with a copy of the table."""


class File:
    """A GGUF file that belongs to the run: a copy in a folder that goes away with it."""

    def __init__(self, source: Path | None = None) -> None:
        self.path = Path(tempfile.mkdtemp()) / "model.gguf"
        weakref.finalize(self, shutil.rmtree, self.path.parent, ignore_errors=True)
        if source is not None:
            shutil.copyfile(source, self.path)

    def __deepcopy__(self, memo: object) -> File:
        return File(self.path)


def backend() -> Backend:
    """See `tiecheck.conformance.protocol.Adapter`."""
    here = all(find_spec(name) for name in ("llama_cpp", "gguf"))
    return Backend("llama-cpp", "a GGUF file of floats", here, ("logits", "writes", "files"), ("PATH.gguf", *NAMES))


def accepts(model: object) -> bool:
    """Only its own `File`: a GGUF file is named by its path."""
    return isinstance(model, File)


def build(name: str, *, tied: bool | None, seed: int) -> Built:
    """A copy of the file of that path, or a tiny one that is written here. LookupError: no such name."""
    if name.endswith(".gguf"):
        if not Path(name).is_file():
            raise LookupError(f"there is no file {name}")
        import gguf

        gguf.GGUFReader(name)  # raises what is wrong with it
        return Built(File(Path(name)), untrained=False)
    if name not in NAMES:
        raise LookupError(f"llama-cpp has no model {name!r} here; there are {', '.join(NAMES)}, and PATH.gguf")
    from .examples.gguf_files import write

    file = File()
    arch, _, head = name.partition("-")
    write(file.path, arch, head, np.random.default_rng(seed))
    return Built(file, Declaration(tied=head != "untied"), untrained=False, notes=("tiny and random",))


class Tensors:
    """`Leaves` of one file: its tensors by name."""

    packages = ("llama-cpp-python", "gguf")
    unasked: Mapping[str, str] = dict.fromkeys(
        ("gradient", "stepper"), "an inference engine has no gradients and trains nothing"
    )

    def __init__(self, file: File) -> None:
        from gguf import GGUFReader

        self.model = file
        reader = GGUFReader(file.path, "r+")
        self._mapped = reader.data
        self._values = {t.name: t.data for t in reader.tensors if is_float(t.data)}
        for tensor in reader.tensors:
            if tensor.name.startswith("token_embd.") and tensor.name not in self._values:
                kind = tensor.tensor_type.name
                raise NotJudged(f"{tensor.name} is stored as {kind}: rows can be written as F32 or F16 alone")
        trained = next((f for name, f in reader.fields.items() if name.endswith(".context_length")), None)
        self._length = min(LONGEST, int(trained.contents()) if trained is not None else LONGEST)
        self._engine: Any = None

    def logits(self, ids: Array) -> Array:
        """Logits (B, T, V), one sequence after the other."""
        if ids.shape[1] > self._length:
            raise ValueError(f"the file is for {self._length} positions")
        if self._engine is None:
            self._engine = _loaded(self.model.path, self._length)
        out = []
        for row in ids.tolist():
            self._engine.reset()
            self._engine.eval(row)
            out.append(np.array(self._engine.scores[: len(row)]))
        return np.stack(out)

    def leaves(self) -> dict[str, Array]:
        """Every tensor of F32 or F16."""
        return self._values

    def write(self, name: str, values: Array) -> None:
        """Into the file, which the engine has to load again."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        self._values[name][...] = values
        self._mapped.flush()

    def ways(self) -> tuple[Way, ...]:
        """A file is copied, the engine writes it, and it is made smaller."""
        return (
            Way("deepcopy", "cp model.gguf copy.gguf", lambda file, fresh: File(file.path)),
            Way("save", "llama_model_save_to_file(model, path)", lambda file, fresh: _saved(file)),
            Way(
                "cast",
                "llama-quantize model.gguf half.gguf f16",
                lambda file, fresh: _halved(file),
                exact=False,
                halfway=True,
            ),
        )


subject_of = translated.subject_of(Tensors)


# --- the engine ------------------------------------------------------------------------------------------------------


def _loaded(path: Path, length: int) -> Any:
    """The engine on a file, which tells nothing of itself."""
    _quiet()
    import llama_cpp

    options: dict[str, Any] = {"n_threads": 1, "n_threads_batch": 1, "n_gpu_layers": 0, "verbose": False}
    return llama_cpp.Llama(str(path), n_ctx=length, logits_all=True, **options)


@functools.cache
def _quiet() -> Any:
    """What takes the library's log; it has to live as long as the library."""
    import llama_cpp

    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, None)
    return silent


def _saved(file: File) -> File:
    import llama_cpp

    out, engine = File(), _loaded(file.path, LONGEST)
    llama_cpp.llama_model_save_to_file(engine.model, str(out.path).encode())
    engine.close()
    return out


def _halved(file: File) -> File:
    _quiet()
    import llama_cpp

    out, options = File(), llama_cpp.llama_model_quantize_default_params()
    options.ftype, options.nthread = llama_cpp.LLAMA_FTYPE_MOSTLY_F16, 1
    if llama_cpp.llama_model_quantize(str(file.path).encode(), str(out.path).encode(), options):
        raise RuntimeError("llama_model_quantize refused the file")
    return out
