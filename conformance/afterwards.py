"""What becomes of a model: it is trained a little, and each operation is performed on one that was.

A subject that can be copied, trained and operated on has ``copied()``, ``steps(...)`` and ``operations()``. Everything
happens to a model of the run's own, built afresh from its factory, or where there is none to a deepcopy; at most one
is alive beside the model that is judged.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import gather, tolerances
from .declaration import Declaration
from .diagnosis import is_path
from .errors import sentence
from .evidence import After, Case, Lost, Pass, Probe, Step, Trained, Trajectory
from .foreign import foreign
from .operations import Broken, Inapplicable, Operation, offered
from .premise import has
from .requirement import Requirement, level_of, requirements

KINDS = ("sgd", "adamw")
STEPS = 3
# On a model that fails a MUST of these before anything is done to it, an operation shows nothing.
TIE = ("subject", "storage", "lookup", "projection", "gradient")


@dataclass
class Bench:
    """Where models of the run's own come from.

    Attributes:
        subject: of the model that is judged; it is not touched.
        build: the subject of a model that was built afresh, None where there is no factory.
        over: whether the time is up.
        failing: what failed before anything was done, and after training.
        building: lines of Python that define ``build()``, for a script that shows a loss.
        full: whether the profile is full.
        chosen: the ids that are asked; an operation whose requirement is not among them is not performed.
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
    building: str = ""
    full: bool = False
    chosen: frozenset[str] | None = None

    def fresh(self) -> Any:
        """A subject of the run's own. Raises what building or copying raises."""
        with foreign():
            return self.build() if self.build is not None else self.subject.copied()

    def lost(self, case: Case, halfway: bool = False) -> tuple[Lost, ...]:
        """What no longer holds."""
        from .chapters.persistence import HALFWAY, newly_failing

        return newly_failing(case, self.failing, HALFWAY if halfway else None)

    def seen(self, subject: Any, work: gather.Effort | None = None, operation: Operation | None = None) -> Case:
        """The evidence of a subject that an operation is judged by, inside its block."""
        declared = self.declared
        if operation is not None and (operation.resizes or operation.recounts):
            vocabulary = None if operation.resizes else declared.vocabulary
            declared = dataclasses.replace(declared, parameter_count=None, vocabulary=vocabulary)
        work = gather.AFTERWARDS_LARGE if self.large else work or gather.AFTERWARDS
        with warnings.catch_warnings():  # what an operation left behind may warn at every pass (a quantized layer does)
            warnings.simplefilter("ignore")
            return gather.gather(subject, declared, self.probe, work)

    def operations(self) -> tuple[Operation, ...]:
        """Those that are asked."""
        asked = (op for op in offered(self.subject) if self.asks(f"persistence.{op.word}"))
        return tuple(op for op in asked if self.full or not op.heavy)

    def asks(self, id: str) -> bool:
        """Whether a requirement is among those that are asked."""
        return self.chosen is None or id in self.chosen

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
    trained = _trained(bench) if trainable and any(bench.asks(item.id) for item in _training()) else ()
    trajectory = _trajectory(bench) if trainable and bench.asks("training.trajectory") else None
    bench.failing |= {lost.id for one in trained for lost in one.lost}
    # What training alone loses is training's: operations are then asked of a model that has not been trained.
    trainable = trainable and not _lost_in_training(bench, trained)
    after = []
    case = _offered(bench, case)
    for operation in bench.operations():
        if bench.over():
            break
        bench.say(f"after {operation.spelling}")
        after.append(_performed(bench, operation, trainable))
    return dataclasses.replace(case, trained=trained, trajectory=trajectory, after=tuple(after), copied=copied)


def _training() -> list[Requirement]:
    return [item for item in requirements() if item.chapter == "training"]


def _offered(bench: Bench, case: Case) -> Case:
    """The case with a reason for each operation that users of this backend do not perform."""
    words = {f"persistence.{op.word}" for op in offered(bench.subject)}
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


def _trained(bench: Bench, kinds: tuple[str, ...] = KINDS) -> tuple[Trained, ...]:
    """A few steps of each optimizer, and what the model is then."""
    out = []
    for kind in kinds:
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


def _lost_in_training(bench: Bench, trained: tuple[Trained, ...]) -> bool:
    """Whether a few steps of what models are trained with before an operation lose the tie; tried where no chapter asked."""
    if not trained and not bench.operations():
        return False
    return any(one.lost or one.broken for one in trained or _trained(bench, KINDS[:1]) if one.step.kind == KINDS[0])


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
    left = {f"persistence.{op.word}": _LARGE for op in bench.operations() if not op.large}
    for operation in [op for op in bench.operations() if op.large]:
        if bench.over() or any(one.lost or one.broken for one in after):
            left.setdefault(f"persistence.{operation.word}", "left out: an operation before it has lost the tie")
            continue
        bench.say(f"after {operation.spelling}")
        done = compared(bench, operation, subject, latest, gather.AFTERWARDS_LARGE)
        subject, latest = done.subject, done.seen or latest
        after.append(done.after)
    bench.count(subject)
    return dataclasses.replace(case, trained=tuple(trained), after=tuple(after), missing={**case.missing, **left})


