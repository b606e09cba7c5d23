"""What one pytest item asks: one requirement of one target. Evidence is gathered once a target and process."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .errors import NoDevice, NotJudged, sentence

if TYPE_CHECKING:
    from .report import Both, Report, Result
    from .requirement import Requirement
    from .run import Options
    from .targets import Target


class Unmet(AssertionError):
    """A requirement that is not met; ``str()`` is the whole explanation, its first line the summary.

    ``excused`` is the reason why it does not fail the run, or "". ``defect`` says that tiecheck is at fault.
    """

    def __init__(self, explanation: str, excused: str = "", defect: bool = False) -> None:
        super().__init__(explanation)
        self.excused, self.defect = excused, defect


def _unasked(reason: str) -> BaseException:
    """A requirement that was not asked: pytest's own skip, which it does not draw as a traceback (that costs 0.1 s)."""
    import pytest

    return pytest.skip.Exception(reason, _use_item_location=True)


class Judging:
    """One target under one set of options, judged when the first of its items runs."""

    def __init__(self, target: Target, options: Options, label: str) -> None:
        self.target, self.options, self.label = target, options, label
        self.judged: Report | Both | NotJudged | Unmet | None = None
        self._speaker: Asked | None = None

    @functools.cached_property
    def place(self) -> str:
        """``cpu-float32``: where it will be judged, and in what. Built to find out, unless both are given."""
        device, dtype = self.options.device, self.options.dtype
        if device is None or dtype is None:
            from .foreign import interruptible
            from .run import within
            from .surroundings import kept
            from .targets import importable

            with kept(), interruptible(), importable(self.target.folder):
                found = within(self.options.timeout, lambda clock: _place(self.target, self.options))
            device, dtype = device or found[0], dtype or found[1]
        return f"{device}-{dtype}"

    def asked(self) -> list[tuple[str, Asked]]:
        """Every requirement once a declaration, with its id. Raises NotJudged for a target that cannot be built."""
        from .requirement import requirements
        from .run import builds

        both = self.options.declare == "both"
        words = [f"-{word}" if both else "" for word, _ in builds(self.target, self.options)]
        try:
            with _own_warnings():
                place = self.place
        except NoDevice as error:
            self.judged, place = error, "-".join(filter(None, (self.options.device, self.options.dtype)))
        return [
            (f"{item.id}[{place}{word}]", Asked(self, item, word.removeprefix("-")))
            for word in words
            for item in requirements()
        ]

    def report(self, asker: Asked) -> Report:
        """The report that answers ``asker``. Where there is none, one item says why and the others are not asked."""
        if self.judged is None:
            self.judged = self._judge()
        if isinstance(self.judged, NoDevice):
            raise _unasked(str(self.judged))
        if isinstance(self.judged, Unmet | NotJudged):
            self._speaker = self._speaker or asker
            if self._speaker is not asker:
                raise _unasked(f"not judged: {str(self.judged).partition(chr(10))[0]}")
            if isinstance(self.judged, Unmet):
                raise self.judged.with_traceback(None)
            raise Unmet(f"not judged: {named(self.label, str(self.judged))}")
        for report in self.reports():
            if asker.declared in ("", report.declared):
                self._speaker = self._speaker or asker
                fault = next((cause for cause in report.diagnosis if not cause.evidence), None)
                if fault is not None and self._speaker is asker:  # of the file of expected failures, so of no item
                    raise Unmet(named(self.label, fault.explanation))
                return report
        raise _unasked("; ".join(f"not judged: {why}" for _, why in getattr(self.judged, "unjudged", ())))

    def reports(self) -> tuple[Report, ...]:
        """What there is: none before the first item runs, two where both values of the flag were judged."""
        from .report import Both, Report

        if isinstance(self.judged, Both):
            return self.judged.reports
        return (self.judged,) if isinstance(self.judged, Report) else ()

    def _judge(self) -> Report | Both | NotJudged | Unmet:
        from .run import judge

        try:
            with _own_warnings():
                return judge(self.target, self.options)
        except NotJudged as error:
            return error
        except Exception as error:
            unmet = Unmet(
                f"this is a defect of tiecheck, not of the model: {sentence(error)}\n(--full-trace shows where)",
                defect=True,
            )
            unmet.__cause__ = error
            return unmet


class Asked:
    """One requirement, asked of one target: call it, and it raises where the requirement is not met.

    ``id``, ``level`` and ``statement`` are the specification's.
    """

    def __init__(self, judging: Judging, requirement: Requirement, declared: str) -> None:
        self.id, self.level, self.statement = requirement.id, requirement.level, requirement.statement
        self.judging, self.requirement, self.declared = judging, requirement, declared
        self.replay = ""
        self.called = False

    def __repr__(self) -> str:
        return f"<{self.id} of {self.judging.label}>"

    def gather(self) -> None:
        """Have the target judged, where that has not happened yet."""
        self.judging.report(self)

    def result(self) -> Result:
        """What the report says."""
        return next(result for result in self.judging.report(self).results if result.id == self.id)

    def notes(self) -> tuple[str, ...]:
        """The sentences that stand above the verdict in a report."""
        return tuple(note for report in self.judging.reports() for note in report.notes)

    def __call__(self) -> None:
        """Raise where the requirement is not met, or was not asked."""
        self.called = True
        report, result = self.judging.report(self), self.result()
        if result.verdict == "pass":
            return
        if result.verdict == "skip":
            raise _unasked(result.message)
        if result.verdict == "error":
            raise Unmet(result.message, defect=True)
        from .terminal import explained

        excused = ""
        if result.verdict == "xfail":
            excused = result.message
        elif result.level == "SHOULD" and not self.judging.options.strict:
            excused = f"SHOULD fails: {result.message}"
        raise Unmet(explained(report, result, self.requirement, replay=self.replay), excused)


def named(target: str, sentence: str) -> str:
    """A sentence that says which target it is about."""
    return sentence if target in sentence else f"{target}: {sentence}"


@contextlib.contextmanager
def _own_warnings() -> Iterator[None]:
    """A project's ``-W error`` is about its own code: it must not change what a model does while it is judged."""
    with warnings.catch_warnings():
        kept = [("default" if action == "error" else action, *rest) for action, *rest in warnings.filters]
        warnings.resetwarnings()
        warnings.filters.extend(kept)  # type: ignore[attr-defined]
        yield


def _place(target: Target, options: Options) -> tuple[str, str]:
    """Device and dtype, from the first build that succeeds; passes are made only where tensors differ in dtype."""
    from .foreign import foreign
    from .premise import settle
    from .run import builds, prepared

    refused: NotJudged | None = None
    for _, flag in builds(target, options):
        try:
            with foreign():
                _, declared, subject = prepared(target, options, flag)
            with foreign(), subject:
                dtypes = getattr(subject, "dtypes", None)
                if dtypes is not None and len(dtypes) == 1:
                    return subject.device, dtypes[0]
                if dtypes is not None:
                    settle(subject, declared, options.seed)
                return getattr(subject, "device", "cpu"), getattr(subject, "dtype", "float64")
        except NotJudged as error:
            refused = refused or error
        except Exception as error:
            refused = refused or NotJudged(f"the model cannot be looked at: {sentence(error)}")
    assert refused is not None
    raise refused
