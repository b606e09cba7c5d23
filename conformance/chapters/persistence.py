"""Chapter `persistence`: all of the above again after each operation that a user performs on a model trained a little."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from .. import tolerances
from ..evidence import After, Case, Lost
from ..requirement import Finding, failed, passed, requirement, requirements, skipped

SOURCE = "contract, section 1: all of the above again after each operation that a user performs"
TIE = ("storage", "count", "lookup", "projection", "gradient")


def newly_failing(case: Case, before: Collection[str] = (), chapters: Sequence[str] = TIE) -> tuple[Lost, ...]:
    """Every MUST of the tie that fails on a case and is not among the ids that failed before."""
    out = []
    for item in requirements():
        if item.chapter not in chapters or item.level != "MUST" or item.id in before:
            continue
        finding = item.judge(case)
        if finding.verdict == "fail" and finding.level != "SHOULD":
            out.append(Lost(item.id, finding.cause or "unknown", finding.message, finding.counterexample or {}))
    return tuple(out)


def _judged(case: Case, word: str) -> Finding:
    done = [a for a in case.after if a.word == word]
    if not done:
        otherwise = case.missing.get("afterwards", "not asked in this profile, or the time was up")
        return skipped(case.why(f"persistence.{word}", otherwise))
    told: list[str] = []
    for after in done:
        if after.broken:
            return failed(f"lost-on-{word}", after.broken + _on_copy(case), operation=after.spelling)
        if after.refused:
            continue
        if after.lost:
            return _lost(case, after, after.lost[0])
        moved = _moved(after)
        if moved:
            message = f"after {after.spelling} the same ids give other logits (by up to {moved:.3g})"
            return failed(f"lost-on-{word}", message + _on_copy(case), operation=after.spelling, difference=moved)
        if not after.weak:
            told.append(after.spelling)
    if told:
        return passed(f"the tie holds after {'; '.join(told)}" + _on_copy(case))
    return skipped("; ".join(dict.fromkeys(a.refused for a in done if a.refused)) or "nothing that was done proves it")


def _lost(case: Case, after: After, lost: Lost) -> Finding:
    """An operation that ties an untied model by force has a word of its own."""
    cause = "forced-tie" if lost.cause == "forced-tie" else f"lost-on-{after.word}"
    message = f"after {after.spelling} {lost.id} fails: {lost.message}"
    facts = {**lost.counterexample, "operation": after.spelling, "fails": lost.id, "then": lost.cause}
    return failed(cause, message + _on_copy(case), **facts)


def _on_copy(case: Case) -> str:
    return " (on a deepcopy, for there is no factory)" if case.copied else ""


def _moved(after: After) -> float:
    """By how much the logits changed where the same values were promised."""
    one, other = after.before, after.after
    if not after.exact or one is None or other is None:
        return 0.0
    if one.shape != other.shape:
        return float("inf")
    gap = float(np.nanmax(np.abs(np.nan_to_num(one) - np.nan_to_num(other)), initial=0.0))
    return gap if gap > tolerances.returned(np.nan_to_num(one), after.dtype) else 0.0


def _operation(word: str, statement: str, bug: str = "") -> Callable[[Callable[[Case], Finding]], object]:
    formula = "every MUST of storage, count, lookup, projection and gradient holds afterwards; f(ids) as before"
    return requirement(f"persistence.{word}", statement=statement, formula=formula, source=SOURCE, bug=bug)


@_operation("deepcopy", "A deepcopy is tied as the model is.")
def deepcopy(case: Case) -> Finding:
    return _judged(case, "deepcopy")


@_operation("pickle", "A model that was pickled and read again is tied as before.")
def pickle(case: Case) -> Finding:
    return _judged(case, "pickle")


@_operation("cast", "A cast to another dtype, and the way back, in every spelling leave the tie whole.")
def cast(case: Case) -> Finding:
    return _judged(case, "cast")


@_operation("move", "A move to another device and back leaves the tie whole.")
def move(case: Case) -> Finding:
    return _judged(case, "move")


@_operation(
    "train-mode", "Switching between train and eval mode leaves the tie whole, with calls in between and without."
)
def train_mode(case: Case) -> Finding:
    return _judged(case, "train-mode")


@_operation("freeze", "Freezing all parameters and thawing them leaves the tie whole.")
def freeze(case: Case) -> Finding:
    return _judged(case, "freeze")


@_operation("load", "The state dict of the model loads into a fresh model, and into itself, and the result is tied.")
def load(case: Case) -> Finding:
    return _judged(case, "load")


@_operation("save", "What torch.save stored, the module or its state dict, comes back tied.")
def save(case: Case) -> Finding:
    return _judged(case, "save")
