"""Words for people: what a chapter and a cause mean, what `spec` looks up, and text that is safe to print."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .errors import clean as clean

if TYPE_CHECKING:
    from .report import Diagnosis
    from .requirement import Requirement

CHAPTERS = {
    "subject": "the premise: the model runs, its table is found, and the inputs can tell tied from untied",
    "storage": "both uses read one region of memory, held by one parameter",
    "count": "the table is counted, and trained, once",
    "lookup": "looking a token up returns its row of the table",
    "projection": "a logit is the dot product of the last hidden state with the token's row",
    "gradient": "the table's gradient is the sum of what both uses contribute",
    "training": "an optimizer moves one table, once, and both uses see it",
    "persistence": "the tie outlives what people do to a model: copy, save, load, cast, freeze",
    "initialization": "an untrained model guesses evenly",
}

DECLARED = {
    "tied": "declared tied: one matrix both looks tokens up and turns the last hidden state into logits",
    "untied": "declared untied: looking tokens up and producing logits use two separate matrices",
}

CAUSES = {
    "two-matrices": "two separate matrices instead of one",
    "equal-copy": "a copy: the two matrices hold the same values in separate memory",
    "two-parameters-one-memory": "two parameters over the same memory, which the optimizer will pull apart",
    "forced-tie": "declared untied, but both uses share one matrix",
    "detached-lookup": "the lookup is cut off from the gradient",
    "detached-projection": "the output projection is cut off from the gradient",
    "stale-copy": "one use reads a copy that was made earlier, not the table itself",
    "gradient-scaled": "a share of the gradient arrives scaled or clamped",
    "missing-rows": "some rows of the table miss a share of their gradient",
    "wrong-gradient": "the table's gradient is wrong",
    "wrong-table": "the output projection is tied to something that is not the token table",
    "wrong-rows": "rows of the table are mixed up or changed on the way",
    "wrong-columns": "columns of the table are mixed up or changed on the way",
    "not-transposed": "the table is used the wrong way round",
    "partial-tie": "only a part of the table is shared",
    "undeclared-scale": "a scale that was not declared",
    "undeclared-bias": "an output bias that was not declared",
    "undeclared-softcap": "a cap on the logits that was not declared",
    "undeclared-padding": "more or fewer logits than the table has rows, which was not declared",
    "undeclared-normalization": "log-probabilities instead of logits, which was not declared",
    "undeclared-frozen": "the table does not train, which was not declared",
    "declared-but-absent": "something was declared that the model does not do",
    "reduced-precision": "one use reads the table rounded to a lower precision",
    "adapter-on-one-use": "only one of the two uses sees an adapter or re-parametrization",
    "listed-twice": "the table is listed, and would be updated, twice",
    "not-listed": "the table is missing from what the optimizer is given",
    "miscounted": "the number of parameters is not what it should be",
    "not-synchronized": "parallel ranks hold different tables",
    "bad-initialization": "the loss at initialization is far from that of a uniform guess",
    "nondeterministic": "the same input gives different logits",
    "unknown": "a failure that no known cause explains",
}

LOST = {
    "lost-on-deepcopy": "the tie is lost by copying",
    "lost-on-pickle": "the tie is lost by pickling",
    "lost-on-cast": "the tie is lost by a cast to another dtype",
    "lost-on-load": "the tie is lost by loading",
    "lost-on-load-assign": "the tie is lost by load_state_dict(assign=True)",
    "lost-on-train-mode": "the tie is lost by train() or eval()",
    "lost-on-resize": "the tie is lost by resizing the vocabulary",
    "lost-on-materialize": "the tie is lost by building on the meta device and materializing",
    "lost-on-save": "the tie is lost by saving",
    "lost-on-step": "the tie is lost by an optimizer step",
    "lost-on-move": "the tie is lost by a move to another device",
    "lost-on-freeze": "the tie is lost by freezing or thawing",
    "lost-on-compile": "the tie is lost by torch.compile",
    "lost-on-export": "the tie is lost by torch.export",
    "lost-on-safetensors": "the tie is lost by saving as safetensors",
    "lost-on-load-partial": "the tie is lost by loading a state dict that has one of the two keys",
    "lost-on-load-two-tables": "a state dict with two different tables is loaded without a word",
    "lost-on-optimizer-state": "the tie is lost by taking a stored training up again",
    "lost-on-averaged": "the tie is lost in the averaged weights",
    "lost-on-checkpointing": "the tie is lost by gradient checkpointing",
    "lost-on-functional-call": "the tie is lost when the model is called with other parameters",
    "lost-on-parametrize": "the tie is lost by a parametrization",
    "lost-on-weight-norm": "the tie is lost by weight norm",
    "lost-on-prune": "the tie is lost by pruning",
    "lost-on-quantize": "the tie is lost by torch's quantization",
    "lost-on-pretrained": "the tie is lost by save_pretrained and from_pretrained",
}


def plain_words(cause: str) -> str:
    """The cause for somebody who does not know our words for causes."""
    known = CAUSES.get(cause) or LOST.get(cause)
    if known:
        return known
    if cause.startswith("lost-on-"):
        return f"the tie is lost by the operation {cause.removeprefix('lost-on-')}"
    return cause


def named(cause: Diagnosis) -> str:
    """What people read for a cause."""
    return cause.title or plain_words(cause.cause)


def clean_lines(text: str) -> str:
    """`clean`, line by line: our own sentences may run over lines."""
    return "\n".join(map(clean, text.split("\n")))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    names = list(known)
    hits = difflib.get_close_matches(word.lower(), names, n=1)
    if not hits and word:
        # `one-memory` for `storage.one-memory`, `grad` for `gradient`
        hits = [name for name in names if name.endswith(f".{word}") or name.startswith(word)][:1]
    return hits[0] if hits else None


def link(bug: str) -> str:
    """Where ``OWNER/REPO#NUMBER`` is read; GitHub finds a pull request there, too."""
    repository, _, number = bug.partition("#")
    return f"https://github.com/{repository}/issues/{number}" if number.isdigit() else bug


def lookup(word: str) -> Sequence[Requirement]:
    """The requirement of that id, or those of that chapter; LookupError says what was probably meant."""
    from .requirement import requirements

    every = requirements()
    hits = [item for item in every if word in (item.id, item.chapter)]
    if not hits:
        hit = nearest(word, dict.fromkeys([*(item.chapter for item in every), *(item.id for item in every)]))
        hint = f"did you mean {hit}?" if hit else "`tiecheck spec` lists them"
        raise LookupError(f"{word!r} names no requirement and no chapter; {hint}")
    return hits
