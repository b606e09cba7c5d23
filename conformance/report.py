"""The one report object that every view draws, and its JSON form (section 4 of the contract)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .requirement import Level, Verdict

SCHEMA = "tiecheck/report/1"
MATRIX_SCHEMA = "tiecheck/matrix/1"
EXPECTED = "expected to fail"
SHOULD = "SHOULD: does not fail the run unless --strict is given"


@dataclass(frozen=True)
class Result:
    """One requirement's outcome. ``seconds`` is the time that judging took, gathering apart."""

    id: str
    level: Level
    verdict: Verdict
    message: str
    counterexample: dict[str, Any] | None = None
    seconds: float = 0.0

    def fails(self, strict: bool) -> bool:
        """Whether it fails the run: a defect of tiecheck, or a failure that is no mere SHOULD."""
        return self.verdict == "error" or (self.verdict == "fail" and (self.level == "MUST" or strict))


@dataclass(frozen=True)
class Diagnosis:
    """One cause: what was expected and seen, where, and what mends it. ``fix_verified`` is null where it was not tried.

    ``title`` is what people read for the cause where its own words do not say it.
    """

    cause: str
    explanation: str
    fix: str
    evidence: tuple[str, ...]
    fix_verified: bool | None = None
    where: str = ""
    title: str = ""

    @property
    def tried(self) -> str:
        """What became of the fix where it was tried."""
        if self.fix_verified is None:
            return ""
        return f"tried on a second instance: {'it then conforms' if self.fix_verified else 'not enough'}"


@dataclass(frozen=True)
class Cost:
    """What a run cost: wall seconds, passes of the model, and the peak of memory in bytes."""

    seconds: float = 0.0
    forward_passes: int = 0
    backward_passes: int = 0
    peak_bytes: int = 0


@dataclass(frozen=True)
class Report:
    """The verdict on one target under one declaration.

    ``notes`` are sentences a reader should know before the verdict (tiny random weights, shapes left out); ``replay``
    is the command that repeats the run.
    """

    tiecheck: str
    target: str
    declared: Literal["tied", "untied"]
    conforms: bool
    environment: Mapping[str, Any]
    profile: str
    seed: int
    results: tuple[Result, ...]
    diagnosis: tuple[Diagnosis, ...] = ()
    cost: Cost = field(default_factory=Cost)
    notes: tuple[str, ...] = ()
    replay: str = ""
    strict: bool = False

    @property
    def summary(self) -> dict[str, int]:
        """How many results have each verdict; adds up to the number of requirements."""
        counts = dict.fromkeys(("pass", "fail", "skip", "xfail", "error"), 0)
        for result in self.results:
            counts[result.verdict] += 1
        return counts

    @property
    def exit_status(self) -> int:
        """0 conforms, 1 does not, 3 a defect of tiecheck itself."""
        if self.summary["error"]:
            return 3
        return 0 if self.conforms else 1

    @property
    def headline(self) -> str:
        """``conforms: 31 of 44 requirements apply, 31 passed``."""
        counts, total = self.summary, len(self.results)
        applied = total - counts["skip"]
        head = "conforms" if self.conforms else "does not conform"
        should = sum(r.verdict == "fail" and not r.fails(self.strict) for r in self.results)
        tail = f", {counts['fail'] - should} failed" if counts["fail"] > should else ""
        tail += f", {should} failed as SHOULD" if should else ""
        tail += f", {counts['xfail']} failed as expected" if counts["xfail"] else ""
        tail += f", {counts['error']} could not be judged (a defect of tiecheck)" if counts["error"] else ""
        return f"{head}: {applied} of {total} requirements apply, {counts['pass']} passed{tail}"

    def excused(self, cause: Diagnosis) -> str:
        """Why a cause does not fail the run (`EXPECTED` or `SHOULD`), or "" where it does."""
        shown = [r for r in self.results if r.id in cause.evidence and r.verdict in ("fail", "xfail")]
        if not shown or any(r.fails(self.strict) for r in shown):
            return ""
        return EXPECTED if all(r.verdict == "xfail" for r in shown) else SHOULD

    def script(self, cause: Diagnosis) -> str:
        """Lines of Python that show a cause without tiecheck, where a requirement gave some; else ""."""
        codes = (str((r.counterexample or {}).get("code") or "") for r in self.results if r.id in cause.evidence)
        return next(filter(None, codes), "")

    def plain(self) -> dict[str, Any]:
        """Every field in plain values, for another process; `from_dict` reads it."""
        values = dataclasses.asdict(self)
        for result in values["results"]:
            result["counterexample"] = _plain(result["counterexample"])
        return values

    def to_dict(self) -> dict[str, Any]:
        """The JSON of section 4: plain values, ``complete`` last."""
        return {
            "schema": SCHEMA,
            "tiecheck": self.tiecheck,
            "target": self.target,
            "declared": self.declared,
            "conforms": self.conforms,
            "environment": dict(self.environment),
            "profile": self.profile,
            "seed": self.seed,
            "summary": self.summary,
            "cost": {
                "seconds": round(self.cost.seconds, 6),
                "forward_passes": self.cost.forward_passes,
                "backward_passes": self.cost.backward_passes,
                "peak_bytes": self.cost.peak_bytes,
            },
            "diagnosis": [
                {
                    "cause": d.cause,
                    "explanation": d.explanation,
                    "fix": d.fix,
                    "fix_verified": d.fix_verified,
                    "evidence": list(d.evidence),
                }
                for d in self.diagnosis
            ],
            "results": [
                {
                    "id": r.id,
                    "level": r.level,
                    "verdict": r.verdict,
                    "message": r.message,
                    "counterexample": _plain(r.counterexample),
                    "seconds": round(r.seconds, 6),
                }
                for r in self.results
            ],
            "complete": True,
        }


