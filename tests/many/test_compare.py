"""`tiecheck compare`: what got worse, what got better, and files that are no reports."""

import copy
import json

import pytest
from tiecheck.conformance import check
from tiecheck.conformance.cli import main
from tiecheck.conformance.comparison import compared
from tiecheck.conformance.report import matrix


@pytest.fixture(scope="module")
def stored():
    return check("numpy", profile="quick").to_dict()


def rows(report):
    return {(report["target"], report["declared"]): report}


def changed(report, id, verdict):
    out = copy.deepcopy(report)
    for result in out["results"]:
        if result["id"] == id:
            result["verdict"] = verdict
    return out


def test_equal_reports_have_no_changes(stored):
    assert compared(rows(stored), rows(stored)) == ()


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("pass", "fail", "worse"),
        ("pass", "error", "worse"),
        ("pass", "skip", "worse"),
        ("pass", "xfail", "worse"),
        ("xfail", "fail", "worse"),
        ("skip", "fail", "worse"),
        ("fail", "pass", "better"),
        ("xfail", "pass", "better"),
        ("skip", "pass", "better"),
        ("fail", "skip", "better"),
        ("skip", "xfail", "other"),
    ],
)
def test_what_a_change_is(stored, before, after, kind):
    old, new = (changed(stored, "storage.one-memory", verdict) for verdict in (before, after))
    (change,) = compared(rows(old), rows(new))
    assert (change.kind, change.before, change.after, change.id) == (kind, before, after, "storage.one-memory")


def test_a_target_that_is_missing_is_worse_and_a_new_one_where_it_fails(stored):
    assert compared(rows(stored), {})[0].worse
    assert compared({}, rows(stored))[0].kind == "other"
    assert compared({}, rows({**stored, "conforms": False}))[0].worse


def test_the_command(stored, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    bad = {**changed(stored, "storage.one-memory", "fail"), "conforms": False}
    (tmp_path / "old.json").write_text(json.dumps(stored))
    (tmp_path / "new.json").write_text(json.dumps({**matrix(()), "rows": [bad]}))
    assert main(["compare", "old.json", "old.json"]) == 0
    assert "nothing changed" in capsys.readouterr()[0]
    assert main(["compare", "old.json", "new.json"]) == 1
    assert "2 worse" in capsys.readouterr()[0]
    assert main(["compare", "new.json", "old.json"]) == 0
    assert "2 better" in capsys.readouterr()[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "nan",
        '{"schema": "tiecheck/report/1"}',
        '{"schema": "tiecheck/report/1", "complete": true}',
        "[" * 9999,
    ],
)
def test_a_file_that_is_no_report_is_bad_input(text, stored, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.json").write_text(json.dumps(stored))
    (tmp_path / "new.json").write_text(text)
    for words in (["old.json", "new.json"], ["new.json", "old.json"], ["old.json", "none.json"], ["old.json", "."]):
        assert main(["compare", *words]) == 2
        out, err = capsys.readouterr()
        assert not out and len(err.splitlines()) == 1
