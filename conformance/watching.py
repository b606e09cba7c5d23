"""`watch`: the tie, asked again at every step of an optimizer, so that the step that loses it is known."""

from __future__ import annotations

import contextlib
import csv
import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .assertion import ends_of
from .errors import NotJudged, TieLost, clean, sentence
from .targets import adapter_for

if TYPE_CHECKING:
    from .protocol import Recorder, Shares

log = logging.getLogger("tiecheck")
SHARES = "tie-shares.csv"
_COLUMNS = ("step", "loss", "lookup", "projection", "total", "cosine")
# What a pass can lose of a tie. The premise is none of it: a training that diverged has lost something else.
_OF_THE_TIE = ("storage", "count", "lookup", "projection", "gradient")


def watch(
    model: Any,
    optimizer: Any,
    every: int | None = None,
    shares: bool | str | os.PathLike[str] = False,
    on_loss: Literal["raise", "log"] = "raise",
    *,
    shares_every: int | None = None,
    start: int = 0,
    ids: Any = None,
) -> AbstractContextManager[Watched]:
    """Ask of a model at every optimizer step whether it is still tied, and name the step that loses the tie.

        with watch(model, optimizer, every=1000):
            train(model, optimizer)     # TieLost: at step 37 the tie was lost: ...

    On entry, after each step and on exit it does what `assert_tied` does: identity, in less than 100 microseconds for
    GPT-2, and with the same blind spots. With ``every``, what identity cannot see (a stale copy, a detached use, a scale)
    is asked too: ``check(profile="quick")`` on the model itself, which is then put back bit for bit, on entry, after every
    so many steps, and on exit. Only what failed newly since the entry is a loss; what failed there already is logged.

    An optimizer built anew in the middle, over the same parameters, is followed. Nothing stays on the model or the
    optimizer afterwards, also where an exception ends the block; then nothing more is asked.

    Through DistributedDataParallel, FSDP2 and ``torch.compile`` it looks, and each rank looks for itself. How a sharded model
    behaves cannot be asked, only identity; of a compiled one the module inside is run, not the compiled code.

    Args:
        model: as for `assert_tied`, tied.
        optimizer: one, or a list of several that share the parameters. A step is counted where the most busy one makes it.
        every: ask how the model behaves every so many steps; None or 0: identity alone.
        shares: write a row of CSV with the norm of each use's share of the gradient at the table, of their sum, and the
            cosine between the two shares, into this file (True: ``tie-shares.csv``). They are of the very call that the
            training made last, repeated after the step by one forward and backward pass more: its own loss where that
            call returned one, else cross-entropy of the next token. "projection" is all but the lookups by the ids.
        on_loss: "raise" it out of ``optimizer.step()``, or "log" it once, as an error of the logger "tiecheck".
        shares_every: how often, in steps; else as often as ``every`` says, else at each.
        start: the number of steps made before, where a training goes on.
        ids: token ids (B, T) for the pass that finds the ends; see `assert_tied`.

    Returns:
        A context manager that gives a `Watched`.

    Raises:
        TieLost: an AssertionError that names the step, what is wrong and what mends it; also on entry and on exit.
        NotJudged: a ValueError: the ends, the steps, or what else was asked for cannot be watched here.
    """
    if on_loss not in ("raise", "log"):
        raise NotJudged(f'on_loss is "raise" or "log", not {clean(repr(on_loss))[:80]}')
    for name, value in (("every", every), ("shares_every", shares_every), ("start", start)):
        if isinstance(value, bool) or not (value is None or (isinstance(value, int) and value >= 0)):
            raise NotJudged(f"{name} is a number of steps, not {clean(repr(value))[:80]}")
    path = SHARES if shares is True else (os.fspath(shares) if shares else None)
    seen = Watched(start)
    return _watching(
        _Watch(model, optimizer, seen, every or 0, path, shares_every or every or 1, on_loss == "raise", ids)
    )


@dataclass
class Watched:
    """What a watch has seen.

    Attributes:
        steps: how many steps were made, those before ``start`` included.
        lost: what was said where the tie was lost; None as long as it is there.
    """

    steps: int
    lost: str | None = None


@contextlib.contextmanager
def _watching(watching: _Watch) -> Iterator[Watched]:
    try:
        watching.enter()
        yield watching.seen
        watching.leave()
    finally:
        watching.close()