@dataclass(frozen=True)
class Both:
    """Several reports: the two of ``declare="both"``, or a matrix. It conforms where all do.

    ``unjudged`` are targets with the reason; ``floor`` is the exit status that they ask for where every report conforms.
    """

    reports: tuple[Report, ...]
    unjudged: tuple[tuple[str, str], ...] = ()
    floor: int = 0

    @property
    def conforms(self) -> bool:
        """Whether every build that was judged conforms."""
        return all(report.conforms for report in self.reports)

    @property
    def exit_status(self) -> int:
        """The worst of the reports'."""
        return max((report.exit_status for report in self.reports), default=0) or self.floor

    def to_dict(self) -> dict[str, Any]:
        """The matrix of section 4."""
        return matrix(self.reports, self.unjudged)


def from_dict(values: Mapping[str, Any]) -> Report:
    """The report of which ``values`` are all the fields. Raises TypeError or KeyError for anything else."""
    return Report(
        **{
            **values,
            "results": tuple(Result(**result) for result in values["results"]),
            "diagnosis": tuple(
                Diagnosis(**{**cause, "evidence": tuple(cause["evidence"])}) for cause in values["diagnosis"]
            ),
            "cost": Cost(**values["cost"]),
            "notes": tuple(values["notes"]),
        }
    )


def reports(judged: Report | Both) -> tuple[Report, ...]:
    """The reports in what a run returned."""
    return judged.reports if isinstance(judged, Both) else (judged,)


def unjudged(judged: Report | Both) -> tuple[tuple[str, str], ...]:
    """Target and reason of what could not be judged."""
    return judged.unjudged if isinstance(judged, Both) else ()


def matrix(reports: Sequence[Report], unjudged: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """Several reports as one JSON matrix."""
    return {
        "schema": MATRIX_SCHEMA,
        "rows": [report.to_dict() for report in reports],
        "unjudged": [{"target": target, "reason": reason} for target, reason in unjudged],
        "complete": True,
    }


def _plain(value: Any) -> Any:
    """What JSON can hold: NumPy scalars and arrays as numbers and lists, what is not finite in words, no key without a value."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None} or None
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
