"""Every kind of bad input ends with one clear sentence, exit status 2, nothing half written, and a process as it was."""

import pytest

from bad_input.driver import answers, faults
from bad_input.kinds import kinds

PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_bad_input_is_one_sentence(part, tmp_path):
    mine = kinds()[part::PARTS]
    told = answers(mine, tmp_path)
    wrong = {kind.name: bad for kind, answer in zip(mine, told, strict=True) if (bad := faults(kind, answer))}
    told_of = "\n\n".join(f"{name}:\n  " + "\n  ".join(bad) for name, bad in wrong.items())
    assert not wrong, told_of.encode("ascii", "backslashreplace").decode()


def test_there_are_many_kinds_and_none_twice():
    names = [kind.name for kind in kinds()]
    assert len(names) > 300 and len(set(names)) == len(names)
