"""What users do to a model, as data: each operation is a function from subject to subject that feeds the same line.

A subject that can be copied, trained and operated on has ``copied()``, ``steps(...)`` and ``operations()``. Everything
happens to a model of the run's own, built afresh from its factory, or where there is none to a deepcopy; at most one
is alive beside the model that is judged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import gather
from .declaration import Declaration
from .evidence import After, Case, Probe, Step, Trained
from .premise import has, sentence

KINDS = ("sgd", "adamw")
STEPS = 3


class Broken(Exception):
    """What an operation returned or saved cannot be loaded again; the sentence says why."""


@dataclass(frozen=True)
class Operation:
    """One way to do one thing to a model.

    Attributes:
        word: of ``persistence.WORD`` and ``lost-on-WORD``.
        spelling: as a user writes it.
        perform: from a subject, and a function that builds a fresh untrained one, to the subject that comes back. Raises
            `Broken` where its own result cannot be read again; any other exception is a refusal.
        exact: it promises the same values, so that logits are owed as they were.
        halfway: what comes back is in between (a cast without the way back): it need not run, and in another precision only
            storage and count are asked of it.
        fresh: it needs a second model that was built afresh.
        weak: it can lose the tie, but its passing says nothing.
        large: it is performed on a large model, too.
        here: why it cannot be performed on this machine, or "".
    """

    word: str
    spelling: str
    perform: Callable[[Any, Callable[[], Any]], Any] = field(repr=False)
    exact: bool = True
    halfway: bool = False
    fresh: bool = False
    weak: bool = False
    large: bool = False
    here: Callable[[], str] = field(default=lambda: "", repr=False)


@dataclass
class Bench:
    """Where models of the run's own come from.

    Attributes:
        subject: of the model that is judged; it is not touched.
        build: the subject of a model that was built afresh, None where there is no factory.
        over: whether the time is up.
    """

    subject: Any
    build: Callable[[], Any] | None
    declared: Declaration
    probe: Probe
    large: bool
    over: Callable[[], bool] = lambda: False
    say: Callable[[str], None] = lambda text: None
    forward_passes: int = 0
    backward_passes: int = 0

    def fresh(self) -> Any:
        """A subject of the run's own. Raises what building or copying raises."""
        return self.build() if self.build is not None else self.subject.copied()

    def watched(self, subject: Any) -> Case:
        """All applicable evidence of a subject that stands on the bench."""
        with subject:
            return self.seen(subject)

    def seen(self, subject: Any) -> Case:
        """The same inside its block."""
        return gather.gather(
            subject, self.declared, self.probe, gather.AFTERWARDS_LARGE if self.large else gather.AFTERWARDS
        )

    def count(self, subject: Any) -> None:
        """Add its passes to the run's."""
        self.forward_passes += subject.forward_passes
        self.backward_passes += subject.backward_passes


def afterwards(bench: Bench, case: Case) -> Case:
    """The case with what became of the model in training and under every operation."""
    reason = _not_asked(bench, case)
    if reason:
        return _without(case, reason)
    copied = bench.build is None
    if copied:
        lost = _copied(bench, case)
        if lost is not None:
            return dataclasses.replace(
                _without(case, _LOST if not lost.refused else lost.refused), after=(lost,), copied=True
            )
    trained = () if bench.declared.frozen or not has(bench.subject, "steps") else _trained(bench)
    case = dataclasses.replace(case, trained=trained, copied=copied)
    after, left_out = [], []
    for operation in bench.subject.operations():
        if bench.over():
            break
        if bench.large and not operation.large:
            left_out.append(operation.word)
            continue
        bench.say(f"after {operation.spelling}")
        after.append(_performed(bench, operation))
    missing = dict(case.missing)
    done = {a.word for a in after}
    for word in left_out:
        if word not in done:
            missing[f"persistence.{word}"] = "left out: the model is large (fewer operations are performed on it)"
    return dataclasses.replace(case, after=tuple(after), missing=missing)


_LOST = "the copy that it would be performed on has lost the tie (persistence.deepcopy)"


def _not_asked(bench: Bench, case: Case) -> str:
    """Why nothing is done to the model, or ""."""
    from .requirement import requirements

    if not has(bench.subject, "operations"):
        return "this subject cannot be copied, trained or operated on"
    tie = ("subject", "storage", "lookup", "projection", "gradient")
    failing = [
        r.id for r in requirements() if r.chapter in tie and r.level == "MUST" and r.judge(case).verdict == "fail"
    ]
    return f"not asked: the tie does not hold before ({failing[0]})" if failing else ""


def _without(case: Case, reason: str) -> Case:
    return dataclasses.replace(case, missing={**case.missing, "afterwards": reason})


def _copied(bench: Bench, case: Case) -> After | None:
    """Where there is no factory: the deepcopy that everything else would happen to, if it is refused or has lost the tie."""
    from .chapters.persistence import newly_failing

    after = After("deepcopy", "copy.deepcopy(model)")
    try:
        subject = bench.subject.copied()
    except Exception as error:
        return dataclasses.replace(after, refused=f"the model cannot be copied: {sentence(error)}")
    try:
        seen = bench.watched(subject)
    except Exception as error:
        return dataclasses.replace(after, broken=f"the copy no longer runs: {sentence(error)}")
    finally:
        bench.count(subject)
    return dataclasses.replace(after, case=seen) if next(newly_failing([case], seen), None) else None


def _trained(bench: Bench) -> tuple[Trained, ...]:
    """A few steps of each optimizer, and what the model is then."""
    out = []
    for kind in KINDS:
        if bench.over():
            break
        bench.say(f"training a few steps of {kind}")
        step = Step(kind)
        try:
            subject = bench.fresh()
        except Exception as error:
            out.append(Trained(kind, dataclasses.replace(step, refused=sentence(error))))
            continue
        try:
            with subject:
                step = subject.steps(bench.probe, kind, STEPS if not bench.large else 1)
                out.append(Trained(kind, step, None if step.refused else bench.seen(subject)))
        except Exception as error:
            out.append(Trained(kind, step, None, f"after the steps the model no longer runs: {sentence(error)}"))
        finally:
            bench.count(subject)
            del subject
    return tuple(out)


def _performed(bench: Bench, operation: Operation) -> After:
    """One operation on a model that was trained a little, and the same line again for what comes back."""
    after = After(operation.word, operation.spelling, operation.exact, operation.weak, operation.halfway)
    reason = operation.here()
    if operation.fresh and bench.build is None:
        reason = "there is no factory to build a fresh model with"
    if reason:
        return dataclasses.replace(after, refused=reason)
    subject = result = None
    try:
        subject = bench.fresh()
        with subject:
            if not bench.declared.frozen and has(subject, "steps"):
                subject.steps(bench.probe, "sgd", 2 if not bench.large else 1)
            before = subject.logits(bench.probe.ids)
        result = operation.perform(subject, bench.build or bench.fresh)
    except Broken as error:
        return dataclasses.replace(after, broken=str(error))
    except Exception as error:
        return dataclasses.replace(after, refused=f"{operation.spelling} was refused: {sentence(error)}")
    finally:
        if subject is not None:
            bench.count(subject)
        del subject
    try:
        with result:
            logits = result.logits(bench.probe.ids)
            return dataclasses.replace(after, case=bench.seen(result), before=before, after=logits)
    except Exception as error:
        said = f"after {operation.spelling} the model no longer runs: {sentence(error)}"
        if operation.halfway:
            return dataclasses.replace(after, refused=said)
        return dataclasses.replace(after, broken=said)
    finally:
        bench.count(result)
