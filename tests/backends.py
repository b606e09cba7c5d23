"""Every backend's own environment, one after the other, and a table of how each ended. Run by ``tox -e backends``.

    python tests/backends.py [ENVIRONMENT]...

An environment whose packages cannot be installed here is told apart from one whose judgement fails.
"""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def environments() -> list[str]:
    """Every environment of tox.ini that installs a backend's pins."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini")
    names = [section.removeprefix("testenv:") for section in parser.sections() if section.startswith("testenv:")]
    return [name for name in names if "{[backend]pytest}" in parser[f"testenv:{name}"].get("commands", "")]


def _tox(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tox", "run", "--workdir", str(ROOT / ".tox"), *options, "-e", name]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(name: str) -> tuple[str, str]:
    """How one ended, and the last line that pytest printed of it."""
    installed = _tox(name, "--notest")
    if installed.returncode:
        return "not installed", _last(installed.stdout)
    done = _tox(name)
    counts = re.findall(r"^.*\d+ (?:passed|failed|xfailed|skipped|error).* in .*$", done.stdout, re.MULTILINE)
    line = counts[-1].strip("= ") if counts else _last(done.stdout)
    return ("as expected" if done.returncode == 0 and counts else "FAILS"), line


def _last(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]


def main() -> int:
    names = sys.argv[1:] or environments()
    unknown = [name for name in names if name not in environments()]
    if unknown:
        sys.exit(f"no environment of a backend is called {unknown[0]}; there are {', '.join(environments())}")
    rows = []
    for name in names:
        began = time.monotonic()
        word, line = ended(name)
        rows.append((name, word, f"{time.monotonic() - began:.0f} s", line))
        print(f"{name}: {word}: {line}", flush=True)
    print()
    print("| environment | verdict | seconds | what pytest counted |")
    print("| --- | --- | --- | --- |")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    return 1 if any(word == "FAILS" for _, word, _, _ in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
