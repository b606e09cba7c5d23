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
from .errors import sentence
from .evidence import After, Case, Lost, Pass, Probe, Step, Trained, Trajectory
from .foreign import foreign
from .premise import has
from .requirement import requirements

KINDS = ("sgd", "adamw")
STEPS = 3
# On a model that fails a MUST of these before anything is done to it, an operation shows nothing.
TIE = ("subject", "storage", "lookup", "projection", "gradient")


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
        halfway: what comes back is in between (a cast without the way back): it need not run, and in a precision that is not
            the model's only whose memory is read and what is counted is asked of it.
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
        failing: what failed before anything was done, and after training.
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
    failing: frozenset[str] = frozenset()

    def fresh(self) -> Any:
        """A subject of the run's own. Raises what building or copying raises."""
        with foreign():
            return self.build() if self.build is not None else self.subject.copied()

    def lost(self, case: Case, halfway: bool = False) -> tuple[Lost, ...]:
        """What no longer holds."""
        from .chapters.persistence import HALFWAY, newly_failing

        return newly_failing(case, self.failing, HALFWAY if halfway else None)

    def seen(self, subject: Any) -> Case:
        """All applicable evidence of a subject, inside its block."""
        return gather.gather(
            subject, self.declared, self.probe, gather.AFTERWARDS_LARGE if self.large else gather.AFTERWARDS
        )

    def count(self, subject: Any) -> None:
        """Add its passes to the run's."""
        self.forward_passes += subject.forward_passes
        self.backward_passes += subject.backward_passes


def afterwards(bench: Bench, case: Case) -> Case:
    """The case with what became of the model in training and under every operation."""
    if not has(bench.subject, "operations"):
        return _without(case, "this subject cannot be copied, trained or operated on")
    failing = [item for item in requirements() if item.judge(case).verdict == "fail"]
    tie = next((item.id for item in failing if item.chapter in TIE and item.level == "MUST"), None)
    if tie is not None:
        return _without(case, f"not asked: the tie does not hold before ({tie})")
    bench.failing = frozenset(item.id for item in failing)
    copied = bench.build is None
    if copied:
        lost = _copied(bench)
        if lost is not None:
            return dataclasses.replace(
                _without(case, _LOST if not lost.refused else lost.refused), after=(lost,), copied=True
            )
    trainable = not bench.declared.frozen and has(bench.subject, "steps")
    if bench.large:
        return _chained(bench, dataclasses.replace(case, copied=copied), trainable)
    trained = _trained(bench) if trainable else ()
    trajectory = _trajectory(bench) if trainable else None
    bench.failing |= {lost.id for one in trained for lost in one.lost}
    after = []
    case = _offered(bench, case)
    for operation in bench.subject.operations():
        if bench.over():
            break
        bench.say(f"after {operation.spelling}")
        after.append(_performed(bench, operation, trainable))
    return dataclasses.replace(case, trained=trained, trajectory=trajectory, after=tuple(after), copied=copied)


def _offered(bench: Bench, case: Case) -> Case:
    """The case with a reason for each operation that users of this backend do not perform."""
    words = {f"persistence.{op.word}" for op in bench.subject.operations()}
    others = [item.id for item in requirements() if item.chapter == "persistence" and item.id not in words]
    return dataclasses.replace(
        case, missing={**dict.fromkeys(others, "this backend offers no such operation"), **case.missing}
    )


_LOST = "the copy that it would be performed on has lost the tie (persistence.deepcopy)"


def _without(case: Case, reason: str) -> Case:
    return dataclasses.replace(case, missing={**case.missing, "afterwards": reason})


def _copied(bench: Bench) -> After | None:
    """Where there is no factory: the deepcopy that everything else would happen to, if it is refused or has lost the tie."""
    after = After("deepcopy", "copy.deepcopy(model)")
    try:
        with foreign():
            subject = bench.subject.copied()
    except Exception as error:
        return dataclasses.replace(after, refused=f"the model cannot be copied: {sentence(error)}")
    try:
        with foreign(), subject:
            lost = bench.lost(bench.seen(subject))
    except Exception as error:
        return dataclasses.replace(after, broken=f"the copy no longer runs: {sentence(error)}")
    finally:
        bench.count(subject)
    return dataclasses.replace(after, lost=lost) if lost else None


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
            out.append(Trained(dataclasses.replace(step, refused=sentence(error))))
            continue
        try:
            with foreign(), subject:
                step = subject.steps(bench.probe, kind, STEPS)
                out.append(Trained(step, () if step.refused else bench.lost(bench.seen(subject))))
        except Exception as error:
            out.append(Trained(step, (), f"after the steps the model no longer runs: {sentence(error)}"))
        finally:
            bench.count(subject)
            del subject
    return tuple(out)


