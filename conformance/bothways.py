"""What two builds of one target say together, with the tie flag on and off: whether the flag is heeded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from .report import Diagnosis, Report, Result

# What says of a model as it was built whether the two uses are one table; the second where no pass can be watched. A tie
# that training or an operation makes or loses is none of the flag's.
_IDENTITY = ("storage.one-memory", "storage.write-through")


def together(reports: Sequence[Report], flag: str, notes: Iterable[str] = ()) -> tuple[Report, ...]:
    """The reports on both builds, with what each means beside the other.

    Args:
        reports: those that there are, in any order; with one alone nothing can be compared.
        flag: what the tie flag is called.
        notes: sentences on the flag itself, for the notes of each.
    """
    more = tuple(notes)
    told = [dataclasses.replace(report, notes=(*report.notes, *more)) for report in reports]
    by_word = {report.declared: report for report in reports}
    if set(by_word) != {"tied", "untied"}:
        return tuple(told)
    said = _said(by_word["tied"], by_word["untied"], flag)
    return tuple(
        dataclasses.replace(report, diagnosis=tuple(_with(cause, said) for cause in report.diagnosis))
        for report in told
    )


def _said(tied: Report, untied: Report, flag: str) -> dict[str, tuple[str, str]]:
    """What to say of which cause, and what mends it where that is the flag's own matter; nothing where it is heeded."""
    forced, apart = _found(untied, "forced-tie"), _found(tied, "two-matrices")
    if forced and apart:
        turned = f"The flag {flag} is the wrong way round: True unties the model and False ties it."
        mend = f"Turn it: tie where {flag} is True, and only there"
        return {"forced-tie": (turned, mend), "two-matrices": (turned, mend)}
    if forced and _as_it_should(tied):
        same = f"built with {flag}=False the model is tied all the same"
        mend = f"Tie only where {flag} is True, and give the projection a parameter of its own else; or refuse {flag}=False"
        return {"forced-tie": (f"The flag {flag} is ignored: {same}.", mend)}
    if apart and _as_it_should(untied):
        same = f"built with {flag}=True the model has two matrices all the same"
        return {"two-matrices": (f"The flag {flag} is ignored: {same}.", "")}
    return {}


def _found(report: Report, cause: str) -> bool:
    """Whether that is what a model was found to be as it was built."""
    asked = _asked(report)
    return asked is not None and any(told.cause == cause and asked.id in told.evidence for told in report.diagnosis)


def _as_it_should(report: Report) -> bool:
    """Whether a model was found, as it was built, to be what it was built to be."""
    asked = _asked(report)
    return asked is not None and asked.verdict == "pass"


def _asked(report: Report) -> Result | None:
    """What says whether the two uses are one table; None where nobody asked."""
    verdicts = {result.id: result for result in report.results if result.verdict != "skip"}
    return next((verdicts[id] for id in _IDENTITY if id in verdicts), None)


def _with(told: Diagnosis, said: Mapping[str, tuple[str, str]]) -> Diagnosis:
    if told.cause not in said or not set(_IDENTITY) & set(told.evidence):
        return told
    more, mend = said[told.cause]
    explanation = f"{more} {told.explanation}"
    if not mend:  # the assignment that ties it stays, with what became of it
        return dataclasses.replace(told, explanation=explanation)
    return dataclasses.replace(told, explanation=explanation, fix=mend, fix_verified=None)
