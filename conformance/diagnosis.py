"""The ordered table of diagnosis: from findings to causes, the likeliest root first, each with its mend in words.

The order says which cause explains the others: a separate matrix explains a missing share of the gradient, not the
other way round. It never changes a verdict.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from .evidence import Case
from .report import Diagnosis
from .requirement import Finding


@dataclass(frozen=True)
class Cause:
    """What a cause means to somebody who has never heard of it, and what mends it."""

    expected: str
    mend: str


CAUSES: dict[str, Cause] = {
    "nondeterministic": Cause(
        "The same ids give the same logits in eval mode.",
        "Switch dropout and every random draw off in eval mode (self.training)",
    ),
    "wrong-table": Cause(
        "The output projection reads the table that the token ids index.",
        "Point the projection at the token table: head.weight = token_embedding.weight",
    ),
    "forced-tie": Cause(
        "The model is declared untied, so input and output have a matrix each.",
        "Give the projection a parameter of its own and drop the line that ties it; or declare it tied: --declare tied",
    ),
    "stale-copy": Cause(
        "Both uses read the table itself. A kept copy agrees until the next update, then it is old.",
        "Read the parameter in every forward instead of keeping a copy: logits = F.linear(h, embedding.weight)",
    ),
    "equal-copy": Cause(
        "Both uses read one region of memory. Equal values in two places look tied until the first training step.",
        "Share the parameter instead of copying its values: head.weight = embedding.weight",
    ),
    "partial-tie": Cause(
        "The whole table is shared: every row and every column.",
        "Use the one V x D parameter for both, without parts of its own on one side: head.weight = embedding.weight",
    ),
    "two-matrices": Cause(
        "The lookup and the output projection read one matrix. Here they read two, which train apart.",
        "Tie them after building the model: head.weight = embedding.weight; or declare it untied: --declare untied",
    ),
    "adapter-on-one-use": Cause(
        "Whatever is added to the table (a low-rank adapter, a re-parametrization) is seen by both uses.",
        "Apply it to the shared parameter, so that both uses read the result; or untie, and declare it untied",
    ),
    "two-parameters-one-memory": Cause(
        "One parameter object holds the table. Two objects over one memory look tied, but each gets half of the gradient "
        "and its own optimizer state, so that Adam's step and weight decay act on the memory twice.",
        "Assign the parameter itself, not its data: head.weight = embedding.weight",
    ),
    "reduced-precision": Cause(
        "Both uses read the table in its own precision, or the whole forward runs in the narrower one.",
        "Drop the cast on the one use, or compute the whole forward in that dtype (autocast around all of it)",
    ),
    "not-transposed": Cause(
        "The projection is h times the transposed table; with V = D the missing transpose passes every shape check.",
        "Transpose it: logits = h @ E.T",
    ),
    "wrong-rows": Cause(
        "Token i reads row i, its logit comes from row i, and a forward pass leaves the table alone.",
        "Index with the ids as they are and project with the rows in their own order; drop max_norm if it is set",
    ),
    "wrong-columns": Cause(
        "Column d of the table meets component d of h.",
        "Drop the permutation of the table's columns: logits = h @ E.T",
    ),
    "undeclared-scale": Cause(
        "Rows and logits are not multiplied by anything that is not declared.",
        "Remove the factor, or declare it: --assume input_scale=... or --assume output_scale=...",
    ),
    "undeclared-bias": Cause(
        "Logits are h E^T alone; a bias is an addition to the tied map.",
        "Build the projection with bias=False, or declare it: --assume output_bias=true",
    ),
    "undeclared-softcap": Cause(
        "Logits are not squashed by anything that is not declared.",
        "Remove the tanh, or declare it: --assume logit_softcap=...",
    ),
    "undeclared-normalization": Cause(
        "The model returns logits.",
        "Return the values before log_softmax, or declare it: --assume log_probabilities=true",
    ),
    "undeclared-padding": Cause(
        "There is one finite logit for each row of the table.",
        "Make the sizes equal, or declare the number of legal tokens: --assume vocabulary=...",
    ),
    "undeclared-frozen": Cause(
        "The table is trained.",
        "Let it require gradients: embedding.weight.requires_grad_(True); or declare it: --assume frozen=true",
    ),
    "declared-but-absent": Cause(
        "What is declared is there.",
        "Drop it from the declaration, or put it into the model",
    ),
    "detached-projection": Cause(
        "The output projection gives every row of the table its share of the gradient.",
        "Use the parameter itself in the projection, without detach(), .data or no_grad()",
    ),
    "detached-lookup": Cause(
        "The lookup gives the rows that were read their share of the gradient.",
        "Use the parameter itself in the lookup, without detach(), .data or no_grad()",
    ),
    "missing-rows": Cause(
        "Every row gets its share of the gradient, padding rows apart where they are declared.",
        "Drop padding_idx or whatever masks those rows, or declare it: --assume padding_row=...",
    ),
    "gradient-scaled": Cause(
        "The gradient of the table is the sum of both shares, each with coefficient one.",
        "Remove the hook, the option (scale_grad_by_freq) or the custom backward that scales one share",
    ),
    "wrong-gradient": Cause(
        "The gradient of the table is the sum of both shares, row by row, and passes accumulate.",
        "Mend the custom backward or the hook: it must return the gradient of its own row and add to what is there",
    ),
    "listed-twice": Cause(
        "Every enumeration lists the shared table once; twice, an optimizer steps it twice.",
        "Drop duplicates by identity: list({id(p): p for p in parameters}.values())",
    ),
    "not-listed": Cause(
        "The table is a parameter that parameters() and the optimizer list.",
        "Register it (nn.Parameter as a module's attribute) and put it into one optimizer group",
    ),
    "miscounted": Cause(
        "The table is counted once, and nothing of its shape lies unused beside it.",
        "Count distinct parameters, and delete the head's own unused weight",
    ),
    # Switching modes is part of a training step, loading of a save: what a smaller thing loses, the larger loses too.
    "lost-on-train-mode": Cause(
        "train() and eval() change the mode and not the table.",
        "Do not copy, merge or rebuild weights on one side when the mode changes; tie again there: head.weight = embedding.weight",
    ),
    "lost-on-step": Cause(
        "An optimizer step leaves one table that both uses hold.",
        "Look for what replaces or copies the table while training (a hook, a cache, a second parameter), and share it again: "
        "head.weight = embedding.weight",
    ),
    "lost-on-deepcopy": Cause(
        "copy.deepcopy copies the shared table once, and both uses of the copy read it.",
        "Let nothing in the copy point at the original (a lambda or closure over self, a stored method, a __deepcopy__ of your "
        "own), or tie again after copying: copy.head.weight = copy.embedding.weight",
    ),
    "lost-on-load": Cause(
        "A state dict loads into a model without taking its tie apart.",
        "Let load_state_dict copy into the shared parameter, or tie again at its end: self.head.weight = self.embedding.weight",
    ),
    "lost-on-pickle": Cause(
        "pickle stores the shared table once, and both uses read it when it comes back.",
        "Tie again where the object is restored (__setstate__): self.head.weight = self.embedding.weight",
    ),
    "lost-on-save": Cause(
        "torch.save stores the shared table once, and both uses read it when it is loaded.",
        "Tie again where the object is restored (__setstate__), or after loading: head.weight = embedding.weight",
    ),
    "lost-on-cast": Cause(
        "A cast changes the dtype of the one table, and both uses read it.",
        "Keep the table a registered parameter, so that Module._apply casts it once; or tie again after the cast: "
        "head.weight = embedding.weight",
    ),
    "lost-on-move": Cause(
        "A move to another device moves the one table, and both uses read it.",
        "Keep the table a registered parameter, so that Module._apply moves it once; or tie again after the move: "
        "head.weight = embedding.weight",
    ),
    "lost-on-freeze": Cause(
        "requires_grad_ changes a flag of the one table and nothing else.",
        "Set the flag of the shared parameter instead of replacing it",
    ),
    "bad-initialization": Cause(
        "An untrained model guesses evenly, so that its loss is close to ln V. A table drawn with a standard deviation of one "
        "(the default of nn.Embedding) makes logits that are sqrt(D) times too large when it is the output matrix too.",
        "Draw the shared table small: nn.init.normal_(embedding.weight, std=0.02); weights that were trained already need nothing",
    ),
    "unknown": Cause(
        "Logits are h E^T, with what is declared put in.",
        "Compare the numbers below with what the model is meant to compute",
    ),
}


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
        if _GENERIC in words:
            return words.replace(_GENERIC, self.line)
        return f"{self.line}; or: {words[0].lower()}{words[1:]}"


_GENERIC = "head.weight = embedding.weight"
# What a cause means to a framework that is not torch, where the words above are torch's.
_RETURNED = "What comes back is tied as what went in."
_AGAIN = f"Store with the model that it is tied, or tie again in what comes back: {_GENERIC}"
_ELSEWHERE: dict[str, Cause] = {
    "nondeterministic": Cause(
        "The same ids give the same logits in eval mode.", "Switch off every random draw (dropout) outside of training"
    ),
    "stale-copy": Cause(
        "Both uses read the table itself. A kept copy agrees until the next update, then it is old.",
        f"Read the table in every forward instead of keeping a copy: {_GENERIC}",
    ),
    "two-parameters-one-memory": Cause(
        "One parameter holds the table. Two over one memory look tied, but each gets a part of the gradient and its own "
        "optimizer state, so that Adam's step and weight decay act on the memory twice.",
        f"Share the parameter itself, not its array: {_GENERIC}",
    ),
    "reduced-precision": Cause(
        "Both uses read the table in its own precision, or the whole forward runs in the narrower one.",
        "Drop the cast on the one use, or compute the whole forward in that dtype",
    ),
    "wrong-rows": Cause(
        "Token i reads row i, its logit comes from row i, and a forward pass leaves the table alone.",
        "Index with the ids as they are and project with the rows in their own order",
    ),
    "undeclared-bias": Cause(
        "Logits are h E^T alone; a bias is an addition to the tied map.",
        "Leave the bias out, or declare it: --assume output_bias=true",
    ),
    "undeclared-frozen": Cause(
        "The table is trained.", "Give it to the optimizer; or declare it: --assume frozen=true"
    ),
    "detached-projection": Cause(
        "The output projection gives every row of the table its share of the gradient.",
        "Let the gradient of the projection reach the table: nothing on the way may stop it",
    ),
    "detached-lookup": Cause(
        "The lookup gives the rows that were read their share of the gradient.",
        "Let the gradient of the lookup reach the table: nothing on the way may stop it",
    ),
    "missing-rows": Cause(
        "Every row gets its share of the gradient, padding rows apart where they are declared.",
        "Drop whatever leaves those rows out, or declare it: --assume padding_row=...",
    ),
    "gradient-scaled": Cause(
        "The gradient of the table is the sum of both shares, each with coefficient one.",
        "Remove the factor: a custom gradient, a mean over uses where the sum belongs, or a weight by frequency",
    ),
    "wrong-gradient": Cause(
        "The gradient of the table is the sum of both shares, row by row, and passes accumulate.",
        "Mend the custom gradient: it must return the gradient of its own row and add to what is there",
    ),
    "listed-twice": Cause(
        "Every enumeration lists the shared table once; twice, an optimizer steps it twice.",
        "Drop duplicates by identity",
    ),
    "not-listed": Cause("The table is what the optimizer is given.", "Give it to the optimizer, once"),
    "lost-on-train-mode": Cause(
        "A change of mode leaves the table alone.",
        f"Do not copy, merge or rebuild weights on one side when the mode changes; or tie again there: {_GENERIC}",
    ),
    **{f"lost-on-{word}": Cause(_RETURNED, _AGAIN) for word in ("deepcopy", "load", "pickle", "save", "cast", "move")},
    "lost-on-freeze": Cause(
        "Freezing the table changes nothing but whether it trains.", "Leave the arrays as they are there"
    ),
    "bad-initialization": Cause(
        "An untrained model guesses evenly, so that its loss is close to ln V. A table drawn with a standard deviation of one "
        "makes logits that are sqrt(D) times too large when it is the output matrix too.",
        "Draw the shared table small, with a standard deviation of 0.02; weights that were trained already need nothing",
    ),
}
# A step that is not its formula's leaves the tie whole: the table was moved as one, and wrongly.
_MOVED = Cause(
    "One optimizer step moves the one table once, by its formula; decay and clipping see it once.",
    "Give the optimizer each parameter once, in its groups and in what names the weights to decay, too",
)
_MOVED_TITLE = "an optimizer step moves the table by something else than its formula"


def mend_of(case: Case) -> Mend | None:
    """The assignment that gives the projection the lookup's parameter, where both are tensors with names and one shape."""
    look = case.first.look
    if not case.declared.tied or look is None or look.head is None:
        return None
    a, b = look.table.region, look.head.region
    if a is None or b is None or a.shape != b.shape or a.strides != b.strides or a.kind != "parameter":
        return None
    if a.storage != b.storage:
        return Mend(b.owner, a.owner) if _is_path(a.owner) and _is_path(b.owner) else None
    named = case.holdings.named if case.holdings is not None else ()
    over = [n for n in named if n.region == dataclasses.replace(a, owner=n.region.owner)]
    objects = {n.object: n.name for n in over if n.region.kind == "parameter"}
    other = next((name for name in objects.values() if name != a.owner), None)
    if len(objects) < 2 or other is None or not _is_path(other):
        return None
    return Mend(other, a.owner, frozenset({"two-parameters-one-memory"}))