def _trajectory(bench: Bench) -> Trajectory | None:
    """The model's training beside the reference's, where its weights map onto it."""
    if not has(bench.subject, "trajectory") or bench.over():
        return None
    try:
        subject = bench.fresh()
        with foreign(), subject:
            found: Trajectory | None = subject.trajectory(bench.probe, STEPS)
    except Exception:  # what does not run in float64, or does not map after all, has no trajectory to follow
        return None
    bench.count(subject)
    return found


def _chained(bench: Bench, case: Case, trainable: bool) -> Case:
    """On a large model: one copy, one step of each optimizer, then the cheap operations one after the other until the first
    that loses something; each is judged by a few passes."""
    try:
        subject = bench.fresh()
    except Exception as error:
        return _without(case, f"no second model can be had: {sentence(error)}")
    try:
        with foreign(), subject:
            trained = [_one_step(bench, subject, kind) for kind in (KINDS if trainable else ())]
            latest = bench.seen(subject).first
    except Exception as error:
        return _without(case, f"the second model does not run: {sentence(error)}")
    after: list[After] = []
    left = {f"persistence.{op.word}": _LARGE for op in bench.subject.operations() if not op.large}
    for operation in [op for op in bench.subject.operations() if op.large]:
        if bench.over() or any(one.lost or one.broken for one in after):
            left.setdefault(f"persistence.{operation.word}", "left out: an operation before it has lost the tie")
            continue
        bench.say(f"after {operation.spelling}")
        bench.count(subject)
        try:
            with foreign():
                subject = operation.perform(subject, bench.fresh)
        except Exception as error:
            after.append(_refused(operation, error))
            continue
        one, latest = _compared(bench, operation, subject, latest)
        after.append(one)
    bench.count(subject)
    return dataclasses.replace(case, trained=tuple(trained), after=tuple(after), missing={**case.missing, **left})


def _one_step(bench: Bench, subject: Any, kind: str) -> Trained:
    """A step of one optimizer on a model that goes on to live."""
    bench.say(f"a training step of {kind}")
    step = subject.steps(bench.probe, kind, 1)
    lost = () if step.refused else bench.lost(bench.seen(subject))
    bench.failing |= {one.id for one in lost}
    return Trained(step, lost)


def _compared(bench: Bench, operation: Operation, subject: Any, before: Pass) -> tuple[After, Pass]:
    """What an operation returned against the pass before it; and the pass that the next one is compared with."""
    after = _of(operation)
    try:
        with foreign(), subject:
            seen = bench.seen(subject)
    except Exception as error:
        return dataclasses.replace(after, broken=_no_longer(operation, error)), before
    now = seen.first
    lost = bench.lost(seen, operation.halfway)
    return dataclasses.replace(after, lost=lost, before=before.logits, after=now.logits, dtype=now.dtype), now


def _of(operation: Operation) -> After:
    return After(operation.word, operation.spelling, operation.exact, operation.weak, operation.halfway)


def _refused(operation: Operation, error: Exception) -> After:
    """An operation that was not performed: its own result cannot be read again, or Python, torch or the model refuses."""
    if isinstance(error, Broken):
        return dataclasses.replace(_of(operation), broken=str(error))
    return dataclasses.replace(_of(operation), refused=f"{operation.spelling} was refused: {sentence(error)}")


def _no_longer(operation: Operation, error: Exception) -> str:
    return f"after {operation.spelling} the model no longer runs: {sentence(error)}"


_LARGE = "left out: the model is large (fewer operations are performed on it)"


def _performed(bench: Bench, operation: Operation, trainable: bool) -> After:
    """One operation on a model that was trained a little, and the same line again for what comes back."""
    reason = operation.here()
    if operation.fresh and bench.build is None:
        reason = "there is no factory to build a fresh model with"
    if reason:
        return dataclasses.replace(_of(operation), refused=reason)
    subject = None
    try:
        subject = bench.fresh()
        with foreign(), subject:
            if trainable:
                subject.steps(bench.probe, "sgd", 2)
            before = subject.logits(bench.probe.ids)
        with foreign():
            result = operation.perform(subject, bench.build or bench.fresh)
    except Exception as error:
        return _refused(operation, error)
    finally:
        if subject is not None:
            bench.count(subject)
        del subject
    after = dataclasses.replace(_of(operation), before=before)
    try:
        with foreign(), result:
            logits = result.logits(bench.probe.ids)
            seen = bench.seen(result)
            after = dataclasses.replace(after, after=logits, dtype=result.dtype)
    except Exception as error:
        said = _no_longer(operation, error)
        return dataclasses.replace(after, **({"refused": said} if operation.halfway else {"broken": said}))  # type: ignore[arg-type]
    finally:
        bench.count(result)
    return dataclasses.replace(after, lost=bench.lost(seen, operation.halfway))
