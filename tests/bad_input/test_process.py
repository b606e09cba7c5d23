"""What only a process of its own can show: how it ends, with whatever a target left in it."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from bad_input.kinds import BASE

ENDS = {
    "a thread that never ends": "import threading, time\nthreading.Thread(target=time.sleep, args=(90,)).start()",
    "an exit handler that hangs": "import atexit, time\natexit.register(time.sleep, 90)",
    "an exit handler that prints": "import atexit\natexit.register(print, 'later')",
    "an exit handler that exits": "import atexit, sys\natexit.register(sys.exit, 7)",
    "closed descriptors": "import os\nfor n in (0, 1, 2): os.close(n)",
    "closed streams": "import sys\nsys.__stdout__.close(); sys.__stderr__.close(); sys.stdout.close(); sys.stderr.close()",
    "a child that goes on": "import os\nos.fork()",
    "an empty path": "import sys\nsys.path.clear(); sys.meta_path.clear()",
    "an empty environment": "import os\nos.environ.clear()",
}


def started(folder, *words, **options):
    command = [sys.executable, "-m", "tiecheck.conformance.cli", "run", *words]
    began = time.monotonic()
    # Files: what a target leaves running would keep a pipe open.
    with open(folder / "out", "w+") as out, open(folder / "err", "w+") as err:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=60, **options
        )
        out.seek(0)
        err.seek(0)
        return done.returncode, out.read(), err.read(), time.monotonic() - began


@pytest.mark.parametrize("end", ENDS)
def test_what_a_target_leaves_behind(tmp_path, end):
    code = f"{BASE}\ndef make():\n{textwrap.indent(ENDS[end], '    ')}\n    return Model()\n"
    (tmp_path / "m.py").write_text(code)
    status, out, err, seconds = started(tmp_path, "m.py:make", "--profile", "quick", "--quiet", "--json", "r.json")
    assert status == 0 and out.startswith("conforms: ") and out.count("\n") == 1, (status, out, err)
    assert seconds < 40 and (tmp_path / "r.json").exists()


def test_a_factory_that_sleeps_is_left(tmp_path):
    (tmp_path / "m.py").write_text("import time\ndef make(): time.sleep(50)")
    status, out, err, seconds = started(tmp_path, "m.py:make", "--timeout", "0.5", "--json", "r.json")
    assert (status, out, err) == (2, "", "tiecheck: the premise was not reached within the timeout\n")
    assert seconds < 30 and set(os.listdir(tmp_path)) <= {"__pycache__", "err", "m.py", "out"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_the_report(tmp_path):
    (tmp_path / "m.py").write_text(BASE)
    status, _, err, _ = started(tmp_path, "m.py:Model", "--profile", "quick", "--json", "/dev/full")
    assert status == 2 and err.count("\n") == 1 and "No space left" in err
