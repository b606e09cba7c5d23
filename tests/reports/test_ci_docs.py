"""The examples of ``docs/ci.md``, each in an empty repository of its own."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tiecheck.conformance as conformance
import yaml
from runner import ACTION, ROOT, ran

PAGE = (ROOT / "docs" / "ci.md").read_text()
FILES = dict(re.findall(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))


@pytest.fixture
def repository(tmp_path):
    """Write files of the page into an empty git repository, committed."""

    def make(*names):
        folder = tmp_path / "repository"
        for name in names:
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(FILES[name])
        who = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false"]
        for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "first", "--no-verify"]):
            subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
        return folder

    return make


def call(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=300)


def wanted(name: str) -> None:
    if name not in conformance.__all__:
        pytest.skip(f"tiecheck.conformance has no {name}")


def test_every_file_is_tried():
    assert set(FILES) == {
        "model.py", "test_tie.py", ".github/workflows/tests.yml", ".github/workflows/tie.yml", "exported.py",
        "known.toml", "train.py", ".pre-commit-config.yaml",
    }  # fmt: skip


def test_pytest_in_a_models_repository(repository):
    wanted("parametrize_with_requirements")
    folder = repository("model.py", "test_tie.py", ".github/workflows/tests.yml")
    workflow = yaml.safe_load((folder / ".github/workflows/tests.yml").read_text())
    command = workflow["jobs"]["tests"]["steps"][-1]["run"]
    done = call(folder, *shlex.split(command)[1:])
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout + done.stderr
    (folder / "model.py").write_text(FILES["model.py"].replace("head.weight = self.emb", "head.copied = self.emb"))
    done = call(folder, *shlex.split(command)[1:])
    assert done.returncode == 1 and "storage.one-memory" in done.stdout, done.stdout + done.stderr


def gate(folder: Path) -> tuple[int, str]:
    """The status of the gate's own step with the inputs that the workflow gives, and the summary."""
    workflow = yaml.safe_load((folder / ".github/workflows/tie.yml").read_text())
    # YAML 1.1 reads the key `on` as true.
    assert workflow[True] == "pull_request" and workflow["permissions"] == {"contents": "read"}
    (step,) = [s for s in workflow["jobs"]["tie"]["steps"] if s.get("uses", "").startswith("OWNER/tiecheck@")]
    done = ran("Judge", folder, step["with"])
    return done.status, done.summary


def test_the_gate(repository):
    folder = repository("model.py", "exported.py", "known.toml", ".github/workflows/tie.yml")
    status, summary = gate(folder)
    assert status == 0 and summary.startswith("### ✅ conforms: ") and "1 failed as expected" in summary, summary
    code = folder / "exported.py"
    code.write_text(code.read_text().replace("    exported.head.bias", "    # exported.head.bias"))
    status, summary = gate(folder)
    assert status == 1 and "projection.bias passes, though it is expected to fail" in " ".join(summary.split())
    (folder / "known.toml").write_text("nonsense")
    assert gate(folder)[0] == 2


def test_the_end_of_a_training_script(repository):
    wanted("assert_tied")
    folder = repository("model.py", "train.py")
    done = call(folder, "train.py")
    assert done.returncode == 0 and done.stdout.startswith("conforms: "), done.stdout + done.stderr
    assert (folder / "model.pt").exists() and (folder / "tie.html").read_text().startswith("<!doctype html>")
    (folder / "model.py").write_text(FILES["model.py"].replace("head.weight = self.emb", "head.copied = self.emb"))
    assert call(folder, "train.py").returncode == 1


def test_the_hook_of_the_page(repository):
    folder = repository("model.py", ".pre-commit-config.yaml")
    (repo,) = yaml.safe_load((folder / ".pre-commit-config.yaml").read_text())["repos"]
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    (used,) = repo["hooks"]
    assert used["id"] == hook["id"] and hook["entry"].startswith("tiecheck ")
    words = ["-m", "tiecheck.conformance.cli", *hook["entry"].split()[1:], *used["args"]]
    done = call(folder, *words)
    assert done.returncode == 0 and done.stdout.startswith("conforms: "), done.stderr
    (folder / "model.py").write_text(FILES["model.py"].replace("head.weight = self.emb", "head.copied = self.emb"))
    assert call(folder, *words).returncode == 1


def test_the_pages_tables_name_what_there_is(tmp_path):
    from tiecheck.conformance.expectations import KEYS, load

    inputs = set(re.findall(r"^\| `([\w-]+)` \| ", PAGE, re.MULTILINE))
    assert inputs == set(ACTION["inputs"])
    (tmp_path / "e.toml").write_text(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[-1])
    (entry,) = load(tmp_path / "e.toml").entries
    assert all(getattr(entry, key) for key in KEYS)
