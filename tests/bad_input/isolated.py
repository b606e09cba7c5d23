"""Runs the command line on many bad inputs in one process of its own, and says what became of each: one JSON line a case.

    python isolated.py CASES FOLDER     CASES: a JSON file, a list of {"words", "files"}; FOLDER: where they run

Targets break what they like here; what they leave changed is told.
"""

from __future__ import annotations

import base64
import gc
import json
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
import traceback
import unicodedata
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree


def state() -> dict[str, Any]:
    """What `check` and the command line must leave as it was."""
    import numpy as np
    import torch

    return {
        "folder": os.getcwd(),
        "path": list(sys.path),
        "environment": dict(os.environ),
        "streams": [id(getattr(sys, name)) for name in ("stdin", "stdout", "stderr")],
        "closed": [getattr(sys, name).closed for name in ("stdin", "stdout", "stderr")],
        "files": [os.fstat(number).st_ino for number in (0, 1, 2)],
        "filters": [repr(one) for one in warnings.filters],
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)],
        "alarm": signal.getitimer(signal.ITIMER_REAL)[0],
        "hooks": [
            sys.excepthook,
            sys.displayhook,
            sys.unraisablehook,
            threading.excepthook,
            sys.gettrace(),
            sys.getprofile(),
        ],
        "limits": [sys.getrecursionlimit(), sys.getswitchinterval(), gc.isenabled()],
        "random": hash(random.getstate()),
        "numpy": np.random.get_state()[1].tolist(),  # type: ignore[union-attr]
        "errors": np.geterr(),
        "torch": [
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.get_default_device(),
        ],
        "torch's generator": torch.get_rng_state().tolist(),
        "torch's precision": [torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()],
        "hooks of all modules": len(torch.nn.modules.module._global_forward_hooks),
    }


def main(cases: str, folder: str) -> None:
    """Run every case; the answers go to the standard output that this process began with."""
    answers = os.fdopen(os.dup(1), "w")
    import torch

    torch.set_num_threads(1)
    # Before anything is judged: what is loaded now is no change of a target's.
    import hypothesis
    import transformers
    from tiecheck.conformance import cli

    del hypothesis, transformers
    warm = Path(folder) / "warm"
    one(cli, {"words": ["run", "reference", "--profile", "quick"], "files": {}}, warm)
    gc.collect()
    gc.freeze()  # the libraries: they are not looked through again before every case
    for number, case in enumerate(json.loads(Path(cases).read_text())):
        answers.write(json.dumps({"begins": number}) + "\n")
        answers.flush()
        answer = one(cli, case, Path(folder) / str(number))
        answers.write(json.dumps({"number": number, **answer}) + "\n")
        answers.flush()
    os._exit(0)


def one(cli: Any, case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One case in a folder of its own: status, what was printed, what is left behind, what was changed."""
    folder.mkdir()
    for name, content in case["files"].items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.mkdir() if content is None else path.write_bytes(base64.b64decode(content))
    os.chdir(folder)
    known = sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))
    modules = set(sys.modules)
    out, err = folder.with_suffix(".out"), folder.with_suffix(".err")
    kept = [os.dup(number) for number in (0, 1, 2)]
    gc.collect()  # what the case before left behind is none of this one's
    streams = sys.stdin, sys.stdout, sys.stderr
    for number, file in enumerate((Path(os.devnull), out, err)):
        handle = os.open(file, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    before, began = state(), time.perf_counter()
    problem = ""
    try:
        status = cli.main([word.replace("{folder}", str(folder)) for word in case["words"]])
    except BaseException:
        status, problem = -1, traceback.format_exc()
    seconds = time.perf_counter() - began
    after = state()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    sys.stdin, sys.stdout, sys.stderr = streams
    for number, handle in enumerate(kept):
        os.dup2(handle, number)
        os.close(handle)
    os.chdir("/")
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) and str(folder) in str(sys.modules[name].__file__):
            del sys.modules[name]
    left = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if "__pycache__" not in str(p))
    answer = {
        "status": status,
        "out": out.read_text(errors="replace")[:5000],
        "err": err.read_text(errors="replace")[-5000:],
        "new": [name for name in left if name not in known],
        "changed": [name for name in before if before[name] != after[name] and not same_streams(name, before, after)],
        "seconds": round(seconds, 2),
        "problem": problem,
        "views": [fault for name in left if name.startswith("r.") and (fault := unreadable(folder / name))],
    }
    for name, content in case["files"].items():
        if content is not None and (folder / name).read_bytes() != base64.b64decode(content):
            answer["changed"].append(f"the file {name}")
    shutil.rmtree(folder, ignore_errors=True)
    return answer


def unreadable(file: Path) -> str:
    """What is wrong with a report: its form, or that something in it would steer whoever looks at it."""
    text = file.read_text("utf-8")
    if file.suffix == ".json":
        return "" if json.loads(text)["complete"] else "not complete"
    if file.suffix == ".xml":
        ElementTree.fromstring(text)
    if file.suffix == ".html" and re.search("<script|<b>x|onerror", text):
        return "HTML of the target's"
    steering = sorted(
        {hex(ord(c)) for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"0xa"}
    )
    return f"{file.name} holds {steering}" if steering else ""


def same_streams(name: str, before: dict[str, Any], after: dict[str, Any]) -> bool:
    """A stream that was closed is another object now; that it is open is what counts."""
    return name == "streams" and after["closed"] == [False, False, False]


if __name__ == "__main__":
    main(*sys.argv[1:])
