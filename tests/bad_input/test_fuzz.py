"""Odd targets that a seeded grammar composes: what is odd but harmless is judged as ever, what is hopeless is one sentence.

TIECHECK_FUZZ_COUNT of them; `tox -e fuzz` takes 500. The number that a failure names is the target's seed.
"""

import os

import pytest

from bad_input.driver import answers, faults
from bad_input.grammar import fuzzed

COUNT = int(os.environ.get("TIECHECK_FUZZ_COUNT", "120"))
PARTS = 2


@pytest.mark.parametrize("part", range(PARTS))
def test_odd_targets(part, tmp_path):
    mine = fuzzed(COUNT)[part::PARTS]
    told = answers(mine, tmp_path)
    wrong = {kind.name: bad for kind, answer in zip(mine, told, strict=True) if (bad := faults(kind, answer))}
    told_of = "\n\n".join(f"{name}:\n  " + "\n  ".join(bad) for name, bad in wrong.items())
    assert not wrong, told_of.encode("ascii", "backslashreplace").decode()
