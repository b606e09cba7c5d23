"""Evidence is data: it is written to a file, read back, and judged again where there is no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from tiecheck.adapters import pytorch
from tiecheck.conformance import Declaration, check, gather
from tiecheck.conformance.evidence import dump, load
from tiecheck.conformance.premise import settle
from tiecheck.conformance.protocol import Built
from tiecheck.conformance.requirement import requirements
from zoo import ENTRIES

JUDGE = """
import sys
from pathlib import Path
from tiecheck.conformance.evidence import load
from tiecheck.conformance.requirement import requirements
case = load(Path(sys.argv[1]))
for item in requirements():
    print(item.id, item.judge(case).verdict)
assert "torch" not in sys.modules
"""


def test_evidence_is_judged_again_without_torch(tmp_path: Path) -> None:
    entry = next(e for e in ENTRIES if e.name == "gru_head_detached")
    declared = Declaration(**entry.declared)
    subject = pytorch.subject_of(Built(entry.build()), declared, name=entry.name, seed=0)
    path = tmp_path / "case.npz"
    with subject:
        _, probe, _ = settle(subject, declared, 0)
        case = gather.gather(subject, declared, probe, gather.FULL)
        here = [f"{item.id} {item.judge(case).verdict}" for item in requirements()]
        dump(case, path)
    again = subprocess.run([sys.executable, "-c", JUDGE, str(path)], capture_output=True, text=True, check=True)
    assert again.stdout.split("\n")[:-1] == here
    assert "gradient.head-share fail" in here
    assert np.array_equal(load(path).first.logits, case.first.logits)


def test_the_same_seed_gives_the_same_report() -> None:
    for name in ("gru_assigned", "moe_scale_silent", "gpt_bfloat16"):
        entry = next(e for e in ENTRIES if e.name == name)
        one, other = (check(entry.build, Declaration(**entry.declared), seed=3).to_dict() for _ in range(2))
        for report in (one, other):
            report.pop("cost")
            for result in report["results"]:
                result.pop("seconds")
        assert one == other
