"""The exceptions that cross the protocol: what bad input and unanswerable questions raise; and any exception in one line."""

from __future__ import annotations

import unicodedata

LONGEST = 300


class NoBackward(RuntimeError):
    """A subject refuses a backward pass in one mode; what needs it is skipped there."""


class NotJudged(ValueError):
    """The target cannot be loaded, run or judged; one sentence says why. The command line exits with status 2."""


class Declined(NotJudged):
    """A value of the tie flag is refused when the model is built, or nothing that was selected applies to it: no fault where
    the other value was asked for as well and is judged."""


class NoDevice(NotJudged):
    """A device was asked for that is not here: under pytest the items skip with the reason."""


class Raised(RuntimeError):
    """A target raised what is no `Exception` (SystemExit, its own KeyboardInterrupt); the message says what, in one line."""


class TieLost(AssertionError):
    """The two ends of the model are not one trained table; the message says where they are and what mends it."""


def sentence(error: BaseException) -> str:
    """Any exception in one clean line: its kind, and the first line of what it says."""
    if isinstance(error, Raised):
        return str(error)
    text = _text(error)
    return f"{_kind(error)}: {text}" if text else _kind(error)


def line(error: BaseException) -> str:
    """The first line of what an exception says; its kind where it says nothing."""
    return _text(error) or _kind(error)


def _kind(error: BaseException) -> str:
    try:
        return clean(str.__getitem__(type(error).__name__, slice(80)))
    except BaseException:  # a metaclass may name it as it likes
        return "an exception"


def _text(error: BaseException) -> str:
    """What it says; nothing where its ``__str__`` raises, or gives no string."""
    try:
        # An own subclass of str could answer every method in its own way.
        text = str.__getitem__(str(error), slice(100 * LONGEST))
    except BaseException:
        return ""
    said = ""
    for row in filter(None, map(str.strip, text.splitlines())):
        said = f"{said} {row}" if said else row
        if not row.endswith(":"):  # what it announces stands on the next line
            break
    return clean(said)[:LONGEST]


def clean(text: str) -> str:
    """``text`` with everything invisible or steering (newlines, escape codes, reversals of direction) spelt out.

    Names come from the model under test; printed raw they could move the cursor or fake lines of the report.
    """
    return "".join(
        char.encode("unicode_escape").decode("ascii")
        if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else char
        for char in text
    )
