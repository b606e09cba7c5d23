"""The files that a run writes: refused before the run where they could not be written after it, and written together."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from pathlib import Path

from .report import Both, Report


def _json(judged: Report | Both) -> str:
    # What is not finite has been said in words: JSON knows no NaN.
    return json.dumps(judged.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _junit(judged: Report | Both) -> str:
    from .junit import junit

    return junit(judged)


def _html(judged: Report | Both) -> str:
    from .html import html

    return html(judged)


def _markdown(judged: Report | Both) -> str:
    from .markdown import markdown

    return markdown(judged)


VIEWS: dict[str, Callable[[Report | Both], str]] = {
    "json": _json,
    "junit": _junit,
    "html": _html,
    "markdown": _markdown,
}
"""What can be written, by the name of its option."""


def planned(files: Mapping[str, str | None], read: Iterable[Path] = ()) -> dict[str, Path]:
    """The path of each view that a file is named for. ValueError, in one sentence, where one could not be written.

    Args:
        files: a view's name and the file that was asked for.
        read: what the run reads, which no report may replace.
    """
    plan = {}
    for view, file in files.items():
        if file is None:
            continue
        if not file:
            raise ValueError("cannot write the report: the file name is empty")
        check_writable(Path(file))
        plan[view] = Path(file).absolute()  # the target may change the folder that we are in
    for (one, first), (two, second) in combinations(plan.items(), 2):
        if _same(first, second):
            raise ValueError(f"cannot write two reports to one file: --{one} and --{two} both name {files[two]}")
    for view, path in plan.items():
        if any(_same(path, source) for source in read):
            raise ValueError(f"cannot write the report: {files[view]} is a file that the run reads")
    return plan


def write(judged: Report | Both, plan: Mapping[str, Path]) -> None:
    """Write every view that was planned, or none. ValueError, in one sentence, where the system refuses."""
    write_all({path: VIEWS[view](judged) for view, path in plan.items()})


def check_writable(path: Path) -> None:
    """ValueError, in one sentence, where a report could not be written to ``path`` later."""
    try:
        folder = Path(os.path.realpath(path)).parent
    except ValueError as error:
        raise ValueError(f"cannot write the report: {str(path)!r} is no name of a file ({error})") from None
    try:
        if path.is_dir():
            raise ValueError(f"cannot write the report: {path} is a folder")
        if not _special(path):
            if not folder.is_dir():
                raise ValueError(f"cannot write the report: there is no folder {path.parent}")
            with tempfile.TemporaryFile(dir=folder):
                pass
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(13, "the file is read-only")
    except OSError as error:
        raise ValueError(f"cannot write the report to {path}: {error.strerror or error}") from None


def write_all(texts: Mapping[Path, str]) -> None:
    """Write all files beside their places, then rename: no reader sees half a file, and a failure leaves all as it was."""
    staged: list[tuple[str, str]] = []
    replaced: list[tuple[str, str | None]] = []
    leftovers: list[str] = []
    path = Path()
    try:
        for path, text in texts.items():
            if not _special(path):
                staged.append(_staged(path, text))
                leftovers.append(staged[-1][0])
        for path, text in texts.items():
            if _special(path):
                path.write_bytes(_encoded(text))
        for temporary, final in staged:
            path = Path(final)
            old = _copy(final) if len(staged) > 1 and path.exists() else None
            leftovers += [old] if old else []
            os.replace(temporary, final)
            replaced.append((final, old))
    except BaseException as error:
        for final, old in replaced:
            with contextlib.suppress(OSError):
                os.unlink(final) if old is None else os.replace(old, final)
        if not isinstance(error, OSError):
            raise
        raise ValueError(f"cannot write the report to {path}: {error.strerror or error}") from None
    finally:
        for name in leftovers:
            with contextlib.suppress(OSError):
                os.unlink(name)


def _staged(path: Path, text: str) -> tuple[str, str]:
    """The text in a file of its own beside its place, and that place."""
    final = os.path.realpath(path)  # a link stays a link
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(final), prefix=".tiecheck-", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(_encoded(text))
        os.chmod(temporary, 0o644)
    except OSError:
        os.unlink(temporary)
        raise
    return temporary, final


def _copy(final: str) -> str:
    """A copy of the file that is about to be replaced."""
    handle, name = tempfile.mkstemp(dir=os.path.dirname(final), prefix=".tiecheck-", suffix=".old")
    os.close(handle)
    try:
        shutil.copy2(final, name)
    except OSError:
        os.unlink(name)
        raise
    return name


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # a lone surrogate of a file name is a legal JSON escape so


def _same(one: Path, two: Path) -> bool:
    try:
        return os.path.realpath(one) == os.path.realpath(two) or (one.exists() and two.exists() and one.samefile(two))
    except ValueError:  # a name that no file can have
        return False


def _special(path: Path) -> bool:
    """A device or pipe (``/dev/null``, ``/dev/stdout``), which is written to and never replaced."""
    return path.exists() and not path.is_file()
