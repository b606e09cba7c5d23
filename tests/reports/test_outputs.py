"""The files of a run: refused early, written together, or none of them."""

import errno
import json
import os
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hand_made import both, conforming, failing, is_one_sentence
from tiecheck.conformance.errors import NotJudged
from tiecheck.conformance.outputs import VIEWS

VIEW_OPTIONS = [f"--{view}" for view in VIEWS]
pytestmark = pytest.mark.usefixtures("fake_run")


def options(folder, *views):
    return [word for view in views or VIEWS for word in (f"--{view}", folder / f"r.{view}")]


@pytest.mark.parametrize("outcome", [conforming(), failing(), both()])
def test_all_views_of_one_run(fake_run, tiecheck, tmp_path, outcome):
    fake_run.outcome = outcome
    status, _, err = tiecheck("run", "x:y", *options(tmp_path))
    assert (status, err) == (outcome.exit_status, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"r.{view}" for view in VIEWS)
    assert json.loads((tmp_path / "r.json").read_text()) == outcome.to_dict()
    assert ET.parse(tmp_path / "r.junit").getroot().tag == "testsuites"
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "r.markdown").read_text().startswith("### ")


@pytest.mark.parametrize("option", VIEW_OPTIONS)
@pytest.mark.parametrize("name", ["", ".", "no/such/folder/r", "/proc/r", "n" * 300], ids=lambda name: name[:9] or "no")
def test_what_cannot_be_written_is_noticed_before_the_run(fake_run, tiecheck, tmp_path, monkeypatch, option, name):
    monkeypatch.chdir(tmp_path)
    status, out, err = tiecheck("run", "x:y", "--json", "first.json", option, name)
    assert status == 2 and out == "" and is_one_sentence(err)
    assert fake_run.target is None and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", VIEW_OPTIONS)
def test_a_read_only_file_is_noticed_before_the_run(fake_run, tiecheck, tmp_path, monkeypatch, option):
    (tmp_path / "r").write_text("old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the superuser may write to it all the same
    status, _, err = tiecheck("run", "x:y", option, tmp_path / "r")
    assert status == 2 and is_one_sentence(err) and fake_run.target is None


def test_two_reports_in_one_file_are_refused(fake_run, tiecheck, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").write_text("")
    (tmp_path / "link").symlink_to("old")
    os.link(tmp_path / "old", tmp_path / "hard")
    for second in ("old", "./old", tmp_path / "old", "link", "hard"):
        status, _, err = tiecheck("run", "x:y", "--json", "old", "--html", second)
        assert status == 2 and is_one_sentence(err) and "--json and --html" in err
    assert fake_run.target is None


def test_what_the_run_reads_is_never_replaced(fake_run, tiecheck, tmp_path):
    code, known = tmp_path / "m.py", tmp_path / "known.toml"
    code.write_text("def make(): ...")
    known.write_text("")
    for file in (code, known):
        before = file.read_text()
        for option in VIEW_OPTIONS:
            status, _, err = tiecheck("run", f"{code}:make", "--expected-failures", known, option, file)
            assert status == 2 and is_one_sentence(err) and file.read_text() == before
    assert fake_run.target is None


@pytest.mark.parametrize("old", [True, False], ids=["over old reports", "anew"])
@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_all_or_none(fake_run, tiecheck, tmp_path, monkeypatch, call, old):
    fake_run.outcome = failing()
    for view in VIEWS if old else ():
        (tmp_path / f"r.{view}").write_text("old")
    real, calls = os.replace, []

    def full(source, final):
        calls.append(final)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, final)

    monkeypatch.setattr(os, "replace", full)
    status, out, err = tiecheck("run", "x:y", *options(tmp_path))
    assert status == 2 and out == "" and is_one_sentence(err) and "No space left" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == (sorted(f"r.{view}" for view in VIEWS) if old else [])
    assert all(path.read_text() == "old" for path in tmp_path.iterdir())


def test_a_full_device_leaves_the_other_reports_as_they_were(fake_run, tiecheck, tmp_path):
    status, out, err = tiecheck("run", "x:y", *options(tmp_path, "json", "html"), "--junit", "/dev/full")
    assert status == 2 and out == "" and is_one_sentence(err) and list(tmp_path.iterdir()) == []
    assert not Path("/dev/full").is_file()


def test_nothing_judged_writes_nothing(fake_run, tiecheck, tmp_path):
    fake_run.outcome = NotJudged("no")
    assert tiecheck("run", "x:y", *options(tmp_path))[0] == 2
    assert list(tmp_path.iterdir()) == []


def test_the_target_may_change_the_folder(fake_run, tiecheck, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "known.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    fake_run.during = lambda: os.chdir("in")
    names = [str(word) for word in options(Path())]
    assert tiecheck("run", "x:y", *names, "--expected-failures", "known.toml")[0] == 0
    assert all((tmp_path / f"r.{view}").exists() for view in VIEWS)
