"""The adapter that the documentation shows is complete: it is installed as somebody would, and judges its framework."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "adapters.md"
METADATA = "Metadata-Version: 2.1\nName: tiecheck-scalarlib\nVersion: 0.1\n"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as pip leaves it: two modules and the metadata of the distribution that names the entry point."""
    import tomllib

    folder = tmp_path_factory.mktemp("site")
    library, adapter = blocks("python")
    (folder / "scalarlib.py").write_text(library)
    (folder / "tiecheck_scalarlib.py").write_text(adapter)
    points = tomllib.loads(blocks("toml")[0])["project"]["entry-points"]["tiecheck.adapters"]
    info = folder / "tiecheck_scalarlib-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(
        "[tiecheck.adapters]\n" + "".join(f"{name} = {module}\n" for name, module in points.items())
    )
    return folder


def run(installed: Path, *words: str) -> tuple[int, str, str]:
    path = os.pathsep.join(p for p in (str(installed), os.environ.get("PYTHONPATH", "")) if p)
    done = subprocess.run(
        [sys.executable, "-m", "tiecheck.conformance.cli", *words],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path},
    )
    return done.returncode, done.stdout, done.stderr


def shown() -> list[tuple[str, str]]:
    """Each command of the document with the head line that it shows."""
    return re.findall(r"    \$ tiecheck (run .*)\n    (.*)\n", DOCUMENT.read_text())


def test_the_adapter_is_short() -> None:
    lines = blocks("python")[1].splitlines()
    assert len(lines) < 40 and max(map(len, lines)) <= 120


@pytest.mark.parametrize(("command", "headline"), shown())
def test_each_head_line_of_the_document_is_what_is_printed(installed: Path, command: str, headline: str) -> None:
    status, out, err = run(installed, *command.split())
    assert out.splitlines()[0] == headline, err
    assert status == (0 if headline.startswith("conforms") else 1)


def test_the_document_shows_a_right_model_and_a_wrong_one() -> None:
    words = [headline.partition(":")[0] for _, headline in shown()]
    assert set(words) == {"conforms", "does not conform"}


def test_the_framework_is_listed(installed: Path) -> None:
    status, out, _ = run(installed, "list")
    assert status == 0 and "scalarlib:tied, scalarlib:untied" in out


def test_an_unknown_name_is_one_sentence(installed: Path) -> None:
    status, out, err = run(installed, "run", "scalarlib:bert")
    assert status == 2 and not out and "scalarlib has no model 'bert'" in err and len(err.splitlines()) == 1


def test_a_factory_of_the_framework_is_judged(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from scalarlib import Model\n")
    status, out, err = run(installed, "run", f"{tmp_path / 'mine.py'}:Model")
    assert status == 0 and out.startswith("conforms: "), err
