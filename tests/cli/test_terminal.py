"""The report for people: what stands where, and that nothing in it steers the terminal."""

import re
from dataclasses import replace

import pytest
from hand_made import both, conforming, failing
from tiecheck.conformance import explain, terminal
from tiecheck.conformance.report import Diagnosis, Result
from tiecheck.conformance.schemas import load


def position(text, *words):
    """Where the words stand; each must be there."""
    return [text.index(word) for word in words]


def test_verdict_first_then_notes_cause_table_cost_replay():
    text = terminal.drawn(failing())
    places = position(
        text,
        "does not conform: 3 of 4 requirements apply, 1 passed, 1 failed, 1 failed as SHOULD",
        "models.py:make, declared tied",
        "note: the weights are random",
        "a copy: the two matrices hold the same values in separate memory [equal-copy]",
        "expected one matrix, seen two of equal values",
        "models.py:12",
        "model.head.weight = model.emb.weight",
        "seen by",
        "[miscounted]",
        "FAIL",
        "12 forward, 7 backward passes, 1.2 s",
        "run it again: tiecheck run models.py:make --seed 0",
    )
    assert places == sorted(places) and places[0] == 0


def test_a_fix_says_whether_it_was_tried():
    cause = failing().diagnosis[0]
    for tried, words in ((True, "it then conforms"), (False, "not enough"), (None, None)):
        text = terminal.drawn(failing(diagnosis=(replace(cause, fix_verified=tried),)))
        assert (words in text) if words else ("second instance" not in text)


def test_failures_stand_before_passes_and_must_before_should():
    table = terminal.drawn(failing()).split("seen by", 1)[1]
    places = position(table, "MUST    storage.one-memory", "SHOULD  storage.other", "pass  MUST    subject.runs")
    assert places == sorted(places)
    assert "row 3, expected 0.5, seen 0.25" in table


def test_should_is_explained_unless_strict():
    assert terminal.SHOULD in terminal.drawn(failing())
    assert terminal.SHOULD not in terminal.drawn(failing(strict=True))
    assert terminal.SHOULD not in terminal.drawn(conforming())


def test_a_conforming_run_is_short_and_needs_no_replay():
    text = terminal.drawn(conforming())
    assert text.startswith("conforms: 3 of 4 requirements apply, 3 passed  (reference, declared tied)\n")
    assert "run it again" not in text and "the subject gives no gradients" in text


def test_both():
    text = terminal.drawn(both())
    places = position(text, "conforms: ", "(reference, declared tied)", "does not conform: ", "declared untied)")
    assert places == sorted(places)
    half = replace(both(), reports=(conforming(),), unjudged=(("reference", "the class rejects tied=False"),))
    assert "not judged: reference: the class rejects tied=False" in terminal.drawn(half)
    assert "not judged: reference" in terminal.headlines(half)


def test_many_that_were_not_selected_take_one_line():
    rows = tuple(Result(f"storage.r{i}", "MUST", "skip", "not selected") for i in range(30))
    text = terminal.drawn(conforming(results=(*conforming().results, *rows)))
    assert "30 others" in text and "storage.r7" not in text


NASTY = "a\nFAKE: conforms\r\x1b[2J\x1b]0;title\x07\x9b31m\u202egnp.exe\u2028[red]b[/red]:smile:\udc80"


def nasty_report():
    """Every text that could hold a name of the target holds a hostile one."""
    return failing(
        target=NASTY,
        notes=(NASTY,),
        replay=NASTY,
        environment={"device": NASTY, "dtype": NASTY},
        diagnosis=(
            Diagnosis("equal-copy", NASTY, NASTY, (NASTY,), None, NASTY),
            Diagnosis("unknown", NASTY, NASTY, ()),
        ),
        results=(
            Result("storage.one-memory", "MUST", "fail", NASTY, {NASTY: NASTY}),
            Result("gradient.sum", "MUST", "pass", NASTY),
        ),
    )


@pytest.mark.parametrize("width", [None, 100])
def test_names_of_a_target_cannot_steer_the_terminal(width, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    text = terminal.drawn(nasty_report(), width=width)
    if width:
        text = re.sub(r"\x1b\[[0-9;]*m", "", text)  # our own colours
    assert not set(text) & set("\r\x1b\x07\x9b\u202e\u2028\udc80")
    assert "[red]b[/red]:smile:" in text.replace("\n", "").replace(" ", "")
    if width is None:
        fakes = [line for line in text.splitlines() if line.strip().startswith("FAKE")]
        assert all(
            line.startswith("    ") for line in fakes
        )  # indented under explanation, where or fix; never a line of ours


def test_plain_text_where_it_is_piped(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    long = "word " * 400 + "end"
    report = failing(results=(Result("storage.one-memory", "MUST", "fail", long),))
    text = terminal.drawn(report)
    assert long in text and "\x1b" not in text
    assert not set(text) & set("│┃─━┌└…")
    assert all(line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_messages_are_folded_never_cut(width, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    message = " ".join(f"w{i}" for i in range(120))
    text = terminal.drawn(failing(results=(Result("storage.one-memory", "MUST", "fail", message),)), width=width)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert all(len(line) <= width for line in plain.splitlines())
    if width > 40:
        assert all(f"w{i}" in plain for i in range(120))
    assert "…" not in plain


def test_colour_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in terminal.drawn(failing(), width=80)
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b[" not in terminal.drawn(failing(), width=80)


def test_every_cause_of_the_contract_has_plain_words():
    named, pattern = load("report-1")["$defs"]["cause"]["anyOf"]
    assert set(named["enum"]) == set(explain.CAUSES)
    assert all(re.fullmatch(pattern["pattern"], cause) for cause in explain.LOST)
    assert explain.plain_words("lost-on-something-new") == "the tie is lost by the operation something-new"


def test_every_chapter_has_plain_words():
    from tiecheck.conformance.requirement import CHAPTERS

    assert set(CHAPTERS) == set(explain.CHAPTERS)
