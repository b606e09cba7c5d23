"""Many targets side by side: a process each, so that none can disturb or end another, and what was judged survives.

The journal is a file that holds every row as soon as it is known; a run that goes on with it judges the others alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import __version__
from .errors import NotJudged, clean
from .outputs import write_all
from .protocol import adapters
from .report import Both, Report, from_dict

Row = tuple[tuple[Report, ...], str]
"""The reports of one target, or none and the reason."""


@dataclass(frozen=True)
class Entry:
    """One target of a matrix; ``named`` says whether it was named, and not found by asking a backend."""

    target: str
    named: bool = True


def expanded(words: Sequence[str]) -> tuple[Entry, ...]:
    """The targets that words stand for: a backend's name for all that it can judge here, no word at all for all backends.

    Raises NotJudged where there are none.
    """
    points = adapters()
    if not words:
        found = [Entry(target, False) for name in points for target in _all(name, whole=False)]
    else:
        found = [
            entry
            for word in words
            for entry in (
                [Entry(target, False) for target in _all(word, whole=True)] or [Entry(word)]
                if word in points
                else [Entry(word)]
            )
        ]
    if not found:
        raise NotJudged("there is nothing to judge: no backend with models of its own is installed")
    return tuple({entry.target: entry for entry in found}.values())


def _all(name: str, whole: bool) -> list[str]:
    """Every target of a backend that is installed; ``whole`` asks for all where it shows only a few of its names."""
    try:
        adapter = adapters()[name].load()
        row = adapter.backend()
    except Exception:  # somebody else's adapter, perhaps
        return []
    if not row.installed or not hasattr(adapter, "build") or (not whole and getattr(adapter, "BROKEN", False)):
        return []
    names = adapter.every() if whole and hasattr(adapter, "every") else getattr(adapter, "SHOWN", row.names)
    return [f"{name}:{word}" for word in names if ":" not in word and " " not in word and "=" not in word]


def expectations_of(target: str) -> Path | None:
    """The file of expected failures that is kept beside the adapter of a target, if there is one."""
    name = target.partition(":")[0]
    point = adapters().get(name)
    if point is None:
        return None
    with contextlib.suppress(Exception):
        module = sys.modules.get(point.module) or point.load()
        file = Path(str(module.__file__)).parent / "expected" / f"{name}.toml"
        return file if file.is_file() else None
    return None


def judge(
    entries: Sequence[Entry],
    words: Mapping[str, Any],
    *,
    jobs: int,
    journal: Path | None,
    say: Callable[[str, Row | None, int, int], None],
) -> tuple[Both, dict[str, Row], bool]:
    """Judge all, each in a process of its own, at most ``jobs`` at a time; the rows, and whether it came to the end.

    Args:
        words: the options of `run.Options`, all of them plain values.
        journal: where each row is kept; rows that are there already, judged under the same options, are not judged again.
        say: told (target, its row or None where it starts, how many are done, how many there are).
    """
    key = _key(words)
    known = _read(journal, key) if journal is not None else {}
    rows: dict[str, Row] = {e.target: known[e.target] for e in entries if e.target in known}
    left = [e for e in entries if e.target not in rows]
    children = _Children()
    finished = True

    def one(entry: Entry) -> Row:
        say(entry.target, None, len(rows), len(entries))
        return children.judge(entry.target, words)

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        futures = {pool.submit(one, entry): entry.target for entry in left}
        try:
            for future in as_completed(futures):
                rows[futures[future]] = future.result()
                if journal is not None:
                    write_all({journal: _journal(key, rows)})
                say(futures[future], rows[futures[future]], len(rows), len(entries))
        except KeyboardInterrupt:
            finished = False
            for future in futures:
                future.cancel()
            children.stop()
    return _together(entries, rows, finished), rows, finished


def save(journal: Path, words: Mapping[str, Any], rows: Mapping[str, Row]) -> None:
    """Write a journal that a later run goes on with. Raises ValueError where the system refuses."""
    write_all({journal: _journal(_key(words), rows)})


def _key(words: Mapping[str, Any]) -> str:
    return json.dumps([__version__, sorted((name, str(value)) for name, value in words.items())])


def _together(entries: Sequence[Entry], rows: Mapping[str, Row], finished: bool) -> Both:
    """One object for every view. A target that was named and cannot be judged counts, as it would alone."""
    reports: list[Report] = []
    unjudged: list[tuple[str, str]] = []
    floor = 0
    for entry in entries:
        found, why = rows.get(entry.target, ((), "interrupted"))
        reports += found
        if why:
            unjudged.append((entry.target, why))
            # A value of the flag that a model refuses loudly is no fault (contract, decision 9).
            floor = 2 if not found and (entry.named or not finished) else floor
    return Both(tuple(reports), tuple(unjudged), floor)


class _Children:
    """Processes that are running, so that they can be stopped together."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._over = False

    def judge(self, target: str, words: Mapping[str, Any]) -> Row:
        """What one process says of one target."""
        with tempfile.TemporaryDirectory(prefix="tiecheck-") as folder:
            asked, answer = Path(folder, "asked.json"), Path(folder, "answer.json")
            asked.write_text(json.dumps({"target": target, "options": words}))
            with self._started(asked, answer, Path(folder, "said")) as process:
                process.wait()
            if not answer.is_file():
                said = Path(folder, "said").read_text(encoding="utf-8", errors="replace").strip().splitlines()
                last = f": {clean(said[-1])[:200]}" if said else ""
                return (), f"its process ended with status {process.returncode} and no verdict{last}"
            row = json.loads(answer.read_text(encoding="utf-8"))
        return tuple(from_dict(report) for report in row["reports"]), row["reason"]

    @contextlib.contextmanager
    def _started(self, asked: Path, answer: Path, said: Path) -> Iterator[subprocess.Popen[bytes]]:
        with said.open("wb") as stream, self._lock:
            if self._over:
                raise KeyboardInterrupt
            command = [sys.executable, "-m", "tiecheck.conformance.matrix", str(asked), str(answer)]
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
            )
            self._running.add(process)
        try:
            yield process
        finally:
            self._running.discard(process)

    def stop(self) -> None:
        """End all that run; none starts any more."""
        with self._lock:
            self._over = True
            for process in self._running:
                process.kill()


