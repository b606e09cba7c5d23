"""Does every finding still reproduce? ``python docs/findings/run.py [LIBRARY]...``: all whose library is installed.

The table in README.md names the findings and their libraries. A finding's first block of Python runs in a process of its
own, and must print the first block of text. Exit status 1: one prints something else, or says nothing of what to expect.
2: no finding is of that library, or none of those that were asked for can run here.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
_ROW = re.compile(r"^\| \[[^\]]+\]\((?P<file>[^)]+\.md)\) \| (?P<library>\S+) (?P<version>\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    """A row of the table, with the two blocks of its file; a block that is not there is ""."""

    file: str
    library: str
    version: str
    code: str
    output: str

    @property
    def missing(self) -> list[str]:
        """The packages that its code imports and that are not installed here."""
        tree = ast.walk(ast.parse(self.code))
        names = {a.name for node in tree if isinstance(node, ast.Import) for a in node.names}
        names |= {n.module for n in ast.walk(ast.parse(self.code)) if isinstance(n, ast.ImportFrom) and n.module}
        return sorted(name for name in {name.partition(".")[0] for name in names} if find_spec(name) is None)


def findings(folder: Path = HERE) -> list[Finding]:
    """Every finding of the table."""
    out = []
    for row in _ROW.finditer((folder / "README.md").read_text("utf-8")):
        text = (folder / row["file"]).read_text("utf-8")
        code, output = (_block(text, kind) for kind in ("python", "text"))
        out.append(Finding(row["file"], row["library"], row["version"], code, output))
    return out


def _block(text: str, kind: str) -> str:
    found = re.search(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def fault(finding: Finding) -> str:
    """Why a finding does not reproduce, or ""."""
    if not finding.code or not finding.output:
        return "has no block of Python, or no block of text with what that prints"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", finding.code]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    if done.returncode == 0 and _lines(done.stdout) == _lines(finding.output):
        return ""
    error = f"\n{done.stderr.strip()}" if done.returncode else ""
    return f"no longer reproduces: it prints\n{done.stdout.rstrip()}{error}\ninstead of\n{finding.output.rstrip()}"


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "?"


def main(arguments: list[str] | None = None) -> int:
    """Runs those that were asked for, or all; returns the exit status."""
    parser = argparse.ArgumentParser(description="run the reproductions of docs/findings")
    parser.add_argument("library", nargs="*", help="as the table spells it; none: every library")
    asked = parser.parse_args(arguments).library
    chosen = [finding for finding in findings() if not asked or finding.library in asked]
    ran = failed = 0
    for finding in chosen:
        if finding.missing:
            print(f"skip  {finding.file}: not installed here: {', '.join(finding.missing)}")
            continue
        said = fault(finding)
        ran, failed = ran + 1, failed + bool(said)
        version = _version(finding.library)
        other = "" if version == finding.version else f" (found in {finding.version}, here is {version})"
        print(f"{'FAIL' if said else 'ok  '}  {finding.file}{other}{': ' if said else ''}{said}", flush=True)
    if asked and not ran:
        print(f"no finding of {', '.join(asked)} could be run here", file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
