"""What the command line does with its three streams: prints, says, and keeps a target's prints out of the report."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.live import Live


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
                # The streams stay as they are: stdout_is_stderr has them already.
                console = Console(stderr=True)
                self._live = Live(
                    self._line(), console=console, transient=True, redirect_stdout=False, redirect_stderr=False
                )
                self._live.start()


@contextlib.contextmanager
def stdout_is_stderr() -> Iterator[None]:
    """What a target prints, also below Python, goes to standard error: standard output is the report's alone."""
    saved = None
    with contextlib.suppress(OSError, ValueError):
        if sys.stdout is not None:
            sys.stdout.flush()
        saved = os.dup(1)
        os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()  # what the target put into our buffer behind our back goes where its other prints went
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)


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

    line = f"tiecheck: {clean(' '.join(text.split()))}\n"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        encoding = sys.stderr.encoding or "utf-8"
        sys.stderr.write(line.encode(encoding, "backslashreplace").decode(encoding))
        sys.stderr.flush()


def trace(error: BaseException, wanted: bool) -> None:
    if wanted:
        import traceback

        traceback.print_exception(error)
