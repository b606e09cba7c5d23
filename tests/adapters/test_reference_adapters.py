"""The adapters that bring models of their own, and the protocol itself with the least that a subject can be."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiecheck.adapters import demo, numpy_network, reference
from tiecheck.adapters.demo import DEMOS
from tiecheck.conformance import Declaration, NotJudged, check, targets
from tiecheck.conformance.protocol import Backend, Built, Subject
from tiecheck.reference import GPTConfig, forward, parameter_count, random_weights

CAUSES = {
    "two-matrices": "two-matrices",
    "equal-copy": "equal-copy",
    "assigned-data": "two-parameters-one-memory",
    "detached-head": "detached-projection",
    "stale-cache": "stale-copy",
    "silent-bias": "undeclared-bias",
    "padding-row": "missing-rows",
}


def failures(report: Any) -> list[tuple[str, str]]:
    return [(r.id, r.message) for r in report.results if r.verdict in ("fail", "error")]


@pytest.mark.parametrize("name", ["", ":gpt", ":gpt2"])
@pytest.mark.parametrize("declare", ["tied", "untied"])
def test_the_reference_conforms(name: str, declare: str) -> None:
    report = check(f"reference{name}", declare)
    assert not failures(report)
    assert report.conforms and report.declared == declare
    verdicts = {r.id: r.verdict for r in report.results}
    assert verdicts["count.closed-form"] == verdicts["count.saves-one-table"] == "pass"


def test_the_reference_conforms_both_ways_at_once() -> None:
    both = check("reference", "both")
    assert both.conforms and [r.declared for r in both.reports] == ["tied", "untied"]


@pytest.mark.parametrize("profile", ["quick", "standard"])
@pytest.mark.parametrize("name", ["numpy", "numpy:gpt"])
def test_the_numpy_network_conforms_tied(name: str, profile: str) -> None:
    report = check(name, "tied", profile=profile)
    assert not failures(report) and report.conforms
    verdicts = {r.id: r.verdict for r in report.results}
    judged = ("storage.write-through", "projection.linear", "gradient.head-share", "gradient.lookup-share")
    assert {id: verdicts[id] for id in judged} == dict.fromkeys(judged, "pass")


def test_an_untied_numpy_network_is_no_tied_one() -> None:
    untied = numpy_network.build("", tied=False, seed=0).model
    report = check(untied, "tied")
    assert not report.conforms and "storage.write-through" in dict(failures(report))


@pytest.mark.parametrize("adapter", [reference, numpy_network], ids=["reference", "numpy"])
def test_counts_of_the_twin(adapter: Any) -> None:
    tied, untied = (adapter.build("gpt", tied=flag, seed=0) for flag in (True, False))
    config = tied.model.config
    assert tied.twin() == untied.declaration.parameter_count == tied.declaration.parameter_count + 61 * 16
    assert untied.twin() == tied.declaration.parameter_count == parameter_count(config)
    assert tied.flag and adapter.build("gpt", tied=None, seed=0).declaration.tied


def test_a_build_follows_its_seed_and_leaves_the_generators_alone() -> None:
    import torch

    state = torch.get_rng_state()
    one, same, other = (reference.build("", tied=True, seed=seed).model.E.weight for seed in (3, 3, 4))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)
    one, same, other = (numpy_network.build("", tied=True, seed=seed).model.weights["E_in"] for seed in (3, 3, 4))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


@pytest.mark.parametrize("target", ["reference:bert", "numpy:bert", "demo:bert"])
def test_an_unknown_name_is_one_sentence_that_names_the_known_ones(target: str) -> None:
    with pytest.raises(NotJudged, match="'bert'") as refusal:
        check(target)
    known = DEMOS if target.startswith("demo") else ("gpt", "gpt2")
    assert all(name in str(refusal.value) for name in known)


def test_every_demonstration_has_a_cause_here() -> None:
    assert set(DEMOS) == {"sound", *CAUSES}
    assert set(demo.backend().names) == set(DEMOS)


@pytest.mark.parametrize("profile", ["quick", "standard"])
@pytest.mark.parametrize("name", CAUSES)
def test_a_broken_demonstration_is_caught_with_its_cause_first(name: str, profile: str) -> None:
    report = check(f"demo:{name}", profile=profile)
    assert not report.conforms
    assert report.diagnosis[0].cause == CAUSES[name], failures(report)


@pytest.mark.parametrize("profile", ["quick", "standard"])
def test_the_sound_demonstration_conforms(profile: str) -> None:
    report = check("demo:sound", profile=profile)
    assert not failures(report) and report.conforms


def test_two_matrices_declared_untied_conform() -> None:
    assert not failures(check("demo:two-matrices", "untied"))


def test_a_demonstration_has_no_flag() -> None:
    with pytest.raises(NotJudged, match="no tie flag"):
        check("demo:sound", "both")


@pytest.mark.parametrize("words", [["run", "numpy"], ["run", "numpy", "--profile", "quick"], ["spec"]])
def test_the_numpy_backend_runs_where_torch_cannot_be_imported(words: list[str]) -> None:
    script = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers"):
            raise ImportError(name + " is not to be imported here")
sys.meta_path.insert(0, Refuse())
from tiecheck.conformance.cli import main
status = main({words!r})
assert "torch" not in sys.modules
sys.exit(status)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert words[0] == "spec" or done.stdout.startswith("conforms: ")


@pytest.mark.parametrize(("option", "value"), [("device", "cuda"), ("dtype", "float32")])
def test_what_numpy_cannot_do_is_refused(option: str, value: str) -> None:
    with pytest.raises(NotJudged, match="the model is on cpu in float64"):
        check("numpy", **{option: value})


# --- the least that a subject can be ---------------------------------------------------------------------------------


class Bare:
    """Logits, a table and writes: the three things, and nothing else."""

    name, notes = "made-up", ()
    forward_passes = backward_passes = 0

    def __init__(self, tied: bool) -> None:
        self.missing: dict[str, str] = {"gradient": "an inference engine has no gradients"}
        self.config = GPTConfig(vocabulary=23, context=64, width=6, layers=1, heads=2)
        self.weights = random_weights(self.config, np.random.default_rng(5))
        if tied:
            self.weights["E_out"] = self.weights["E_in"]
        else:
            self.weights["E_out"] = np.random.default_rng(6).standard_normal((23, 6))

    def __enter__(self) -> Bare:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def logits(self, ids: Any, train: bool = False, reseed: bool = True) -> Any:
        return forward(self.config, self.weights, ids).logits.reshape(-1, 23)

    def table(self) -> Any:
        return self.weights["E_in"]

    @contextlib.contextmanager
    def written(self, side: str, rows: Any, values: Any) -> Any:
        array = self.weights["E_out" if side == "head" else "E_in"]
        old = array[rows].copy()
        array[rows] = values
        yield
        array[rows] = old


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter that somebody else's package registers."""

    def build(name: str, *, tied: bool | None, seed: int) -> Built:
        return Built(name, flag=False)

    def subject_of(built: Built, declared: Declaration, **options: Any) -> Bare:
        return Bare(tied=built.model == "tied")

    adapter = SimpleNamespace(
        build=build,
        subject_of=subject_of,
        accepts=lambda model: False,
        backend=lambda: Backend("made-up", "nothing", True, ()),
        FLAG=False,
    )
    monkeypatch.setattr(targets, "adapters", lambda: {"made-up": SimpleNamespace(load=lambda: adapter)})


@pytest.mark.parametrize("profile", ["quick", "standard"])
def test_three_things_are_enough_to_be_judged(made_up: None, profile: str) -> None:
    assert isinstance(Bare(True), Subject)
    report = check("made-up:tied", profile=profile)
    assert not failures(report) and report.conforms
    by_id = {r.id: r for r in report.results}
    for id in ("storage.write-through", "projection.own-column", "projection.zero-row", "projection.equal-rows"):
        assert by_id[id].verdict == "pass", by_id[id]
    skips = [r for r in report.results if r.verdict == "skip"]
    assert skips and all(r.message for r in skips)
    assert by_id["gradient.head-share"].message == "an inference engine has no gradients"
    assert report.headline.startswith(f"conforms: {report.summary['pass']} of {len(report.results)} requirements apply")


@pytest.mark.parametrize("profile", ["quick", "standard"])
def test_three_things_are_enough_to_be_caught(made_up: None, profile: str) -> None:
    report = check("made-up:untied", profile=profile)
    assert not report.conforms
    assert "storage.write-through" in dict(failures(report))
