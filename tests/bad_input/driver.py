"""Hands cases to processes of their own, and says what is wrong with an answer."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bad_input.kinds import Kind

HERE = Path(__file__).parent
STEERING = [chr(n) for n in (*range(32), 127, *range(128, 160), 0x202A, 0x202E, 0x2028)]


def answers(kinds: Sequence[Kind], folder: Path) -> list[dict[str, Any]]:
    """What became of each; a process that ends early or hangs is the fault of the case that it was at."""
    out: list[dict[str, Any]] = []
    while len(out) < len(kinds):
        rest = kinds[len(out) :]
        place = folder / str(len(out))
        place.mkdir()
        (place / "cases.json").write_text(json.dumps([_plain(kind) for kind in rest]))
        command = [sys.executable, str(HERE / "isolated.py"), str(place / "cases.json"), str(place)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        limit = 300
        why = ""
        # To files: what a case forks would keep a pipe open.
        with open(place / "answers", "wb") as told, open(place / "errors", "wb") as errors:
            run = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=told, stderr=errors, env=environment, start_new_session=True
            )
            try:
                why = f"the process ended with status {run.wait(limit)}"
            except subprocess.TimeoutExpired:
                why = f"the process hangs ({limit:.0f} s)"
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(run.pid, signal.SIGKILL)  # with what it forked
                run.wait()
        lines = [json.loads(line) for line in (place / "answers").read_text().splitlines()]
        assert lines, (why, (place / "errors").read_text(errors="replace")[-3000:])
        found = [line for line in lines if "number" in line]
        out += found
        if len(found) < len(rest):
            why += f": {(place / 'errors').read_text(errors='replace')[-1500:]}"
            out.append({"dead": why})
    return out


def _plain(kind: Kind) -> dict[str, Any]:
    def packed(content: str | bytes | None) -> str | None:
        if content is None:
            return None
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        return base64.b64encode(data).decode()

    return {"words": kind.words, "files": {name: packed(content) for name, content in kind.files.items()}}


def faults(kind: Kind, answer: dict[str, Any]) -> list[str]:
    """What is wrong: one sentence on standard error, the right status, nothing left, nothing changed."""
    if "dead" in answer:
        return [answer["dead"]]
    out = []
    lines = answer["err"].split("\n")
    said = lines[-2] if len(lines) > 1 else ""
    if answer["problem"]:
        out.append(answer["problem"])
    if answer["status"] not in kind.statuses:
        out.append(f"status {answer['status']} instead of {kind.statuses}: {answer['err'][-600:]}")
    if "Traceback (most" in answer["err"] and not kind.noisy and "\\r\\nTraceback" not in said:
        out.append(f"a traceback: {answer['err']}")
    if answer["status"] == 2:
        if answer["out"]:
            out.append(f"standard output holds {answer['out']!r}")
        if not said.startswith("tiecheck: ") or (len(lines) != 2 and not kind.noisy):
            out.append(f"not one sentence: {answer['err']!r}")
        if any(char in said for char in STEERING):
            out.append(f"it steers the terminal: {said!r}")
        if len(said) > 700:
            out.append(f"it is no sentence of {len(said)} characters")
        if kind.says not in said:
            out.append(f"{kind.says!r} is not said: {said}")
        if answer["new"]:
            out.append(f"left behind: {answer['new']}")
    elif any(char in answer["out"].replace("\n", "") for char in STEERING):
        out.append(f"the report steers the terminal: {answer['out']!r}")
    if any(".tiecheck-" in name for name in answer["new"]):
        out.append(f"a temporary file is left: {answer['new']}")
    out += answer["views"]
    if answer["changed"]:
        out.append(f"changed: {answer['changed']}")
    if answer["seconds"] > kind.seconds:
        out.append(f"it took {answer['seconds']} s")
    return out