def _one_step(bench: Bench, subject: Any, kind: str) -> Trained:
    """A step of one optimizer on a model that goes on to live."""
    bench.say(f"a training step of {kind}")
    step = subject.steps(bench.probe, kind, 1)
    lost = () if step.refused else bench.lost(bench.seen(subject))
    bench.failing |= {one.id for one in lost}
    return Trained(step, lost)


@dataclass(frozen=True)
class Compared:
    """What an operation did to a model that goes on to live.

    Attributes:
        after: what it lost, or why it was refused.
        subject: of the model that goes on: what came back, or where it was refused the one before.
        seen: the pass that the next operation is compared with; None where nothing was looked at.
        ends: the names of what the lookup and the projection read, "" where that has none.
    """

    after: After
    subject: Any
    seen: Pass | None = None
    ends: tuple[str, str] = ("", "")


def compared(
    bench: Bench, operation: Operation, subject: Any, before: Pass | None, work: gather.Effort | None
) -> Compared:
    """Perform an operation and look at what comes back, beside the pass before it; without ``work`` do not look."""
    try:
        with foreign():
            result = operation.perform(subject, bench.build or bench.fresh)
    except Exception as error:
        return Compared(_refused(operation, error), subject)
    if result is not subject:
        bench.count(subject)
    after = _of(operation)
    if work is None:
        return Compared(after, result)
    try:
        with foreign(), result:
            seen = bench.seen(result, work)
    except Exception as error:
        return Compared(dataclasses.replace(after, broken=_no_longer(operation, error)), result)
    now = seen.first
    after = dataclasses.replace(after, lost=bench.lost(seen, operation.halfway), dtype=now.dtype)
    if before is not None:
        after = dataclasses.replace(after, before=before.logits, after=now.logits)
    return Compared(after, result, now, _ends(now))


def _ends(seen: Pass) -> tuple[str, str]:
    """The names of the memory that both uses read in a pass."""
    if seen.sides is None:
        return "", ""
    regions = [use.region if use is not None else None for use in (seen.sides.table, seen.sides.head)]
    one, other = (r.owner if r is not None and is_path(r.owner) else "" for r in regions)
    return one, other


def _of(operation: Operation) -> After:
    return After(operation.word, operation.spelling, operation.exact, operation.weak, operation.halfway)


def _refused(operation: Operation, error: Exception) -> After:
    """An operation that was not performed: its own result cannot be read again, or Python, torch or the model refuses."""
    if isinstance(error, Broken):
        return dataclasses.replace(_of(operation), broken=str(error))
    if isinstance(error, Inapplicable):
        return dataclasses.replace(_of(operation), refused=str(error))
    return dataclasses.replace(_of(operation), refused=f"{operation.spelling} was refused: {sentence(error)}")


def _no_longer(operation: Operation, error: Exception) -> str:
    return f"after {operation.spelling} the model no longer runs: {sentence(error)}"


_LARGE = "left out: the model is large (fewer operations are performed on it)"


def _effort(operation: Operation) -> gather.Effort:
    """A SHOULD is asked by fewer passes: there are many, and most models keep their tie or plainly lose it."""
    should = level_of(f"persistence.{operation.word}") == "SHOULD"
    work = gather.AFTERWARDS_BRIEF if should else gather.AFTERWARDS
    return dataclasses.replace(work, directions=1, noisy=True) if operation.gradients else work


def _performed(bench: Bench, operation: Operation, trainable: bool) -> After:
    """One operation on a model that was trained a little, and the same line again for what comes back."""
    reason = operation.here(bench.subject)
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
            seen = bench.seen(result, _effort(operation), operation)
            after = dataclasses.replace(
                after, after=logits, dtype=result.dtype, lost=bench.lost(seen, operation.halfway)
            )
            if operation.gradients and _cuts_all(result, seen, after.lost):
                return dataclasses.replace(
                    after, lost=(), refused=f"inconclusive: after {operation.spelling} {_BODY_TOO}"
                )
    except Exception as error:
        said = _no_longer(operation, error)
        return dataclasses.replace(after, **({"refused": said} if operation.halfway else {"broken": said}))  # type: ignore[arg-type]
    finally:
        bench.count(result)
    return after


_BODY_TOO = "the network's own parameters have another gradient than differences measure, too"


def _cuts_all(subject: Any, seen: Case, lost: tuple[Lost, ...]) -> bool:
    """Whether what is lost is a gradient, and the network's own parameters lose theirs as well: that is not the tie's fault
    (a debugging compiler may draw other dropout masks where a checkpoint computes again)."""
    at = next((p for p in reversed(seen.passes) if p.gradient is not None), None)
    if at is None or not has(subject, "control") or not any(one.id.startswith("gradient.") for one in lost):
        return False
    found = subject.control(at.probe, at.cotangent)
    return found is not None and not tolerances.body_is_sound(*found)
