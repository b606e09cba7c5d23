"""What a runner does with the steps of ``action.yml`` that are shell, as far as they can be tried without one."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}


@dataclass(frozen=True)
class Ran:
    """How a step ended, and what it left for the runner."""

    status: int
    log: str
    summary: str
    outputs: dict[str, str]


def ran(name: str, folder: Path, inputs: dict[str, str], path: str = "", **extra: str) -> Ran:
    """Run a step of the action in ``folder``; ``path`` stands before everything else where commands are looked for."""
    given = {key: inputs.get(key, item.get("default", "")) for key, item in ACTION["inputs"].items()}
    assert set(inputs) <= set(given), f"the action has no input {set(inputs) - set(given)}"
    runner = folder.parent / f"{folder.name} runner"  # a space, as on many people's machines
    runner.mkdir(exist_ok=True)
    files = {key: runner / key for key in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for file in files.values():
        file.write_text("")
    step = STEPS[name]
    env = {
        **os.environ,
        "PATH": os.pathsep.join(filter(None, (path, str(Path(sys.executable).parent), os.environ["PATH"]))),
        "RUNNER_TEMP": str(runner),
        "GITHUB_ACTION_PATH": str(ROOT),
        **{key: str(file) for key, file in files.items()},
        **{key: _filled(value, given) for key, value in step.get("env", {}).items()},
        **extra,
    }
    script = runner / "step.sh"
    script.write_text(step["run"])
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
        cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=300,
    )  # fmt: skip
    outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
    return Ran(done.returncode, done.stdout, files["GITHUB_STEP_SUMMARY"].read_text(), outputs)


def _filled(value: Any, inputs: dict[str, str]) -> str:
    """``${{ inputs.NAME }}``, the only expression that the steps use."""
    text = str(value)
    assert text.startswith("${{ inputs.") and text.endswith(" }}"), text
    return inputs[text.removeprefix("${{ inputs.").removesuffix(" }}")]
