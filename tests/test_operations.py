"""Operations as data: the page that shows them is current, and other packages add theirs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from alone_later import Tied
from alone_operations import LOSES, One
from tiecheck.conformance import check
from tiecheck.conformance.requirement import requirements
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

pytestmark = pytest.mark.operations
ROOT = Path(__file__).resolve().parent.parent

PACKAGE = """
from tiecheck.conformance.operations import Operation

def renamed(subject, fresh):
    model = subject.module
    if hasattr(model, "head"):
        model.head.weight = type(model.head.weight)(model.head.weight.detach().clone())
    return subject.after(model)

OPERATIONS = (
    Operation(
        "rename",
        "ours.rename(model)",
        renamed,
        here=lambda subject: "" if hasattr(subject, "module") else "it is no torch module",
        statement="A renamed model is tied as before.",
    ),
)
"""
SCRIPT = """
import sys
sys.path.insert(0, "tests")
from alone_later import Tied
from alone_operations import One
from tiecheck.conformance import check
for build in (lambda: Tied(False), One):
    report = check(build, select="persistence.rename")
    (result,) = [r for r in report.results if r.id == "persistence.rename"]
    print(result.level, result.verdict, report.conforms, [d.cause for d in report.diagnosis])
report = check("numpy:gpt2")
print([r.message for r in report.results if r.id == "persistence.rename"])
"""


def test_another_package_adds_an_operation(tmp_path: Path) -> None:
    (tmp_path / "ours.py").write_text(PACKAGE)
    info = tmp_path / "ours-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ours\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tiecheck.operations]\nours = ours:OPERATIONS\n")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{SCRIPT}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    plain, functional, numpy = done.stdout.splitlines()
    assert plain == "SHOULD fail True ['lost-on-rename']"
    assert functional == "SHOULD pass True []"
    assert "no torch module" in numpy


@pytest.mark.compiles
def test_the_page_of_operations_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    # Under a name that pickle can find again.
    spec = importlib.util.spec_from_file_location("page_of_operations", ROOT / "docs" / "operations.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, script)
    spec.loader.exec_module(script)
    # The versions stand in the head and say for what the rest holds.
    strip = script.without_versions
    assert strip(script.page()) == strip((ROOT / "docs" / "operations.md").read_text("utf-8")), (
        "run `python docs/operations.py`"
    )


def test_a_model_that_is_handed_in_after_the_loss_fails_a_must() -> None:
    def assigned() -> Tied:
        model = Tied(False)
        model.load_state_dict({key: value.clone() for key, value in model.state_dict().items()}, assign=True)
        return model

    report = check(assigned, profile="quick")
    assert not report.conforms
    assert report.diagnosis[0].cause == "equal-copy"


def test_what_torch_loses_is_shown_and_fails_under_strict_alone() -> None:
    report = check(lambda: Tied(False), select=LOSES)
    assert report.conforms
    assert {r.id for r in report.results if r.verdict == "fail"} == set(LOSES)
    assert not check(lambda: Tied(False), select=LOSES, strict=True).conforms
    mend = next(d.fix for d in report.diagnosis if d.cause == "lost-on-load-assign")
    assert "model.head.weight = model.embedding.weight" in mend


def test_one_name_for_the_table_survives_what_torch_loses() -> None:
    report = check(One, select=LOSES)
    assert {r.verdict for r in report.results if r.id in LOSES} == {"pass"}


def test_each_operation_has_a_requirement_with_its_word() -> None:
    from tiecheck.adapters.pytorch.loading import LOADING
    from tiecheck.adapters.pytorch.operations import OPERATIONS
    from tiecheck.adapters.pytorch.wrapping import WRAPPING

    words = {op.word for op in (*OPERATIONS, *LOADING, *WRAPPING)} | {"compile", "export", "sequence"}
    assert {f"persistence.{word}" for word in words} == {r.id for r in requirements() if r.chapter == "persistence"}


class RefusesAssignment(Tied):
    """Says aloud that assignment would take its tie apart, instead of letting it be lost."""

    def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:
        if assign:
            raise RuntimeError("assign=True takes the tie apart: load, and do not assign")
        return super().load_state_dict(state, strict=strict)


def test_a_loud_refusal_is_no_loss() -> None:
    report = check(lambda: RefusesAssignment(False), select=["persistence.load-assign", "persistence.load"])
    found = {r.id: r for r in report.results if r.verdict != "skip" or "not selected" not in r.message}
    assert found["persistence.load"].verdict == "pass"
    assert found["persistence.load-assign"].verdict == "skip"
    assert "takes the tie apart" in found["persistence.load-assign"].message


class RedrawnWhenCompiled(One):
    """A sound model whose body is computed again in backward; torch's debugging compiler draws its dropout masks anew there."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = functional.dropout(self.embedding(ids), 0.1, self.training)

        def rest(x: torch.Tensor) -> torch.Tensor:
            h = torch.tanh(self.mix(x + x.mean(1, keepdim=True)))
            return functional.linear(functional.dropout(h, 0.2, self.training), self.table())

        return checkpoint(rest, x, use_reentrant=False) if self.training and torch.is_grad_enabled() else rest(x)


@pytest.mark.compiles
def test_where_the_whole_network_loses_its_gradient_the_tie_is_not_blamed() -> None:
    report = check(RedrawnWhenCompiled, select=["persistence.compile", "persistence.deepcopy"])
    result = next(r for r in report.results if r.id == "persistence.compile")
    assert result.verdict == "skip" and "inconclusive" in result.message, result.message


def test_a_head_in_chunks_keeps_its_gradient_under_a_parametrization() -> None:
    from blind.seventeenth_right_06_head_in_chunks import make

    report = check(make, select=["persistence.parametrize", "persistence.weight-norm"])
    assert {r.verdict for r in report.results if "not selected" not in r.message} == {"pass"}
