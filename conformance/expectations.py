"""Expected failures: a TOML file that is kept with a model and names what is known to fail, and why.

    [[expected]]
    id = "storage.one-memory"
    reason = "the exported head is a copy until issue 12 is done"
    target = "model.py:exported"    # where wanted: this target alone, as it is written on the command line
    device = "cuda"                 # where wanted: cpu, cuda (any of them) or cuda:N

What the file says and no longer holds fails the run, with a report (exit status 1): an entry that names no requirement,
stands twice, gives no reason, or passes after all. A file that cannot be understood is bad input, and nothing is judged
(exit status 2): no TOML, an unknown key, a value of the wrong type. An entry whose requirement was not asked in this run
(another target or device, not selected, skipped) is noted, and no fault.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .errors import NotJudged, line
from .explain import nearest
from .report import EXPECTED, Both, Diagnosis, Report, Result

LIMIT = 1 << 20
SHOWN = 20
KEYS = ("id", "reason", "target", "device")
TITLE = "the expected failures are not what this run shows"


@dataclass(frozen=True)
class Expected:
    """One entry; ``number`` is its place in the file, from 1. An ``id`` or ``reason`` that is missing is ""."""

    number: int
    id: str
    reason: str
    target: str | None = None
    device: str | None = None

    def fits(self, report: Report) -> str:
        """Why the entry does not speak of a report's target or device, or "" where it does."""
        if self.target is not None and self.target != report.target:
            return f"for the target {self.target}"
        if self.device is not None and not _same_device(self.device, str(report.environment.get("device", ""))):
            return f"for {self.device}"
        return ""

    def overlaps(self, other: Expected) -> bool:
        """Whether some run is spoken of by both."""
        targets = self.target is None or other.target is None or self.target == other.target
        one, two = self.device, other.device
        devices = one is None or two is None or _same_device(one, two) or _same_device(two, one)
        return self.id == other.id and targets and devices


@dataclass(frozen=True)
class Expectations:
    """The entries of one file. It stands for the file's path wherever that is wanted."""

    file: str
    entries: tuple[Expected, ...]

    def __fspath__(self) -> str:
        return self.file

    def faults(self) -> list[str]:
        """A sentence for each entry that is wrong whatever the run shows."""
        from .requirement import requirements

        known = [item.id for item in requirements()]
        out = []
        earlier: dict[str, list[Expected]] = {}
        for entry in self.entries:
            name = f"entry {entry.number} ({entry.id})" if entry.id else f"entry {entry.number}"
            if entry.id not in known:
                near = nearest(entry.id, known)
                hint = f"; perhaps {near}" if near else "; `tiecheck spec` lists them"
                out.append(f"entry {entry.number} names no requirement: {entry.id or 'it has no id'}{hint}")
            twin = next((e for e in earlier.get(entry.id, ()) if e.overlaps(entry)), None)
            earlier.setdefault(entry.id, []).append(entry)
            if twin is not None:
                out.append(f"{name} stands twice: entry {twin.number} speaks of the same")
            if not entry.reason:
                out.append(f"{name} gives no reason")
        return out

    def entry(self, id: str, report: Report) -> Expected | None:
        """The entry that speaks of a requirement in a report."""
        return next((e for e in self.entries if e.id == id and not e.fits(report)), None)


def _same_device(expected: str, device: str) -> bool:
    return device == expected or (expected == "cuda" and device.startswith("cuda:"))


