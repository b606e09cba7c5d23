"""Around what somebody else wrote: nothing that a target raises ends the run, and only the user's own Ctrl-C stops it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from .errors import Raised, sentence

WORKER = "tiecheck"
_PATIENCE = 1.0
# How Python finds a module: what a target takes away, the rest of the run would miss.
_WAYS = ("path", "meta_path", "path_hooks")
_stopping: set[int] = set()
_pressed = threading.Event()
_listening = threading.Event()


class Stopped(BaseException):
    """The time is up; raised into the thread that works for the run."""


@contextlib.contextmanager
def foreign() -> Iterator[None]:
    """What a target raises inside is an `Exception` outside; a process that it forked ends here; what we import by is there.

    Raises:
        Raised: for SystemExit, a KeyboardInterrupt of the target's own, and every other exception that is none.
    """
    process = os.getpid()
    ways = {name: list(getattr(sys, name)) for name in _WAYS}
    try:
        yield
    except (Exception, Stopped):
        raise
    except BaseException as error:
        if _is_of_pytest(error) or (isinstance(error, KeyboardInterrupt) and not _its_own()):
            raise
        raise Raised(sentence(error)) from error
    finally:
        if os.getpid() != process:
            os._exit(0)
        for name, known in ways.items():
            now = getattr(sys, name, None)
            if not isinstance(now, list):
                setattr(sys, name, known)
            elif now != known:
                now += [way for way in known if way not in now]
        if threading.get_ident() in _stopping:
            raise Stopped


def _is_of_pytest(error: BaseException) -> bool:
    """Whether it is a word to pytest, such as a skip that a test's own factory asks for."""
    outcomes = sys.modules.get("_pytest.outcomes")
    return outcomes is not None and isinstance(error, outcomes.OutcomeException)


def _its_own() -> bool:
    """Whether a KeyboardInterrupt comes from the target: the user's reaches the main thread alone, and is told there."""
    if threading.current_thread() is not threading.main_thread():
        return True
    return _listening.is_set() and not _pressed.is_set()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Inside, the user's Ctrl-C is known from a KeyboardInterrupt that a target raises itself.

    Where interrupts are not Python's own to handle, or this is not the main thread, nothing changes.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or _listening.is_set() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def pressed(number: int, frame: FrameType | None) -> None:
        _pressed.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, pressed)
    _listening.set()
    try:
        yield
    finally:
        _listening.clear()
        _pressed.clear()
        signal.signal(signal.SIGINT, signal.default_int_handler)


def stop(thread: threading.Thread) -> None:
    """Have a thread of ours end at the next line of Python that it runs; one that sleeps or computes is left behind."""
    identity = thread.ident
    if identity is None or not thread.is_alive():
        return
    _stopping.add(identity)
    # Once: a second one could hit what puts things back.
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(identity), ctypes.py_object(Stopped))
    thread.join(_PATIENCE)


def worker(work: Callable[[], None]) -> threading.Thread:
    """A thread that can be told to `stop`, not started yet. It never keeps the process alive."""

    def target() -> None:
        try:
            work()
        finally:
            _stopping.discard(threading.get_ident())

    return threading.Thread(target=target, daemon=True, name=WORKER)