class _Watch:
    """One watch while it lasts; see `watch`."""

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        seen: Watched,
        every: int,
        shares: str | None,
        often: int,
        raises: bool,
        ids: Any,
    ) -> None:
        self.model, self.optimizer, self.seen, self.ids = model, optimizer, seen, ids
        self.every, self.often, self.raises = every, often, raises
        self.path = shares
        self.began = self.asked = seen.steps
        self.busy = False
        self.counts: dict[int, int] = {}
        self.failing: frozenset[str] = frozenset()
        self.said: set[str] = set()
        self.undo = contextlib.ExitStack()

    def enter(self) -> None:
        """Find the ends, judge them, and follow the steps from here on."""
        self.adapter = adapter_for(self.model)
        if not hasattr(self.adapter, "steps_of"):
            raise NotJudged(f"its backend cannot follow the steps that train a {type(self.model).__name__}")
        self.steps = self.adapter.steps_of(self.optimizer, self._stepped)
        self.undo.callback(self.steps.close)
        self.counts = {id(one): self.seen.steps for one in self.steps.optimizers}
        self._identity(
            "before the first step" if not self.seen.steps else f"before step {self.seen.steps + 1}", self.ids
        )
        if self.every and self.seen.lost is None:
            self._begin()
        if self.path is not None and self.seen.lost is None:
            self._record(self.path)

    def leave(self) -> None:
        """What is asked once more at the end."""
        if self.seen.steps == self.began:
            log.warning("no step of the optimizer was seen while it was watched")
        self._identity(f"after step {self.seen.steps}")
        if self.every and self.seen.steps > self.asked and self.seen.lost is None:
            self._behaviour()

    def close(self) -> None:
        """Take every hook away."""
        self.undo.close()

    # --- at a step -----------------------------------------------------------------------------------------------

    def _stepped(self, optimizer: Any) -> None:
        if self.busy:
            return
        self.busy = True
        try:
            self._after(optimizer)
        finally:
            self.busy = False

    def _after(self, optimizer: Any) -> None:
        key = id(optimizer)
        count = self.counts[key] = self.counts.get(key, self.seen.steps) + 1
        later = count > self.seen.steps
        self.seen.steps = max(count, self.seen.steps)
        if self.seen.lost is not None:
            return
        self._identity(f"at step {self.seen.steps}")
        if not later or self.seen.lost is not None:
            return
        if self.every and count % self.every == 0:
            self._behaviour()
        if self.path is not None and count % self.often == 0 and self.seen.lost is None:
            self._write()

    def _identity(self, when: str, ids: Any = None) -> None:
        if self.seen.lost is not None:
            return
        try:
            ends_of(self.model, ids).listed(self.model, self.steps.optimizers)
        except TieLost as loss:
            self._lose(when, str(loss))
        except NotJudged as problem:
            if self.raises or self.seen.steps == self.began:
                raise NotJudged(f"{when} it cannot be told whether the model is tied: {problem}") from problem
            self._warn(f"{when} it cannot be told whether the model is tied", str(problem))

    def _lose(self, when: str, what: str) -> None:
        said = f"{when} the tie was lost: {what.removeprefix('the tie is lost: ')}"
        self.seen.lost = said
        if not self.raises:
            log.error(said)
            return
        self.close()  # a trainer does not always come to the end of what it began
        raise TieLost(said) from None

    def _warn(self, what: str, why: str) -> None:
        """Say it, and no second time for the same reason."""
        if why not in self.said:
            self.said.add(why)
            log.warning(f"{what}: {why}")

    # --- how it behaves ------------------------------------------------------------------------------------------

    def _failed(self) -> dict[str, str]:
        """What fails now, by requirement, with what its cause is and what mends it. Raises NotJudged."""
        from .run import check

        with self.adapter.behaving(self.model) as module:
            report = check(module, "tied", profile="quick")
        failed = [r for r in report.results if r.verdict == "fail" and r.level == "MUST"]
        premise = next((r for r in failed if r.id.startswith("subject.")), None)
        if premise is not None:
            raise NotJudged(f"{premise.id}: {premise.message}")
        causes = {i: f"{d.explanation} To mend it: {d.fix}" for d in reversed(report.diagnosis) for i in d.evidence}
        mine = [r for r in failed if r.id.partition(".")[0] in _OF_THE_TIE]
        return {r.id: f"{r.id} fails. {causes.get(r.id, r.message)}" for r in mine}

    def _begin(self) -> None:
        """How the model behaves before the first step."""
        try:
            failed = self._failed()
        except NotJudged as problem:
            raise NotJudged(f"{problem}; without every= identity alone is watched") from problem
        apart = next((what for i, what in failed.items() if i.startswith("storage.")), None)
        if apart is not None:
            self._lose("before the first step", apart)
        elif failed:
            log.warning(f"{', '.join(failed)} fail before the first step already, and are not watched")
        self.failing = frozenset(failed)

    def _behaviour(self) -> None:
        before, self.asked = self.asked, self.seen.steps
        try:
            failed = self._failed()
        except NotJudged as problem:
            self._warn(f"at step {self.asked} it cannot be told how the model behaves", str(problem))
            return
        for name, what in failed.items():
            if name not in self.failing:
                self._lose(f"between step {before} and step {self.asked}", what)
                return

    # --- the shares of the gradient ------------------------------------------------------------------------------

    def _record(self, path: str) -> None:
        """Open the file, and remember from now on how the training calls the model."""
        self.recorder: Recorder = self.adapter.shares_of(self.model, lambda: self.busy)
        self.undo.callback(self.recorder.close)
        appended = self.seen.steps > 0 and os.path.exists(path)
        mode = "a" if appended else "w"
        try:
            self.file = self.undo.enter_context(open(path, mode, newline="", encoding="utf-8"))  # noqa: SIM115
        except OSError as error:
            raise NotJudged(f"the shares cannot be written: {sentence(error)}") from error
        self.rows = csv.writer(self.file)
        if not appended:
            self.rows.writerow(_COLUMNS)

    def _write(self) -> None:
        try:
            found: Shares = self.recorder.measured(ends_of(self.model))
            numbers = [found.loss, found.lookup, found.projection, found.total, found.cosine]
            row = [format(number, ".9g") for number in numbers]
        except NotJudged as problem:
            row = ["n/a"] * (len(_COLUMNS) - 1)
            self._warn(f"at step {self.seen.steps} the shares of the gradient cannot be had", str(problem))
        self.rows.writerow([self.seen.steps, *row])
        self.file.flush()
