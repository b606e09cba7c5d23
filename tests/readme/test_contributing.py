"""The blocks of CONTRIBUTING.md do what they say, in a process each."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REQUIREMENT, ADAPTER, ZOO = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)

SCRIPTS = {
    "requirement": f"""
import numpy as np
from tiecheck.conformance import check, cli
from tiecheck.conformance.evidence import Case
from tiecheck.conformance.requirement import Finding, failed, passed, requirement, requirements
requirements()
{REQUIREMENT}
report = check("numpy", select="projection")
assert {{r.id: r.verdict for r in report.results}}["projection.finite"] == "pass"
assert cli.main(["spec", "projection.finite"]) == 0
exec(next(r for r in requirements() if r.id == "projection.finite").example)
""",
    "adapter": f"""
import sys
from types import SimpleNamespace
{ADAPTER}
from tiecheck.conformance import check, targets
here = sys.modules["__main__"]
targets.adapters = lambda: {{"bag": SimpleNamespace(load=lambda: here)}}
for model in ("bag:small", build("small", tied=True, seed=0).model):
    report = check(model)
    verdicts = {{r.id: (r.verdict, r.message) for r in report.results}}
    assert report.conforms, report.diagnosis
    assert verdicts["projection.own-column"][0] == "pass"
    assert verdicts["gradient.head-share"] == ("skip", "this engine has no gradients")
assert "torch" not in sys.modules
""",
    "zoo": f"""
import sys
sys.path.insert(0, "tests")
import torch
from torch import nn
from zoo.registry import ENTRIES, broken, correct
from zoo.truth import SEEN, off
from tiecheck.conformance import check
{ZOO}
wrong, right = ENTRIES[-2:]
assert wrong.show(wrong.build())
report = check(wrong.build)
assert not report.conforms and report.diagnosis[0].cause == wrong.cause, report.diagnosis
assert check(right.build).conforms
""",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_recipe_works(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPTS[name]], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    if name == "requirement":
        promised = re.findall(r"  # -> (.*)", REQUIREMENT)
        assert len(promised) == 2 and done.stdout.splitlines()[-2:] == promised, done.stdout
