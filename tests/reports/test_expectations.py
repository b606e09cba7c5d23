"""Expected failures: what the file may say, what it does to a report, and which of its faults end how."""

from dataclasses import replace

import pytest
from hand_made import ENVIRONMENT, both, conforming, failing
from jsonschema import Draft202012Validator
from tiecheck.conformance import NotJudged, check
from tiecheck.conformance.expectations import Expectations, Expected, applied, apply, load
from tiecheck.conformance.html import html
from tiecheck.conformance.junit import junit
from tiecheck.conformance.markdown import markdown
from tiecheck.conformance.report import EXPECTED, Result
from tiecheck.conformance.schemas import load as schema
from tiecheck.conformance.terminal import drawn

pytestmark = pytest.mark.usefixtures("specified")
ONE = "storage.one-memory"


def expecting(*entries):
    """Expectations of (id, reason, target, device), what is left out left out."""
    return Expectations("known.toml", tuple(Expected(n, *entry) for n, entry in enumerate(entries, 1)))


def by_id(report):
    return {result.id: result for result in report.results}


def valid(report):
    Draft202012Validator(schema("report-1")).validate(report.to_dict())
    return report


def test_an_expected_failure_does_not_count():
    report = valid(apply(failing(), expecting((ONE, "issue 12"))))
    assert report.conforms and report.exit_status == 0 and report.summary["xfail"] == 1
    result = by_id(report)[ONE]
    assert result.verdict == "xfail" and result.message.endswith("(expected to fail: issue 12)")
    assert result.counterexample == by_id(failing())[ONE].counterexample
    assert report.headline == "conforms: 3 of 4 requirements apply, 1 passed, 1 failed as SHOULD, 1 failed as expected"
    # The SHOULD that nobody expected is explained first.
    assert [cause.cause for cause in report.diagnosis] == ["miscounted", "equal-copy"]
    assert report.excused(report.diagnosis[1]) == EXPECTED
    for view in (drawn, junit, html, markdown):
        assert "issue 12" in view(report)


def test_the_report_handed_in_is_left_alone():
    before = failing()
    apply(before, expecting((ONE, "issue 12")))
    assert before == failing()


def test_what_is_not_expected_still_fails():
    assert not apply(failing(), expecting(("storage.other", "a SHOULD"))).conforms
    assert not apply(failing(strict=True), expecting((ONE, "issue 12"))).conforms
    assert apply(failing(strict=True), expecting((ONE, "a"), ("storage.other", "b"))).conforms


@pytest.mark.parametrize("id", ["storage.one-memory", "storage.other"])
def test_what_passes_after_all_fails_the_run(id):
    report = valid(apply(conforming(), expecting((id, "issue 12"))))
    assert not report.conforms and report.exit_status == 1
    result = by_id(report)[id]
    assert (result.verdict, result.level) == ("fail", "MUST")
    assert result.message == "expected to fail: issue 12, but it passes: remove the entry from known.toml"
    assert report.diagnosis[0].evidence == (id,) and f"{id} passes, though" in report.diagnosis[0].explanation
    for view in (drawn, junit, html, markdown):
        assert "but it passes" in view(report)
    assert 'failures="1"' in junit(report)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("storage.one-memry", "x")], "entry 1 names no requirement: storage.one-memry; perhaps storage.one-mem"),
        ([("storage", "x")], "entry 1 names no requirement: storage; perhaps storage."),
        ([("*", "x")], "entry 1 names no requirement: *"),
        ([("", "x")], "entry 1 names no requirement: it has no id"),
        ([(ONE, "x"), (ONE, "y")], "entry 2 (storage.one-memory) stands twice: entry 1 speaks of the same"),
        ([(ONE, "x", None, "cuda"), (ONE, "y", "m.py:f", "cuda:1")], "entry 2 (storage.one-memory) stands twice"),
        ([(ONE, "")], "entry 1 (storage.one-memory) gives no reason"),
    ],
)
@pytest.mark.parametrize("report", [conforming(), failing()], ids=["conforming", "failing"])
def test_a_wrong_entry_fails_the_run_and_every_view_says_so(report, entries, words):
    made = valid(apply(report, expecting(*entries)))
    assert not made.conforms and made.exit_status == 1
    assert any(words in cause.explanation for cause in made.diagnosis)
    assert any(cause.fix == "Mend or remove these entries of known.toml" for cause in made.diagnosis)
    for view in (drawn, junit, html, markdown):
        assert "known.toml" in view(made)
    assert "<failure" in junit(made)


def test_the_same_requirement_for_two_targets_or_devices_is_no_repetition():
    entries = [(ONE, "x", "models.py:make", "cpu"), (ONE, "y", "other.py:make"), (ONE, "z", "models.py:make", "cuda")]
    assert apply(failing(), expecting(*entries)).conforms


