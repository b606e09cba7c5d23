"""What the command line does with its three streams: prints, says, and keeps a target's prints out of the report."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.live import Live


_LAST_WORDS = 5.0
_LONGEST = 600


class Progress:
    """A line on standard error that says what is being done, from the third second on, where somebody watches.

    A timer and not the calls starts it, since the slowest thing (an import, a large model) comes between two calls.
    """

    def __init__(self, enabled: bool, after: float = 2.0) -> None:
        self._text = "working"
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._over = False
        watched = enabled and sys.stderr is not None and sys.stderr.isatty()
        self._stream = sys.stderr
        self._timer = threading.Timer(after, self._start) if watched else None

    def __enter__(self) -> Callable[[str], None]:
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()
        return self

    def __call__(self, text: str) -> None:
        self._text = text
        with self._lock:
            if self._live is not None:
                self._live.update(self._line())

    def __exit__(self, *error: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._over = True
            if self._live is not None:
                self._live.stop()

    def _line(self) -> Any:
        from rich.spinner import Spinner
        from rich.text import Text

        from .explain import clean

        return Spinner("dots", Text(clean(self._text), no_wrap=True, overflow="ellipsis"))

    def _start(self) -> None:
        from rich.console import Console
        from rich.live import Live

        with self._lock:
            if not self._over:
                # The streams stay as they are: stdout_is_stderr has them already, and the target may close what it got.
                console = Console(file=self._stream)
                self._live = Live(
                    self._line(), console=console, transient=True, redirect_stdout=False, redirect_stderr=False
                )
                self._live.start()


@contextlib.contextmanager
def stdout_is_stderr() -> Iterator[None]:
    """What a target prints, also below Python, goes to standard error: standard output is the report's alone.

    The target gets streams that are only lent: it may close or replace them, and ours are as they were.
    """
    from .foreign import foreign
    from .surroundings import kept

    ours = (sys.stdout, sys.stderr, sys.__stdout__)
    _flush(ours)
    with kept():
        lent = _lent()
        with contextlib.suppress(OSError):
            os.dup2(2, 1)
        sys.stdout = sys.stderr = lent
        try:
            yield
        finally:
            # What the target put into a buffer, ours too, goes where its other prints went.
            with foreign():
                _flush((sys.stdout, sys.stderr, lent, *ours))


def _flush(streams: Iterable[Any]) -> None:
    for stream in streams:
        with contextlib.suppress(Exception):
            stream.flush()


def _lent() -> TextIO:
    """Standard error once more, to be closed without closing it."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    try:
        number = os.dup(2)
    except OSError:
        number = os.open(os.devnull, os.O_WRONLY)
    return open(number, "w", buffering=1, encoding=encoding, errors="backslashreplace")


def columns() -> int | None:
    """Columns of the terminal; None where the output is not one, and then nothing is folded or coloured."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    import shutil

    return max(shutil.get_terminal_size().columns, 20)


def show(text: str) -> None:
    """Print to standard output whatever its encoding; a reader that has gone away is no error."""
    stream = sys.stdout
    if stream is None:
        return
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except BrokenPipeError:
        abandon_stdout()


def abandon_stdout() -> None:
    """Point standard output at nothing, so that the interpreter's last flush does not complain."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str) -> None:
    """One line on standard error."""
    from .explain import clean

    line = clean(" ".join(text.split()))
    _tell(f"tiecheck: {line if len(line) <= _LONGEST else f'{line[:_LONGEST]} …'}\n")


def leave(status: int) -> None:
    """End the process with a status, whatever a target has left in it: threads that go on, handlers that print or hang.

    Returns where the usual end will do; it has a few seconds.
    """
    _flush((sys.stdout, sys.stderr))
    with contextlib.suppress(OSError):
        os.dup2(2, 1)  # the report is out
    if len(threading.enumerate()) > 1:
        os._exit(status)

    def overdue() -> None:
        time.sleep(_LAST_WORDS)
        os._exit(status)

    threading.Thread(target=overdue, daemon=True).start()


def _tell(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        encoding = sys.stderr.encoding or "utf-8"
        sys.stderr.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stderr.flush()


def trace(error: BaseException, wanted: bool) -> None:
    """The traceback, where it is wanted; what the target says in it steers no terminal."""
    if wanted:
        import traceback

        from .explain import clean_lines

        _tell(clean_lines("".join(traceback.format_exception(error))))
