"""Reports made by hand, so that the views are tested without a run."""

from dataclasses import replace
from typing import Any

from tiecheck.conformance.report import Both, Cost, Diagnosis, Report, Result
from tiecheck.conformance.requirement import Requirement, passed

ENVIRONMENT = {
    "python": "3.11.0",
    "platform": "Linux-x86_64",
    "device": "cpu",
    "dtype": "float32",
    "packages": {"torch": "2.11.0", "numpy": "2.0.0"},
}

SPECIFICATION = (
    Requirement("subject.runs", "MUST", "The model gives logits.", "L is finite", "section 1", lambda case: passed("")),
    Requirement(
        "storage.one-memory",
        "MUST",
        "Both uses read one region of memory.",
        "storage(E_in) = storage(E_out)",
        "section 1",
        lambda case: passed(""),
        bug="example/project#12",
    ),
    Requirement("storage.other", "SHOULD", "It is nice.", "a = b", "section 1", lambda case: passed("")),
    Requirement(
        "gradient.sum", "MUST", "The gradient is the sum.", "dE = dE_in + dE_out", "X", lambda case: passed("")
    ),
)


def conforming(**changes: Any) -> Report:
    """A report in which everything passed, or was not asked."""
    made = Report(
        tiecheck="0.1.0",
        target="reference",
        declared="tied",
        conforms=True,
        environment=ENVIRONMENT,
        profile="standard",
        seed=0,
        results=(
            Result("subject.runs", "MUST", "pass", "ran on 3 shapes"),
            Result("storage.one-memory", "MUST", "pass", "one region"),
            Result("storage.other", "SHOULD", "pass", "nice"),
            Result("gradient.sum", "MUST", "skip", "the subject gives no gradients"),
        ),
        cost=Cost(1.25, 12, 7, 4096),
        replay="tiecheck run reference --seed 0",
    )
    return replace(made, **changes)


def failing(**changes: Any) -> Report:
    """A report with a MUST that failed, a SHOULD that failed, and a cause for each."""
    made = conforming(
        target="models.py:make",
        conforms=False,
        results=(
            Result("subject.runs", "MUST", "pass", "ran on 3 shapes"),
            Result(
                "storage.one-memory",
                "MUST",
                "fail",
                "head.weight holds the values of emb.weight in memory of its own",
                {"row": 3, "expected": 0.5, "seen": 0.25},
            ),
            Result("storage.other", "SHOULD", "fail", "not nice"),
            Result("gradient.sum", "MUST", "skip", "not selected"),
        ),
        diagnosis=(
            Diagnosis(
                "equal-copy",
                "expected one matrix, seen two of equal values",
                "model.head.weight = model.emb.weight",
                ("storage.one-memory",),
                True,
                "models.py:12",
            ),
            Diagnosis("miscounted", "an unused table is counted", "del model.unused", ("storage.other",)),
        ),
        notes=("the weights are random",),
        replay="tiecheck run models.py:make --seed 0",
    )
    return replace(made, **changes)


def both() -> Both:
    """A tied report that conforms and an untied one that does not."""
    return Both((conforming(), failing(declared="untied")))


def is_one_sentence(text: str) -> bool:
    """One line that starts as ours do, without a traceback."""
    return text.startswith("tiecheck: ") and text.count("\n") == 1 and text.endswith("\n") and "Traceback" not in text
