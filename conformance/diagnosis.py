"""The ordered table of diagnosis: from findings to causes, the likeliest root first, each with its mend in words.

The order says which cause explains the others: a separate matrix explains a missing share of the gradient, not the
other way round. It never changes a verdict.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from .causes import CAUSES, ELSEWHERE, GENERIC, MOVED, MOVED_TITLE, UNREAD, unlisted
from .evidence import Case
from .report import Diagnosis
from .requirement import Finding

# Findings of one cause that the sentence tells; the list of requirements has them all.
TOLD = 2


@dataclass(frozen=True)
class Mend:
    """An assignment that would tie the model: the name that is to hold the tensor, the name that holds it, and for which
    causes it is the mend."""

    to: str
    of: str
    causes: frozenset[str] = frozenset({"two-matrices", "equal-copy", "stale-copy", "wrong-table", "partial-tie"})

    @property
    def line(self) -> str:
        """As a user writes it."""
        return f"model.{self.to} = model.{self.of}"

    def put_into(self, words: str) -> str:
        """A cause's mend with this line in place of the one that stands for any model, or before it."""
        if GENERIC in words:
            return words.replace(GENERIC, self.line)
        return f"{self.line}; or: {words[0].lower()}{words[1:]}"


def mend_of(case: Case) -> Mend | None:
    """The assignment that gives the projection the lookup's parameter, where both are tensors with names and one shape."""
    look = case.first.look
    if not case.declared.tied or look is None or look.head is None:
        return None
    a, b = look.table.region, look.head.region
    if a is None or b is None or a.shape != b.shape or a.strides != b.strides or a.kind != "parameter":
        return None
    if a.storage != b.storage:
        return Mend(b.owner, a.owner) if is_path(a.owner) and is_path(b.owner) else None
    named = case.holdings.named if case.holdings is not None else ()
    over = [n for n in named if n.region == dataclasses.replace(a, owner=n.region.owner)]
    objects = {n.object: n.name for n in over if n.region.kind == "parameter"}
    other = next((name for name in objects.values() if name != a.owner), None)
    if len(objects) < 2 or other is None or not is_path(other):
        return None
    return Mend(other, a.owner, frozenset({"two-parameters-one-memory"}))


def tied_again(case: Case) -> str:
    """The assignment that ties a tied model again after its two names came apart; "" where one name holds the table."""
    look, named = case.first.look, case.holdings.named if case.holdings is not None else ()
    if look is None or look.table.region is None or look.table.region.kind != "parameter":
        return ""
    table = look.table.region
    names = [n.name for n in named if n.region == dataclasses.replace(table, owner=n.region.owner) and is_path(n.name)]
    others = [name for name in names if name != table.owner]
    return Mend(others[0], table.owner).line if len(names) == 2 and others else ""


def is_path(name: str) -> bool:
    """Whether a name can be assigned to: attributes and numbered parts, with dots between."""
    return (
        all(part.isidentifier() or part.isdigit() for part in name.split(".")) and not name.rpartition(".")[2].isdigit()
    )


def diagnose(
    findings: Mapping[str, Finding],
    levels: Mapping[str, str],
    mend: Mend | None = None,
    mended: bool | None = None,
    idiom: str = "",
    again: str = "",
) -> tuple[Diagnosis, ...]:
    """Causes of what failed: failed MUSTs before failed SHOULDs, and within them in the order of the table.

    Args:
        mend: the assignment that would tie the model, where there is one.
        mended: whether a second instance conformed after it; None where it was not tried.
        idiom: how the subject's framework ties, where that is no assignment of torch's.
        again: the assignment that ties this model again, where two names hold its table.
    """
    order = {cause: i for i, cause in enumerate(CAUSES)}
    groups: dict[str, list[str]] = {}
    for id, finding in findings.items():
        if finding.verdict == "fail":
            groups.setdefault(finding.cause or "unknown", []).append(id)

    def rank(cause: str) -> tuple[bool, bool, int]:
        # That uses come and go says less than what any single pass shows.
        vague = groups[cause] == ["gradient.every-call"]
        return all(levels[i] != "MUST" for i in groups[cause]), vague, order.get(cause, len(order))

    out = []
    for cause in sorted(groups, key=rank):
        ids = sorted(groups[cause], key=lambda i: levels[i] != "MUST")
        words = CAUSES | ELSEWHERE if idiom else CAUSES
        text, title = words.get(cause) or unlisted(cause), ""
        if (
            cause == "lost-on-step"
            and ids == ["training.step"]
            and (findings[ids[0]].counterexample or {}).get("side") == "lookup"
        ):
            text, title = MOVED, MOVED_TITLE
        if cause == "miscounted" and ids == ["count.no-dead-table"] and "forced-tie" in groups:
            text = UNREAD
        told = list(dict.fromkeys(findings[i].message for i in ids))
        seen = "; ".join(told[:TOLD]) + (f"; and {len(told) - TOLD} more of the kind" if len(told) > TOLD else "")
        where = next(
            (str(findings[i].counterexample["where"]) for i in ids if (findings[i].counterexample or {}).get("where")),  # type: ignore[index]
            "",
        )
        place = f" At {where}." if where else ""
        fix, tried = text.mend.replace(GENERIC, idiom or again or GENERIC), None
        if mend is not None and cause in mend.causes:
            fix, tried = mend.put_into(text.mend), mended
        out.append(Diagnosis(cause, f"{text.expected} Seen: {seen}.{place}", fix, tuple(ids), tried, where, title))
    return tuple(out)
