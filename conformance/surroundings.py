"""What a target may change outside itself, in the process: put back when the run ends, however it ends."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

# Lists that other modules hold, so that their content is put back and not only the name.
_LISTS = ("path", "argv", "meta_path", "path_hooks")
_HOOKS = ("excepthook", "displayhook", "unraisablehook", "breakpointhook")
_STREAMS = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Streams, folder, import path, environment, filters of warnings, signal handlers, generators and what a framework sets
    for the whole process are after the block as they were before it."""
    undo = [_streams(), _interpreter(), _folder(), _environment(), _warnings(), _signals(), *_numbers()]
    torch = _torch()
    try:
        yield
    finally:
        for put_back in (*undo, torch):
            # One that is refused (a folder that is gone) must not keep the others from it, nor hide what was raised.
            with contextlib.suppress(Exception):
                put_back()


def _interpreter() -> Callable[[], None]:
    lists = {name: (getattr(sys, name), list(getattr(sys, name))) for name in _LISTS}
    hooks = {name: getattr(sys, name, None) for name in (*_HOOKS, *_STREAMS)}
    threads = threading.excepthook
    limit, interval, collects = sys.getrecursionlimit(), sys.getswitchinterval(), gc.isenabled()
    trace, profile = sys.gettrace(), sys.getprofile()

    def put_back() -> None:
        for name, (one, content) in lists.items():
            if one != content:
                one[:] = content
            setattr(sys, name, one)
        for name, hook in hooks.items():
            if getattr(sys, name, None) is not hook:
                setattr(sys, name, hook)
        _reopened()
        threading.excepthook = threads
        sys.setswitchinterval(interval)
        if sys.getrecursionlimit() != limit:
            sys.setrecursionlimit(limit)
        if collects != gc.isenabled():
            gc.enable() if collects else gc.disable()
        if sys.gettrace() is not trace:
            sys.settrace(trace)
        if sys.getprofile() is not profile:
            sys.setprofile(profile)

    return put_back


def _reopened() -> None:
    """A standard stream that the target closed (``exit()`` closes one) is opened anew: whoever asked for the run needs it."""
    for name in _STREAMS:
        stream = getattr(sys, name)
        if getattr(stream, "closed", False):
            encoding = getattr(stream, "encoding", None) or "utf-8"
            number = ["stdin", "stdout", "stderr"].index(name.strip("_"))
            mode = "w" if number else "r"
            fresh = open(number, mode, encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, fresh)


def _streams() -> Callable[[], None]:
    """The three descriptors below the streams."""
    saved = {}
    for number in (0, 1, 2):
        with contextlib.suppress(OSError):
            saved[number] = os.dup(number)

    def put_back() -> None:
        for number, copy in saved.items():
            with contextlib.suppress(OSError):
                if not _same_file(number, copy):
                    os.dup2(copy, number)
                os.close(copy)

    return put_back


def _same_file(one: int, other: int) -> bool:
    try:
        return os.path.sameopenfile(one, other)
    except OSError:
        return False


def _folder() -> Callable[[], None]:
    try:
        folder = os.getcwd()
    except OSError:
        return lambda: None

    def put_back() -> None:
        with contextlib.suppress(OSError):
            if os.getcwd() == folder:
                return
        os.chdir(folder)

    return put_back


def _environment() -> Callable[[], None]:
    before = dict(os.environ)

    def put_back() -> None:
        if os.environ != before:
            for name in set(os.environ) - set(before):
                del os.environ[name]
            os.environ.update(before)

    return put_back


def _warnings() -> Callable[[], None]:
    filters, content, shown = warnings.filters, list(warnings.filters), warnings.showwarning

    def put_back() -> None:
        if warnings.filters is not filters or list(filters) != content:
            filters[:] = content  # type: ignore[index]
            warnings.filters = filters
            warnings._filters_mutated()  # type: ignore[attr-defined]
        warnings.showwarning = shown

    return put_back


def _signals() -> Callable[[], None]:
    """Handlers and the alarm; Python lets the main thread alone set them."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    alarms = hasattr(signal, "getitimer") and signal.getitimer(signal.ITIMER_REAL)[0] == 0.0

    def put_back() -> None:
        if alarms:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)

    return put_back


def _numbers() -> Iterator[Callable[[], None]]:
    """The generators of Python and of NumPy, and how NumPy speaks of errors."""
    state = random.getstate()
    yield lambda: random.setstate(state)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numbers, errors = numpy.random.get_state(), numpy.geterr()
        yield lambda: (numpy.random.set_state(numbers), numpy.seterr(**errors), None)[-1]


def _torch() -> Callable[[], None]:
    """What torch keeps for the process. Where it is not loaded yet, a target may load it: then as torch itself begins."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_default_dtype"):
        return _torch_as_loaded
    dtype, threads, graded = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
    state = torch.get_rng_state()
    context = _default_device(torch)
    device = torch.get_default_device() if context is not None else None
    precision = torch.get_float32_matmul_precision()
    exact, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    anomaly = torch.is_anomaly_enabled()
    hooks = {
        name: (held, held.copy())
        for name, held in vars(torch.nn.modules.module).items()
        if name.startswith("_global_") and isinstance(held, dict)
    }
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None

    def put_back() -> None:
        torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_grad_enabled(graded)
        if _default_device(torch) is not context:
            torch.set_default_device(device)
        torch.set_rng_state(state)
        torch.set_float32_matmul_precision(precision)
        torch.use_deterministic_algorithms(exact, warn_only=warned)
        if torch.is_anomaly_enabled() != anomaly:
            torch.autograd.set_detect_anomaly(anomaly)
        for held, content in hooks.values():
            if held != content:
                held.clear()
                held.update(content)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)

    return put_back


def _default_device(torch: Any) -> Any:
    """The object behind ``torch.set_default_device``; None where nothing was set."""
    return getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)


def _torch_as_loaded() -> None:
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_default_dtype"):
        return
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    if _default_device(torch) is not None:
        torch.set_default_device(None)
