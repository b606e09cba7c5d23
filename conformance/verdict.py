"""One model under one declaration: from its passes over evidence and findings to the report."""

from __future__ import annotations

import dataclasses
import functools
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

from . import __version__, gather, targets
from .afterwards import Bench, afterwards
from .diagnosis import Mend, diagnose, mend_of, tied_again
from .errors import Declined, NotJudged, Raised, sentence
from .evidence import Case
from .foreign import foreign
from .premise import has, settle
from .report import Cost, Report, Result
from .requirement import Finding, judged, level_of, matching, requirements
from .search import Findings, search

if TYPE_CHECKING:
    from .declaration import Declaration
    from .protocol import Built
    from .run import Options

# Chapters that are judged by what became of the model.
LATER = ("training", "persistence")
SEQUENCE = "persistence.sequence"


class Verdict:
    """The way of one model to its report; once it is ``settled``, `report` says what is known when the time is up.

    Args:
        target, options, flag: what is judged, how, and how it is built.
        built, declared, subject: what the target and the options made of it.
        over: whether the time is up.
        say: told what is being done.
    """

    def __init__(
        self,
        target: targets.Target,
        options: Options,
        flag: bool | None,
        made: tuple[Built, Declaration, Any],
        over: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        self.target, self.options, self.flag, self.over, self.say = target, options, flag, over, say
        self.built, self.declared, self.subject = made
        self.started = time.perf_counter()
        self.chosen = options.chosen()
        self.later = [item for item in requirements() if item.chapter in LATER and item.id in self.chosen]
        self.findings: Findings = {}
        self.notes = [*self.built.notes, *self.subject.notes]
        self.surroundings: Mapping[str, Any] = {}
        self.mend: Mend | None = None
        self.mended: bool | None = None
        self.settled = False
        self.case: Case
        self.bench: Bench
        self.work: gather.Effort

    def judge(self) -> Report:
        """All that the profile asks."""
        try:
            with foreign(), self.subject:
                self._observe()
        except NotJudged:
            raise
        except Exception as error:
            if _ours(error):
                raise
            how = "ran, and then refused to run" if self.settled else "cannot be looked at, or refuses to run"
            raise NotJudged(f"the model {how} while it was judged: {sentence(error)}") from error
        if self.later and self.options.profile != "quick":
            self.bench.build = self._build
            self.case = afterwards(self.bench, self.case)
            if self.bench.large and self.case.after:
                done = ", ".join(dict.fromkeys(after.word for after in self.case.after))
                self.notes.append(f"the model is large: of the operations {done} were performed, one after the other")
            if self.options.profile == "full" and SEQUENCE in self.chosen:
                self.case = self._in_a_row(self.case)
        self.findings |= {item.id: judged(item, self.case) for item in self.later}
        self._try_mend()
        return self.report("timed out" if self.over() else "")

    def _in_a_row(self, case: Case) -> Case:
        """The case with what sequences of operations lose."""
        from .sequences import tried

        reason = "the model is large: no sequences were tried" if self.bench.large else case.missing.get("afterwards")
        if reason:
            return dataclasses.replace(case, missing={**case.missing, "sequences": reason})
        self.bench.building = targets.building(self.target, self.built, self.flag)
        return dataclasses.replace(case, sequences=tried(self.bench, case, self.options.seed))

    def leave(self) -> None:
        """Put the model back from outside, where the thread that judges it does not return from it."""
        self.subject.__exit__(None, None, None)

    def _observe(self) -> None:
        """The passes of the model itself, and what they show."""
        self.say("finding out what may be asked")
        known, main, more = settle(self.subject, self.declared, self.options.seed)
        self.notes += more
        size = self.subject.table().size
        self.work = gather.effort(self.options.profile, size)
        large = size > gather.LARGE_TABLE
        full = self.options.profile == "full"
        self.bench = Bench(
            self.subject, None, self.declared, main, large, self.over, self.say, full=full, chosen=self._performed()
        )
        self.surroundings = environment(self.subject)
        self.settled = True
        self.say("watching passes")
        self.case = gather.gather(self.subject, self.declared, main, self.work)
        if self.built.untrained and self.options.profile != "quick" and has(self.subject, "initial"):
            self.case = dataclasses.replace(self.case, initial=self.subject.initial(main.ids))
        self.say("judging")
        self.findings = self._first(self.case)
        if self.work == gather.LARGE:
            self.notes.append("the table is large: one example was judged in each mode, further ones were not drawn")
        if self.work == gather.FULL and not any(_fails(id, finding) for id, (finding, _) in self.findings.items()):
            self.say("drawing further examples")
            o = self.options
            self.findings |= search(self.subject, self.declared, known, o.seed, self.chosen, self.over, o.profile)

    def _performed(self) -> frozenset[str]:
        """What is done to the model: what is chosen, and where sequences are, each operation that may stand in one."""
        if self.options.profile != "full" or SEQUENCE not in self.chosen:
            return self.chosen
        unwanted = matching(self.options.deselect) if self.options.deselect else frozenset()
        return self.chosen | frozenset(r.id for r in requirements() if r.chapter == "persistence") - unwanted

    @functools.cached_property
    def _build(self) -> Callable[[], Any] | None:
        return _builder(self.target, self.options, self.flag, self.subject, self.bench.large)

    def _first(self, case: Case) -> Findings:
        """The findings on what one model shows, before anything is done to it."""
        later = {item.id for item in self.later}
        wanted = [item for item in requirements() if item.id in self.chosen and item.id not in later]
        return {item.id: judged(item, case) for item in wanted}

    def _try_mend(self) -> None:
        """Where the mend of a cause is an assignment: whether a second instance then conforms."""
        failing = {f.cause for f, _ in self.findings.values() if f.verdict == "fail"}
        self.mend = mend_of(self.case) if failing else None
        if self.mend is None or not failing & self.mend.causes or self.options.profile == "quick":
            return
        if not has(self.subject, "assign") or self.over():
            return
        self.say("trying the mend on a second instance")
        self.bench.build = self._build
        original = self.bench.fresh
        mend = self.mend

        def fresh() -> Any:
            subject = original()
            subject.assign(mend.to, mend.of)
            return subject

        try:
            self.mended = self._conforms(fresh)
        except Exception:  # what cannot be assigned mends nothing
            self.mended = False

    def _conforms(self, fresh: Callable[[], Any]) -> bool:
        """Whether a model like this one conforms by the same line."""
        second = fresh()
        bench = dataclasses.replace(self.bench, subject=second, build=fresh, forward_passes=0, backward_passes=0)
        with foreign(), second:
            case = gather.gather(second, self.declared, self.bench.probe, self.work)
        findings = self._first(case)
        if self.later and not self.bench.large:
            case = afterwards(bench, case)
            findings |= {item.id: judged(item, case) for item in self.later}
        bench.count(second)
        self.bench.forward_passes += bench.forward_passes
        self.bench.backward_passes += bench.backward_passes
        return not any(result.fails(self.options.strict) for result in self._results(findings))

    def report(self, unfinished: str = "") -> Report:
        """What is known so far; what has no finding is skipped for the reason in ``unfinished``."""
        results, strict = self._results(self.findings, unfinished), self.options.strict
        if not any(r.verdict in ("pass", "fail", "error") for r in results):
            if unfinished:
                raise NotJudged("nothing was judged within the timeout")
            raise Declined("nothing that was selected applies to this model: nothing was judged")
        word: Literal["tied", "untied"] = "tied" if self.declared.tied else "untied"
        findings = {i: f for i, (f, _) in self.findings.items()}
        idiom = str(getattr(self.subject, "idiom", ""))
        levels = {r.id: r.level for r in results}
        causes = diagnose(findings, levels, self.mend, self.mended, idiom, tied_again(self.case))
        return Report(
            tiecheck=__version__,
            target=self.target.name,
            declared=word,
            conforms=not any(result.fails(strict) for result in results),
            environment=self.surroundings,
            profile=self.options.profile,
            seed=self.options.seed,
            results=results,
            diagnosis=causes,
            cost=self._cost(),
            notes=tuple(dict.fromkeys(self.notes)),
            replay=_replay(self.target.name, self.options),
            strict=strict,
        )

    def _results(self, findings: Findings, unfinished: str = "") -> tuple[Result, ...]:
        """Every requirement once."""
        out = []
        for item in requirements():
            if item.id not in self.chosen:
                out.append(Result(item.id, item.level, "skip", "not selected"))
            elif item.id not in findings:
                out.append(Result(item.id, item.level, "skip", unfinished or "not asked"))
            else:
                f, seconds = findings[item.id]
                out.append(Result(item.id, f.level or item.level, f.verdict, f.message, f.counterexample, seconds))
        return tuple(out)

    def _cost(self) -> Cost:
        return Cost(
            time.perf_counter() - self.started,
            self.subject.forward_passes + self.bench.forward_passes,
            self.subject.backward_passes + self.bench.backward_passes,
            _peak(),
        )


def _fails(id: str, finding: Finding) -> bool:
    """Whether a finding decides the verdict: a SHOULD that fails is no reason to look no further."""
    return finding.verdict == "fail" and (finding.level or level_of(id)) == "MUST"


def _ours(error: BaseException) -> bool:
    """Whether an exception was raised by a line of ours, and not by the model's or by what the model called."""
    if isinstance(error, Raised):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is None or str(trace.tb_frame.f_globals.get("__name__", "")).startswith("tiecheck.")


def _builder(
    target: targets.Target, options: Options, flag: bool | None, subject: Any, large: bool
) -> Callable[[], Any] | None:
    """Builds the subject of another model like the one that is judged; None where the factory has only the one."""
    if target.given or not has(subject, "again"):
        return None

    def build() -> Any:
        made = subject.again(target.build(flag, options.seed).model)
        if subject.shares(made):
            raise NotJudged("the factory gives models that share memory")
        return made

    try:
        if not large:
            with foreign():
                build()
    except Exception:
        return None
    return build


def _replay(name: str, options: Options) -> str:
    words = ["tiecheck", "run", name, "--seed", str(options.seed)]
    if options.declare:
        words += ["--declare", options.declare]
    for key, value in options.assume.items():
        words += ["--assume", f"{key}={value}"]
    for flag, text in (("--device", options.device), ("--dtype", options.dtype)):
        words += [flag, text] if text else []
    if options.profile != "standard":
        words += ["--profile", options.profile]
    words += ["--strict"] if options.strict else []
    if options.expected_failures is not None:
        words += ["--expected-failures", os.fspath(options.expected_failures)]
    for flag, chosen in (("--select", options.select), ("--deselect", options.deselect)):
        for word in chosen:
            words += [flag, word]
    return shlex.join(words)


def environment(subject: Any) -> dict[str, Any]:
    """Python, platform, device, dtype and the versions of what took part."""
    packages = {}
    for package in dict.fromkeys(("numpy", "hypothesis", *getattr(subject, "packages", ()))):
        try:
            packages[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": getattr(subject, "device", "cpu"),
        "dtype": getattr(subject, "dtype", "float64"),
        "packages": packages,
    }


def _peak() -> int:
    """The most memory that this process has had, in bytes; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(size if sys.platform == "darwin" else size * 1024)