def _journal(key: str, rows: Mapping[str, Row]) -> str:
    """Every row that is known. It is no report: nothing in it says that it is complete."""
    plain = {
        target: {"reports": [report.plain() for report in found], "reason": why}
        for target, (found, why) in rows.items()
    }
    return json.dumps({"schema": "tiecheck/journal/1", "options": key, "rows": plain}) + "\n"


def _read(journal: Path, key: str) -> dict[str, Row]:
    """The rows of a journal. Raises NotJudged where it is none, or of a run with other options."""
    if not journal.exists():
        return {}
    try:
        stored = json.loads(journal.read_text(encoding="utf-8"))
        rows = {
            str(target): (tuple(from_dict(report) for report in row["reports"]), str(row["reason"]))
            for target, row in stored["rows"].items()
        }
        same = stored["schema"] == "tiecheck/journal/1" and stored["options"] == key
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotJudged(f"{journal} is no journal of a matrix: {type(error).__name__}") from None
    if not same:
        raise NotJudged(f"{journal} was written by a run with other options or another version; name another file")
    return rows


def _main(asked: str, answer: str) -> int:
    """The process of one target: judge it as the command line would, and write what came of it."""
    from .console import leave, stdout_is_stderr
    from .report import reports, unjudged
    from .run import run_target

    question = json.loads(Path(asked).read_text(encoding="utf-8"))
    target, words = question["target"], dict(question["options"])
    if words.get("expected_failures") is None:
        words["expected_failures"] = expectations_of(target)
    row: dict[str, Any] = {"reports": [], "reason": ""}
    try:
        with stdout_is_stderr():
            judged = run_target(target, **words)
        row["reports"] = [report.plain() for report in reports(judged)]
        row["reason"] = "; ".join(f"{name}: {why}" for name, why in unjudged(judged))
    except NotJudged as error:
        row["reason"] = str(error) or "the target could not be judged"
    except BaseException as error:
        row["reason"] = f"a defect of tiecheck: {type(error).__name__}: {error}"
    text = json.dumps(row)
    Path(f"{answer}.part").write_text(text, encoding="utf-8")
    os.replace(f"{answer}.part", answer)
    leave(0)
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:3]))