@pytest.mark.parametrize(
    ("target", "device", "here", "speaks"),
    [
        ("models.py:make", None, "cpu", True),
        ("models.py", None, "cpu", False),
        ("./models.py:make", None, "cpu", False),
        (None, "cpu", "cpu", True),
        (None, "cpu", "cuda:0", False),
        (None, "cuda", "cuda:3", True),
        (None, "cuda:3", "cuda:3", True),
        (None, "cuda:1", "cuda:3", False),
        (None, "cuda", "cpu", False),
    ],
)
def test_whom_an_entry_speaks_of(target, device, here, speaks):
    report = failing(environment={**ENVIRONMENT, "device": here})
    made = apply(report, expecting((ONE, "issue 12", target, device)))
    assert made.conforms is speaks
    assert speaks or any(
        note.startswith("expected failures that were not asked in this run: " + ONE) for note in made.notes
    )
    other = replace(conforming(target="x"), environment={**ENVIRONMENT, "device": "meta"})
    assert apply(other, expecting((ONE, "issue 12", target or "y", device))).conforms  # not stale


@pytest.mark.parametrize(("message", "word"), [("no gradients here", "skipped"), ("not selected", "not selected")])
def test_what_was_not_asked_is_not_stale(message, word):
    report = conforming(results=(*conforming().results[:3], Result("gradient.sum", "MUST", "skip", message)))
    made = apply(report, expecting(("gradient.sum", "issue 12")))
    assert made.conforms and made.notes[-1].endswith(f"gradient.sum ({word})")


def test_a_defect_of_ours_is_never_expected():
    report = conforming(conforms=False, results=(Result(ONE, "MUST", "error", "ZeroDivisionError"),))
    assert apply(report, expecting((ONE, "issue 12"))).exit_status == 3


def test_of_two_builds_one_may_fail():
    made = applied(both(), expecting((ONE, "untied alone")))
    assert made.conforms and [by_id(r)[ONE].verdict for r in made.reports] == ["pass", "xfail"]
    assert not applied(both(), expecting((ONE, "x"), ("subject.runs", "passes in both"))).conforms
    assert applied(both(), None) == both()


GOOD = '[[expected]]\nid = "storage.one-memory"\nreason = "issue 12"\n'


def test_reading(tmp_path):
    file = tmp_path / "known.toml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.encode() + b'target = "m.py:f"\ndevice = "cuda:1"\n')
    assert load(file) == Expectations(str(file), (Expected(1, ONE, "issue 12", "m.py:f", "cuda:1"),))
    assert load(load(file)) == load(file) and load(None) is None
    file.write_text("")
    assert load(file) == Expectations(str(file), ())


@pytest.mark.parametrize("text", ['[[expected]]\nreason = "x"\n', '[[expected]]\nid = "storage.one-memory"\n',
                                  '[[expected]]\n', GOOD + GOOD, GOOD.replace("issue 12", "  ")])  # fmt: skip
def test_what_is_missing_fails_the_run_and_is_no_bad_input(tmp_path, text):
    file = tmp_path / "known.toml"
    file.write_text(text)
    assert not apply(failing(), load(file)).conforms


BAD = {
    "no TOML": "[[expected",
    "a table": GOOD.replace("[[expected]]", "[expected]"),
    "a value": "expected = 1",
    "a list of texts": 'expected = ["storage.one-memory"]',
    "another key": "expcted = 1\n" + GOOD,
    "another table": GOOD + "[tool]\n",
    "another key of an entry": GOOD + 'resaon = "x"\n',
    "a number for a reason": '[[expected]]\nid = "storage.one-memory"\nreason = 12\n',
    "a list of ids": '[[expected]]\nid = ["storage.one-memory"]\nreason = "x"\n',
    "an unknown device": GOOD + 'device = "tpu"\n',
    "a device list": GOOD + 'device = ["cpu"]\n',
    "a number for a target": GOOD + "target = 1\n",
    "a key twice": GOOD + 'id = "storage.other"\n',
    "nested without end": "a = " + "[" * 100_000,
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_understood_is_bad_input(fake_run, tiecheck, tmp_path, name):
    file = tmp_path / "known.toml"
    file.write_text(BAD[name])
    status, out, err = tiecheck("run", "x:y", "--expected-failures", file, "--json", tmp_path / "r.json")
    assert status == 2 and out == "" and err.count("\n") == 1 and str(file) in err, err
    assert fake_run.target is None and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("name", ["none.toml", ".", "", "latin.toml", "nul\0.toml", "n" * 300])
def test_a_file_that_cannot_be_read_is_bad_input(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"\xe9 = 1")
    with pytest.raises(NotJudged):
        load(name)


def test_a_path_is_wanted():
    with pytest.raises(NotJudged, match="path"):
        check("reference", expected_failures=3)


def test_the_command_line_hands_the_file_on(fake_run, tiecheck, tmp_path):
    file = tmp_path / "known.toml"
    file.write_text(GOOD)
    assert tiecheck("run", "x:y", "--expected-failures", file)[0] == 0
    assert fake_run.arguments["expected_failures"] == load(file)
