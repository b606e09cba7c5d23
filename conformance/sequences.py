"""Sequences of operations: each keeps the tie by itself, and two or more in a row lose it.

All ordered pairs are tried, each on a model of its own; a hypothesis state machine draws further sequences and shrinks
what it finds; a few long walks show what trips only after many. What loses the tie alone is a finding of its own and
stands in no sequence.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from . import gather
from .afterwards import KINDS, Bench, compared
from .algebra import moved
from .evidence import After, Case, Chain, Lost, Sequences
from .foreign import foreign
from .operations import Operation
from .premise import has
from .requirement import level_of

DRAWN = 12
DRAWN_LENGTH = 8
WALKS = 3
WALK_LENGTH = 48
ROUNDS = 3
STRIDE = 10
REPEATS = 16
SHRINKS = 80
STEP = "step"
_CODE = "step(model, torch.optim.{}(model.parameters(), lr=0.1))"
_TRAINED = {"sgd": _CODE.format("SGD"), "adamw": _CODE.format("AdamW")}


def tried(bench: Bench, case: Case, seed: int) -> Sequences:
    """Every sequence that the time allows: first of MUST operations and training steps alone, then with the others."""
    elements = _elements(bench, case)
    must = [op for op in elements if _must(op)]
    seen = Sequences(tuple(op.spelling for op in elements), of=len(elements) ** 2)
    known: set[tuple[int, int]] = set()
    for some in [must, elements] if len(must) < len(elements) else [elements]:
        walker = Walker(bench, tuple(some))
        lost = walker.pairs(known) or walker.drawn(seed) or walker.walks(seed)
        if lost is None and all(map(_must, some)):
            lost = walker.triples(seed)
        seen = dataclasses.replace(
            seen,
            pairs=len(known),
            drawn=seen.drawn + walker.counted["drawn"],
            walks=seen.walks + walker.counted["walks"],
            triples=seen.triples + walker.counted["triples"],
            longest=max(seen.longest, walker.counted["longest"]),
        )
        if lost is not None:
            return dataclasses.replace(seen, lost=dataclasses.replace(lost, code=_code(bench, lost)))
    return seen


def _elements(bench: Bench, case: Case) -> list[Operation]:
    """What may stand in a sequence: operations of one step each that kept the tie alone, and training steps."""
    singly: dict[str, list[After]] = {}
    for after in case.after:
        singly.setdefault(after.spelling, []).append(after)
    lost = {after.word for after in case.after if after.lost or after.broken or moved(after)}
    out = [
        op
        for op in bench.operations()
        if op.code and op.word not in lost and op.spelling in singly
        if not any(after.refused for after in singly[op.spelling])
    ]
    trainable = not bench.declared.frozen and has(bench.subject, "steps")
    good = {one.step.kind for one in case.trained if not one.step.refused and not one.lost and not one.broken}
    return out + [_training(bench, kind) for kind in KINDS if trainable and kind in good]


def _training(bench: Bench, kind: str) -> Operation:
    def perform(subject: Any, fresh: Callable[[], Any]) -> Any:
        with subject:
            step = subject.steps(bench.probe, kind, 1)
        if step.refused:
            raise RuntimeError(step.refused)
        return subject

    return Operation(STEP, f"a training step of {kind}", perform, exact=False, code=_TRAINED[kind])


def _must(operation: Operation) -> bool:
    return operation.word == STEP or level_of(f"persistence.{operation.word}") == "MUST"


class Fault(AssertionError):
    """A sequence that loses the tie."""

    def __init__(self, chain: Chain) -> None:
        super().__init__(" ".join(chain.words))
        self.chain = chain


class Walker:
    """Performs sequences of some operations, each from a fresh model, and counts them.

    Args:
        bench: where models come from.
        elements: what is performed.
    """

    def __init__(self, bench: Bench, elements: tuple[Operation, ...]) -> None:
        self.bench, self.elements = bench, elements
        self.counted = {"drawn": 0, "walks": 0, "triples": 0, "longest": 0}
        self.reached = 0

    def performed(self, sequence: Sequence[Operation], checked: bool = True) -> Chain | None:
        """A sequence on a fresh model, with the cheap requirements after each operation (or not), and the whole list at the
        end; where it loses the tie, what and where. One that is refused on the way has shown nothing."""
        walk = Walk(self.bench)
        try:
            for operation in sequence:
                walk.perform(operation, checked)
            walk.finish()
        except Fault as fault:
            return fault.chain
        finally:
            walk.leave()
            self.reached = len(walk.done) - walk.refused
        self.counted["longest"] = max(self.counted["longest"], len(walk.done))
        return None

    def pairs(self, known: set[tuple[int, int]]) -> Chain | None:
        """Every ordered pair that is not known yet; each operation alone is known to keep the tie."""
        for one, other in itertools.product(self.elements, repeat=2):
            if self.bench.over():
                return None
            if (id(one), id(other)) in known:
                continue
            self.bench.say(f"after {one.spelling}, then {other.spelling}")
            lost = self.performed((one, other), checked=False)
            if lost is not None:
                return lost
            known.add((id(one), id(other)))
        return None

    def drawn(self, seed: int) -> Chain | None:
        """Sequences that a hypothesis state machine draws, and the shortest of those that lose the tie."""
        import hypothesis
        from hypothesis import HealthCheck, Phase
        from hypothesis.stateful import run_state_machine_as_test

        self.bench.say("drawing sequences of operations")
        settings = hypothesis.settings(
            max_examples=DRAWN,
            stateful_step_count=DRAWN_LENGTH,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
            report_multiple_bugs=False,
            verbosity=hypothesis.Verbosity.quiet,
        )
        latest: list[Chain] = []
        machine = hypothesis.seed(seed)(_machine(self, latest))
        with contextlib.suppress(Fault, hypothesis.errors.HypothesisException):
            run_state_machine_as_test(machine, settings=settings)
        return min(latest, key=lambda chain: len(chain.words), default=None)

    def walks(self, seed: int) -> Chain | None:
        """A few long walks, and one operation many times; what a walk loses is cut down by leaving operations out."""
        rng = np.random.default_rng([seed, 211])
        number = len(self.elements)
        rounds = max(1, min(ROUNDS, WALK_LENGTH // max(number, 1)))
        orders = [[rng.permutation(number) for _ in range(rounds)] for _ in range(WALKS)]
        many = [[self.elements[i] for i in np.concatenate(order)] for order in orders]
        for walk in many + [[one] * REPEATS for one in self.elements]:
            if self.bench.over():
                return None
            self.bench.say("a long walk of operations")
            lost = self.performed(walk, checked=len(set(map(id, walk))) > 1)
            self.counted["walks"] += 1
            if lost is not None:
                return self._shortest(walk[: len(lost.words)], lost)
        return None

    def triples(self, seed: int) -> Chain | None:
        """Every three kinds of operations in a row, several triples in one walk."""
        rng = np.random.default_rng([seed, 223])
        words = dict.fromkeys(one.word for one in self.elements)
        kinds = [[one for one in self.elements if one.word == word] for word in words]
        order = rng.permutation(len(kinds))[every_triple(len(kinds))]
        walk = [kinds[i][rng.integers(len(kinds[i]))] for i in order]
        for start in range(0, len(walk) - 2, STRIDE):
            if self.bench.over():
                return None
            self.bench.say("three operations in a row")
            part = walk[start : start + STRIDE + 2]
            lost = self.performed(part)
            self.counted["triples"] += max(self.reached - 2, 0)
            if lost is not None:
                return self._shortest(part[: len(lost.words)], lost)
        return None

    def _shortest(self, walk: list[Operation], lost: Chain) -> Chain:
        """The walk without what it does not take to lose the tie."""
        left = SHRINKS
        for size in (len(walk) // 2, len(walk) // 4, 1):
            start = 0
            while size > 0 and start < len(walk) and left and not self.bench.over():
                shorter = walk[:start] + walk[start + size :]
                left -= 1
                found = self.performed(shorter) if shorter else None
                if found is None:
                    start += size
                else:
                    walk, lost = shorter[: len(found.words)], found
        return lost


def every_triple(count: int) -> list[int]:
    """A row of numbers below ``count`` in which each three of them stand side by side once: the greedy sequence of M. H. Martin
    (1934), which always takes the largest number that makes a new triple."""
    row = [0, 0, 0]
    known = {(0, 0, 0)}
    while True:
        new = next((n for n in reversed(range(count)) if (row[-2], row[-1], n) not in known), None)
        if new is None:
            return row
        row.append(new)
        known.add((row[-3], row[-2], row[-1]))


class Walk:
    """One model on its way through operations."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.subject: Any = None
        self.before: Any = None
        self.done: list[Operation] = []
        self.refused = False

    def perform(self, operation: Operation, checked: bool = True) -> None:
        """The next operation. Raises Fault where the tie is lost by it."""
        if self.refused or self.bench.over():
            return
        if self.subject is None:
            try:
                self.subject = self.bench.fresh()
                with foreign(), self.subject:
                    self.before = self.bench.seen(self.subject, _CHEAP).first
            except Exception:
                self.refused = True
                return
        after = compared(self.bench, operation, self.subject, self.before, _CHEAP if checked else None)
        self.refused = bool(after.after.refused)
        self.done.append(operation)
        self.subject = after.subject
        if after.after.broken or after.after.lost or moved(after.after):
            raise Fault(self._chain(after.after, after.ends))
        if not self.refused:
            self.before = after.seen

    def finish(self) -> None:
        """The whole list. Raises Fault where something is lost."""
        if self.refused or self.subject is None or not self.done or self.bench.over():
            return
        judged = compared(self.bench, _NOTHING, self.subject, None, gather.AFTERWARDS)
        if judged.after.broken or judged.after.lost:
            raise Fault(self._chain(judged.after, judged.ends))

    def leave(self) -> None:
        """Count the passes of the last model and let it go."""
        if self.subject is not None:
            self.bench.count(self.subject)
        self.subject = self.before = None

    def _chain(self, after: After, ends: tuple[str, str]) -> Chain:
        lost = after.lost[0] if after.lost else Lost("", "unknown", after.broken or _other(after))
        return Chain(
            tuple(op.word for op in self.done),
            tuple(op.spelling for op in self.done),
            lost,
            should=not all(_must(op) for op in self.done),
            lines=tuple(op.code for op in self.done),
            ends=ends,
        )


