"""`tiecheck spec ID`, for somebody who knows none of its words: examples that run, and no letter or word unexplained."""

import contextlib
import io
import re
import warnings
from pathlib import Path

import pytest
from hand_made import SPECIFICATION, failing
from tiecheck.conformance import causes, explain, glossary, terminal
from tiecheck.conformance.report import Diagnosis, Result
from tiecheck.conformance.requirement import Requirement, requirements

EVERY = requirements()
each = pytest.mark.parametrize("item", EVERY, ids=[item.id for item in EVERY])
PROMISE = "  # -> "


def screen(item: Requirement, width: int | None = None) -> str:
    """What `tiecheck spec` shows of it, without colour."""
    return re.sub(r"\x1b\[[0-9;]*m", "", terminal.specification([item], width=width))


@each
def test_the_example_runs_and_prints_what_it_says(item: Requirement) -> None:
    lines = item.example.splitlines()
    promised = [line.partition(PROMISE)[2] for line in lines if PROMISE in line]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(item.example, item.id, "exec"), {"__name__": "example"})
    assert printed.getvalue().splitlines() == promised
    assert len(set(promised)) > 1, "what is broken prints the same as what holds"
    assert len(lines) <= 12 and max(map(len, lines)) <= 90
    assert any(line.startswith("# broken") for line in lines)
    assert "tiecheck" not in item.example


@each
def test_why_is_plain_and_short(item: Requirement) -> None:
    assert 40 < len(item.why) < 260 and item.why.endswith(".")
    assert item.why.count(". ") <= 2


@each
def test_every_letter_of_the_formula_is_explained(item: Requirement) -> None:
    explained = glossary.legend(item.formula)
    spans = [m.span() for letter in explained for m in glossary._SEEN[letter].finditer(item.formula)]
    for name in re.finditer(r"(?<!')[A-Za-z]+(?:_[A-Za-z]+)*'?", item.formula):
        # A letter, a letter with an index, or what something is put into, such as count(...); the rest is English.
        letter = re.fullmatch(r"[A-Za-z]'?|\w+_\w+", name[0]) and name[0] != "a"
        if letter or item.formula[name.end() :].startswith("("):
            assert any(start <= name.start() and name.end() <= end for start, end in spans), (name[0], explained)
    shown = screen(item)
    explained |= glossary.prose_legend(item.statement)
    assert all(f"\n  {letter} " in shown and meaning in shown for letter, meaning in explained.items())


@each
def test_every_word_that_is_shown_is_explained(item: Requirement) -> None:
    shown = screen(item)
    above = shown.partition("example: runs")[0]
    letters = glossary.legend(item.formula)
    for word, meaning in glossary.words(above).items():
        assert meaning in shown or word in letters or f"{word}s" in letters


@each
def test_one_screen(item: Requirement) -> None:
    lines = screen(item, 100).splitlines()
    assert len(lines) <= 60 and max(map(len, lines)) <= 100
    # The example stands at the margin and unfolded, to be copied.
    assert item.example in "\n".join(lines)
    assert max(len(line) for line in screen(item, 50).splitlines()) <= 50
    plain = screen(item)
    assert "\x1b" not in terminal.specification([item]) and item.why in plain
    assert f"tiecheck run FILE.py:FACTORY --select {item.id} " in plain
    if item.bug:
        assert f" {explain.link(item.bug)}\n" in plain and explain.link(item.bug).startswith("https://github.com/")


def test_the_overview_and_a_chapter_stay_one_line_each() -> None:
    for chosen in (None, explain.lookup("gradient")):
        text = terminal.specification(chosen)
        for item in EVERY if chosen is None else chosen:
            (line,) = [line for line in text.splitlines() if line.split()[:1] == [item.id]]
            assert line.endswith(item.statement)


def test_a_requirement_of_somebody_else_needs_neither_why_nor_example() -> None:
    text = screen(SPECIFICATION[0])
    assert "why it matters" not in text and "example: runs" not in text and "The model gives logits." in text


def test_the_glossary_has_no_word_that_nothing_uses() -> None:
    assert set(glossary._FORMS) <= set(glossary.WORDS)
    table = Path(causes.__file__)
    sources = [path.read_text() for path in (table, *(table.parent / "chapters").glob("*.py"))]
    tables = (explain.CAUSES, explain.LOST, explain.CHAPTERS, explain.DECLARED)
    texts = [*sources, *(text for table in tables for text in table.values())]
    texts += [item.id.partition(".")[2] for item in EVERY]
    assert set(glossary.WORDS) == set(glossary.words(" ".join(texts) + " memory 7"))
    used = {letter for item in EVERY for letter in glossary.legend(item.formula)}
    assert set(glossary.LETTERS) == used


def test_words_are_told_from_names_and_from_other_words() -> None:
    for text in ("head.weight = embedding.weight", "models/head/token.py:3", "my_table", "storage.one-memory"):
        assert glossary.words(text) == {} and glossary.prose_legend(text) == {}
    assert "projection" in glossary.words("the output projection.")
    assert "share" not in glossary.words("what two names share") and "share" in glossary.words("the lookup's share")
    assert list(glossary.prose_legend("Logits are h E^T alone, in self.E.weight")) == ["E", "h", "^T"]
    assert list(glossary.legend("f(ids) as before")) == ["ids", "f(ids)"]


def test_a_failure_explains_its_words_and_points_to_its_requirement() -> None:
    where = {"lookup": "parameter emb.weight (memory 0, offset 0)"}
    report = failing(
        diagnosis=(
            Diagnosis("equal-copy", "Both uses read one region of memory.", "share the parameter", ("storage.x",)),
            Diagnosis("unknown", "A cotangent is lost.", "", ("storage.y",)),
        ),
        results=(Result("storage.x", "MUST", "fail", "two places", where), Result("storage.y", "MUST", "fail", "lost")),
    )
    text = terminal.drawn(report)
    for word in ("region", "offset", "memory N", "parameter"):
        assert text.count(f"{word}: {glossary.WORDS[word]}\n") == 1
    assert "cotangent:" not in text, "only the first cause is explained in full"
    assert "tiecheck spec storage.x explains" in text and "tiecheck spec storage.y" not in text
    assert text.index("offset:") < text.index("2. ")