def _is_path(name: str) -> bool:
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
) -> tuple[Diagnosis, ...]:
    """Causes of what failed: failed MUSTs before failed SHOULDs, and within them in the order of the table.

    Args:
        mend: the assignment that would tie the model, where there is one.
        mended: whether a second instance conformed after it; None where it was not tried.
        idiom: how the subject's framework ties, where that is no assignment of torch's.
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
        words = CAUSES | _ELSEWHERE if idiom else CAUSES
        text, title = words.get(cause, CAUSES["unknown"]), ""
        if (
            cause == "lost-on-step"
            and ids == ["training.step"]
            and (findings[ids[0]].counterexample or {}).get("side") == "lookup"
        ):
            text, title = _MOVED, _MOVED_TITLE
        seen = "; ".join(dict.fromkeys(findings[i].message for i in ids))
        where = next(
            (str(findings[i].counterexample["where"]) for i in ids if (findings[i].counterexample or {}).get("where")),  # type: ignore[index]
            "",
        )
        place = f" At {where}." if where else ""
        fix, tried = text.mend.replace(_GENERIC, idiom or _GENERIC), None
        if mend is not None and cause in mend.causes:
            fix, tried = mend.put_into(text.mend), mended
        out.append(Diagnosis(cause, f"{text.expected} Seen: {seen}.{place}", fix, tuple(ids), tried, where, title))
    return tuple(out)
