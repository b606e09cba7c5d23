"""One run: target and declaration make a subject, probes give evidence, requirements findings, findings a report."""

from __future__ import annotations

import dataclasses
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from . import expectations, targets
from .bothways import together
from .declaration import Declaration, merged
from .errors import Declined, NoDevice, NotJudged, Raised, clean, sentence
from .factories import KEYWORD
from .foreign import Stopped, foreign, interruptible, stop, worker
from .protocol import Built
from .report import Both, Report
from .requirement import matching, requirements
from .surroundings import kept
from .verdict import Verdict

Progress = Callable[[str], None]
T = TypeVar("T")
PROFILES = ("quick", "standard", "full")
DECLARED = ("tied", "untied", "both")
DTYPES = ("float64", "float32", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True)
class Options:
    """What steers a run; the command line and `check` fill the same."""

    declare: str | None = None
    declaration: Declaration | None = None
    assume: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    device: str | None = None
    dtype: str | None = None
    profile: str = "standard"
    strict: bool = False
    select: tuple[str, ...] = ()
    deselect: tuple[str, ...] = ()
    seed: int = 0
    timeout: float | None = None
    optimizer: Any = None
    expected_failures: str | os.PathLike[str] | None = None

    def validated(self) -> Options:
        """These options, with the file of expected failures read; or NotJudged with one sentence."""
        if not _among(self.profile, PROFILES):
            raise NotJudged(f"{shown(self.profile)} is no profile; there are {', '.join(PROFILES)}")
        if self.declare is not None and not _among(self.declare, DECLARED):
            raise NotJudged(f"{shown(self.declare)} cannot be declared; say tied, untied or both")
        number = isinstance(self.timeout, int | float) and not isinstance(self.timeout, bool)
        if self.timeout is not None and not (number and 0 < self.timeout < math.inf):
            raise NotJudged(f"the timeout is a number of seconds above zero, not {shown(self.timeout)}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise NotJudged(f"the seed is a whole number from 0 and below 2**32, not {shown(self.seed)}")
        if self.dtype is not None and not _among(self.dtype, DTYPES):
            raise NotJudged(f"{shown(self.dtype)} is no dtype to judge in; there are {', '.join(DTYPES)}, as text")
        if self.device is not None and not isinstance(self.device, str):
            raise NotJudged(f"the device is a text such as cpu or cuda:0, not {shown(self.device)}")
        for word in (*self.select, *self.deselect):
            if not isinstance(word, str):
                raise NotJudged(f"what is selected is an id or a chapter, as text, not {shown(word)}")
        self.chosen()
        return dataclasses.replace(self, expected_failures=expectations.load(self.expected_failures))

    def chosen(self) -> frozenset[str]:
        """The ids that are selected; NotJudged where the selection matches nothing."""
        try:
            wanted = matching(self.select) if self.select else frozenset(r.id for r in requirements())
            unwanted = matching(self.deselect) if self.deselect else frozenset()
        except ValueError as error:
            raise NotJudged(str(error)) from None
        if not wanted - unwanted:
            raise NotJudged("the selection leaves no requirement")
        return wanted - unwanted


def check(
    model: Any,
    declare: str | Declaration | None = None,
    *,
    profile: str = "standard",
    device: str | None = None,
    dtype: str | None = None,
    seed: int = 0,
    strict: bool = False,
    select: str | tuple[str, ...] | list[str] = (),
    deselect: str | tuple[str, ...] | list[str] = (),
    optimizer: Any = None,
    assume: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    expected_failures: str | os.PathLike[str] | None = None,
) -> Any:
    """Judge a model, a factory, or a target in the words of the command line; the same run as ``tiecheck run``.

    Args:
        model: a ``torch.nn.Module`` called with ids (B, T) that returns logits (B, T, V); a factory without required
            arguments (but perhaps ``tied``, which it is then built with) that returns one, or
            ``(model, Declaration(...))``; or a target such as ``"hf:gpt2"``.
        declare: ``"tied"``, ``"untied"``, ``"both"``, or a `Declaration`, which replaces all others.
        profile: ``"quick"``, ``"standard"`` or ``"full"``.
        device, dtype: judge it after a move there; the model handed in comes back as it was.
        seed: governs everything that is drawn.
        strict: a SHOULD that fails fails the run.
        select, deselect: requirement ids or chapters.
        optimizer: an optimizer whose groups must list the table exactly once.
        assume: fields of `Declaration` that beat everything else.
        timeout: seconds; what is unfinished then is skipped.
        expected_failures: a TOML file that names what is known to fail, and why.

    Returns:
        A `Report`; for ``declare="both"`` an object with ``.reports`` and ``.conforms`` of both.

    Raises:
        NotJudged: the command line would exit with status 2; one sentence says why.
    """
    options = options_of(
        declare,
        profile=profile,
        device=device,
        dtype=dtype,
        seed=seed,
        strict=strict,
        select=select,
        deselect=deselect,
        optimizer=optimizer,
        assume=assume,
        timeout=timeout,
        expected_failures=expected_failures,
    )
    return _run(model, options)


def options_of(
    declare: str | Declaration | None,
    *,
    select: str | Iterable[str] = (),
    deselect: str | Iterable[str] = (),
    assume: Mapping[str, Any] | None = None,
    **rest: Any,
) -> Options:
    """The arguments of `check` as options. Raises NotJudged with one sentence, TypeError for an unknown name."""
    if declare is not None and not isinstance(declare, str | Declaration):
        raise NotJudged('declare is "tied", "untied", "both" or a Declaration')
    if assume is not None and not isinstance(assume, Mapping):
        raise NotJudged(f"assume holds fields of Declaration by name, not {shown(assume)}")
    return Options(
        declare=declare if isinstance(declare, str) else None,
        declaration=declare if isinstance(declare, Declaration) else None,
        assume=dict(assume or {}),
        select=_words(select),
        deselect=_words(deselect),
        **rest,
    ).validated()


def _words(chosen: Any) -> tuple[str, ...]:
    if isinstance(chosen, str) or not isinstance(chosen, Iterable):
        return (chosen,)
    return tuple(chosen)


def _among(value: Any, known: tuple[str, ...]) -> bool:
    return isinstance(value, str) and value in known


def shown(value: Any) -> str:
    """A value that somebody handed in, short and on one line."""
    try:
        return clean(repr(value)[:80])
    except Exception:
        return f"a {targets.kind(value)}"


def understood(model: Any) -> targets.Target:
    """A model, a factory, or a target in the words of the command line. Raises NotJudged."""
    return targets.resolve(model) if isinstance(model, str) else targets.given(model)


def run_target(target: str, *, progress: Progress | None = None, **options: Any) -> Report | Both:
    """The run of the command line. Raises NotJudged where it exits with status 2."""
    checked = Options(**options).validated()
    return _run(target, checked, progress)


def _run(model: Any, options: Options, progress: Progress | None = None) -> Report | Both:
    """Understand a target, which may run its file, and judge it, in the time that is given for both."""
    with kept(), interruptible():
        began = time.monotonic()
        target = within(options.timeout, lambda clock: understood(model))
        if options.timeout is not None:
            left = max(options.timeout - (time.monotonic() - began), options.timeout / 100)
            options = dataclasses.replace(options, timeout=left)
        return judge(target, options, progress)


def judge(target: targets.Target, options: Options, progress: Progress | None = None) -> Report | Both:
    """Judge a target that was understood, under options that were validated. Raises NotJudged."""
    with kept(), interruptible(), targets.importable(target.folder):
        judged = _as_declared(target, options, progress)
    return expectations.applied(judged, expectations.load(options.expected_failures))


def _as_declared(target: targets.Target, options: Options, progress: Progress | None) -> Report | Both:
    if options.declare != "both":
        return _one(target, options, _flag(options), progress)
    reports, unjudged = [], []
    for word, flag in builds(target, options):
        try:
            reports.append(_one(target, dataclasses.replace(options, declare=word), flag, progress))
        except Declined as error:
            unjudged.append((f"{target.name} ({word})", str(error)))
        except NoDevice:
            raise
        except NotJudged as error:
            raise NotJudged(f"declared {word}: {error}") from error
    if not reports:
        raise NotJudged(unjudged[0][1])
    told = together(reports, target.flag_name, _about_flag(target, options, progress))
    return Both(told, tuple(unjudged))


def _about_flag(target: targets.Target, options: Options, progress: Progress | None) -> tuple[str, ...]:
    """What its adapter says of the flag; nothing where it cannot in the time that there is: no verdict hangs on it."""
    ask = getattr(target.adapter, "about_flag", None)
    if ask is None:
        return ()
    if progress is not None:
        progress("finding out where the tie flag counts")
    try:
        with foreign():
            return within(options.timeout, lambda clock: tuple(map(str, ask(target.source, options.seed))))
    except Exception as error:
        return (f"where the flag {target.flag_name} counts could not be found out: {sentence(error)}",)


def _flag(options: Options) -> bool | None:
    """Whether the model is to be built tied; None leaves it to its config."""
    flag = {"tied": True, "untied": False}.get(options.declare or "")
    if flag is None and options.declaration is not None:
        flag = options.declaration.tied
    assumed: bool | None = options.assume.get("tied", flag)
    return assumed


def builds(target: targets.Target, options: Options) -> tuple[tuple[str | None, bool | None], ...]:
    """What is declared of each build, and whether it is built tied: two builds under ``declare="both"``."""
    if options.declare != "both":
        return ((options.declare, _flag(options)),)
    if not target.flag:
        raise NotJudged(
            f"{target.name} has no tie flag to turn, so it cannot be declared both; say tied or untied{_how(target)}"
        )
    return (("tied", True), ("untied", False))


def _how(target: targets.Target) -> str:
    """How the flag of a factory is named, where the target is one."""
    if target.adapter is not None or not targets.is_factory(target.source):
        return ""
    return f", or name the keyword that ties it: a factory's own `{KEYWORD}`, or FACTORY@KEYWORD"


def _declaration(built: Built, options: Options) -> Declaration:
    if options.declaration is not None:
        return options.declaration
    assert built.declaration is not None
    declared = built.declaration
    changes: dict[str, Any] = {}
    if options.declare in ("tied", "untied"):
        changes["tied"] = options.declare == "tied"
    try:
        return merged(declared, {**changes, **options.assume})
    except ValueError as error:
        raise NotJudged(str(error)) from None


def _one(target: targets.Target, options: Options, flag: bool | None, progress: Progress | None) -> Report:
    try:
        with foreign():
            return within(options.timeout, lambda clock: _judge(target, options, flag, progress, clock))
    except Raised as error:
        raise NotJudged(f"{target.name} raised {error} while it was judged") from error


class _Clock:
    """Tells a run how much of its time is left, and remembers what it had finished, and how to leave the model."""

    def __init__(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds
        self.partial: Callable[[], Any] | None = None
        self.leave: Callable[[], None] = lambda: None

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self.until


def within(seconds: float | None, work: Callable[[_Clock | None], T]) -> T:
    """Run ``work`` in a thread that is stopped when its time is up, and left behind where it cannot be (a model may hang
    in native code)."""
    if seconds is None:
        return work(None)
    clock = _Clock(seconds)
    outcome: list[Any] = []

    def target() -> None:
        try:
            outcome.append(work(clock))
        except BaseException as error:
            outcome.append(error)

    thread = worker(target)
    thread.start()
    try:
        thread.join(min(seconds, threading.TIMEOUT_MAX))
    finally:  # the user may interrupt the wait
        if thread.is_alive():
            stop(thread)
            if thread.is_alive():
                clock.leave()
    if not outcome or isinstance(outcome[0], Stopped):
        unfinished: T | None = clock.partial() if clock.partial is not None else None
        if unfinished is not None:
            return unfinished
        raise NotJudged("the premise was not reached within the timeout")
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    finished: T = outcome[0]
    return finished


def _own(built: Built, adapter: Any) -> Declaration:
    """What a model declares by itself: its factory's declaration, else its config's, and its factory's keyword.

    The keyword says more than a config that the factory need not heed. In a `Declaration` "tied" may stand because nobody
    said otherwise.
    """
    if built.declaration is not None:
        return dataclasses.replace(built.declaration, tied=built.declaration.tied and built.tied is not False)
    declared: Declaration = adapter.declared(built.model) if hasattr(adapter, "declared") else Declaration()
    return declared if built.tied is None else dataclasses.replace(declared, tied=built.tied)


def prepared(target: targets.Target, options: Options, flag: bool | None) -> tuple[Built, Declaration, Any]:
    """The model, built, what it is declared to be, and the subject that answers for it. Raises NotJudged."""
    built = target.build(flag, options.seed)
    adapter = target.adapter if target.adapter is not None and hasattr(target.adapter, "subject_of") else None
    adapter = adapter or targets.adapter_for(built.model)
    built = dataclasses.replace(built, declaration=_own(built, adapter))
    declared = _declaration(built, options)
    subject = adapter.subject_of(
        built,
        declared,
        name=target.name,
        seed=options.seed,
        device=options.device,
        dtype=options.dtype,
        optimizer=options.optimizer,
    )
    return built, declared, subject


def _judge(
    target: targets.Target, options: Options, flag: bool | None, progress: Progress | None, clock: _Clock | None
) -> Report:
    say = progress or (lambda text: None)
    say("building the model")
    verdict = Verdict(
        target, options, flag, prepared(target, options, flag), lambda: clock is not None and clock.over, say
    )
    if clock is not None:
        clock.partial = lambda: verdict.report("timed out") if verdict.settled else None
        clock.leave = verdict.leave
    return verdict.judge()