_CHEAP = gather.AFTERWARDS_LARGE
_NOTHING = Operation("", "", lambda subject, fresh: subject, exact=False)


def _other(after: After) -> str:
    return f"the same ids give other logits (by up to {moved(after):.3g})"


def _machine(walker: Walker, latest: list[Chain]) -> Any:
    """The state machine: one rule, which performs the next operation."""
    from hypothesis import strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, rule

    shrinks = itertools.count()

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.walk = Walk(walker.bench)
            walker.counted["drawn"] += not latest
            self.spent = bool(latest) and next(shrinks) > SHRINKS

        @rule(number=st.integers(0, len(walker.elements) - 1))
        def perform(self, number: int) -> None:
            if not self.spent:
                with _remembered(latest):
                    self.walk.perform(walker.elements[number])

        def teardown(self) -> None:
            try:
                if not self.spent:
                    with _remembered(latest):
                        self.walk.finish()
            finally:
                walker.counted["longest"] = max(walker.counted["longest"], len(self.walk.done))
                self.walk.leave()

    return Machine


@contextlib.contextmanager
def _remembered(latest: list[Chain]) -> Iterator[None]:
    """Keeps the sequence that a fault shows."""
    try:
        yield
    except Fault as fault:
        latest.append(fault.chain)
        raise


def _code(bench: Bench, chain: Chain) -> str:
    """Lines of Python that show the loss without tiecheck, where the subject's framework can say them."""
    script = getattr(bench.subject, "script", None)
    return str(script(bench.building, chain, bench.fresh)) if script is not None else ""