def load(source: str | os.PathLike[str] | None) -> Expectations | None:
    """The file, read. Raises NotJudged with one sentence where it cannot be understood."""
    if source is None or isinstance(source, Expectations):
        return source
    file = os.fspath(source) if isinstance(source, str | os.PathLike) else source
    if not file or not isinstance(file, str):
        raise NotJudged(f"the file of expected failures is a path, not {file!r}")
    bad = f"the expected failures in {file} cannot be read"
    try:
        with open(file, "rb") as stream:
            content = stream.read(LIMIT + 1)
        if len(content) > LIMIT:
            raise NotJudged(f"{bad}: it has more than {LIMIT} bytes")
        document = tomllib.loads(content.decode("utf-8-sig"))
    except NotJudged:
        raise
    except OSError as error:
        raise NotJudged(f"{bad}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # what is no TOML, no UTF-8, or nested without end
        raise NotJudged(f"{bad}: {line(error)}") from error
    unknown = [key for key in document if key != "expected"]
    if unknown:
        raise NotJudged(f"{bad}: {unknown[0]!r} is no key of it; it holds entries under [[expected]]")
    entries = document.get("expected", [])
    if not isinstance(entries, list):
        raise NotJudged(f"{bad}: an entry begins with [[expected]], in two pairs of brackets")
    return Expectations(file, tuple(_entry(item, number, bad) for number, item in enumerate(entries, 1)))


def _entry(item: Any, number: int, bad: str) -> Expected:
    if not isinstance(item, dict):
        raise NotJudged(f"{bad}: entry {number} is no table; it begins with [[expected]]")
    for key, value in item.items():
        if key not in KEYS:
            near = nearest(key, KEYS)
            hint = f"; did you mean {near}?" if near else f"; there are {', '.join(KEYS)}"
            raise NotJudged(f"{bad}: entry {number} has the unknown key {key!r}{hint}")
        if not isinstance(value, str):
            raise NotJudged(f"{bad}: {key} of entry {number} is text in quotes, not {value!r}")
    device = item.get("device")
    if device is not None and not re.fullmatch(r"cpu|cuda(:[0-9]{1,4})?", device, re.ASCII):
        raise NotJudged(f"{bad}: device of entry {number} is cpu, cuda or cuda:N, not {device!r}")
    text = {key: item.get(key, "").strip() for key in ("id", "reason")}
    return Expected(number, text["id"], text["reason"], item.get("target"), device)


def applied(judged: Report | Both, expectations: Expectations | None) -> Report | Both:
    """What a run gave, with the expectations held against it; of two builds, an entry may fail in one alone."""
    if expectations is None:
        return judged
    if isinstance(judged, Report):
        return apply(judged, expectations)
    return replace(judged, reports=tuple(apply(report, expectations, judged.reports) for report in judged.reports))


def apply(report: Report, expectations: Expectations, run: Sequence[Report] = ()) -> Report:
    """The report with each expected failure as ``xfail``, and failed by every entry that is wrong.

    Args:
        report: what was judged.
        expectations: the file.
        run: all reports of the run, where there are several: an entry has not passed while it fails in one of them.
    """
    results, stale, unasked = [], [], []
    for result in report.results:
        entry = expectations.entry(result.id, report)
        elsewhere = entry is not None and any(
            r.id == result.id and r.verdict == "fail" for other in run if not entry.fits(other) for r in other.results
        )
        if entry is None or result.verdict == "error" or (result.verdict == "pass" and elsewhere):
            results.append(result)
        elif result.verdict == "fail":
            results.append(replace(result, verdict="xfail", message=f"{result.message} ({_said(entry)})"))
        elif result.verdict == "pass":
            # A MUST whatever the requirement's own level: the file promised it.
            message = f"{_said(entry)}, but it passes: remove the entry from {expectations.file}"
            results.append(replace(result, level="MUST", verdict="fail", message=message))
            stale.append(result.id)
        else:
            results.append(result)
            unasked.append(f"{entry.id} ({'not selected' if result.message == 'not selected' else 'skipped'})")
    unasked += [f"{e.id} ({why})" for e in expectations.entries if e.id and (why := e.fits(report))]
    return _with(report, expectations, tuple(results), stale, unasked)


def _said(entry: Expected) -> str:
    return f"{EXPECTED}: {entry.reason or 'no reason is given'}"


def _with(
    report: Report, expectations: Expectations, results: tuple[Result, ...], stale: list[str], unasked: list[str]
) -> Report:
    faults = expectations.faults() + [f"{id} passes, though it is expected to fail" for id in stale]
    causes = list(report.diagnosis)
    if faults:
        explanation = "Every entry names one requirement, once, with a reason, and that requirement still fails."
        fix = f"Mend or remove these entries of {expectations.file}"
        seen = "; ".join(faults[:SHOWN]) + (f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else "")
        causes.append(Diagnosis("unknown", f"{explanation} Seen: {seen}.", fix, tuple(stale), title=TITLE))
    notes = report.notes
    if unasked:
        shown = ", ".join(unasked[:8]) + (f" and {len(unasked) - 8} more" if len(unasked) > 8 else "")
        notes = (*notes, f"expected failures that were not asked in this run: {shown}")
    bad = any(result.fails(report.strict) for result in results)
    changed = replace(report, results=results, notes=notes, conforms=not bad and not faults)
    # What fails the run comes before what does not: an expected failure last, for nobody is to act on it now.
    causes.sort(key=lambda cause: (changed.excused(cause) != "", changed.excused(cause) == EXPECTED))
    return replace(changed, diagnosis=tuple(causes))
