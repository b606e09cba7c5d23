"""`check` under bad input: NotJudged in one sentence, the model as it was, and no thread of ours that goes on."""

import contextlib
import os
import signal
import threading
import time
import warnings

import numpy as np
import pytest
import torch
from tiecheck.conformance import NotJudged, check
from tiecheck.conformance.errors import line, sentence

from bad_input.kinds import BASE

SPACE: dict[str, object] = {}
exec(BASE, SPACE)
Model: type = SPACE["Model"]  # type: ignore[assignment]


class Refusing(Exception):
    def __str__(self):
        raise SystemExit(0)


def values(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(model, before):
    return all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "options",
    [
        {"seed": "one"}, {"seed": -1}, {"seed": 2**32}, {"seed": True}, {"seed": 1.5}, {"seed": None},
        {"timeout": "soon"}, {"timeout": 0}, {"timeout": float("nan")}, {"timeout": float("inf")}, {"timeout": True},
        {"dtype": torch.float32}, {"dtype": 3}, {"dtype": np.zeros(2)}, {"device": torch.device("cpu")}, {"device": 0}, {"device": "tpu"},
        {"profile": None}, {"profile": np.zeros(2)}, {"profile": "whole"}, {"declare": 3}, {"declare": "neither"}, {"declare": "both"},
        {"select": 3}, {"select": [3]}, {"select": "nope"}, {"deselect": None}, {"assume": "frozen=true"}, {"assume": {"frozen": 3}},
        {"assume": {3: 4}}, {"assume": ["frozen"]}, {"expected_failures": 3}, {"expected_failures": b"x"}, {"expected_failures": "/nowhere"},
        {"expected_failures": ["x"]},
    ],
    ids=repr,
)  # fmt: skip
def test_options_of_any_kind(options):
    with pytest.raises(NotJudged) as refused:
        check(Model(), **{"profile": "quick", **options})
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "model", [None, 3, "", "nowhere.py:make", [], object(), Model().state_dict(), torch.zeros(2), lambda: None]
)
def test_what_is_no_model(model):
    with pytest.raises(NotJudged):
        check(model, profile="quick")


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), GeneratorExit(), Refusing()])
def test_what_a_model_raises_is_its_own(error):
    model = Model()
    model.register_forward_hook(lambda *given: (_ for _ in ()).throw(error))
    before = values(model)
    with pytest.raises(NotJudged, match=type(error).__name__):
        check(model, profile="quick")
    assert same(model, before) and len(model._forward_hooks) == 1


def test_a_factory_may_skip_its_test():
    with pytest.raises(pytest.skip.Exception):
        check(lambda: pytest.skip("not here"), profile="quick")


def test_ctrl_c_of_the_user_stops_the_run():
    model, before, hit = Model(), None, threading.Event()

    def wait(*given):
        hit.set()
        for _ in range(2000):
            time.sleep(0.005)

    model.register_forward_hook(wait)
    before = values(model)

    def press():
        hit.wait(30)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.raises(KeyboardInterrupt):
        check(model, profile="quick")
    assert same(model, before) and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_copy_that_is_the_model_itself_is_not_trained():
    class Alone(Model):
        def __deepcopy__(self, memo):
            return self

    model = Alone()
    before = values(model)
    report = check(model)
    assert same(model, before)
    assert {r.id: r for r in report.results}["training.step"].verdict == "skip"


@pytest.mark.parametrize("sleeping", [False, True])
def test_a_pass_that_never_returns(sleeping):
    """It hangs while rows are written; they are as they were when `check` returns, and stay so when it wakes up."""
    calls = []

    class Hanging(Model):
        def forward(self, ids):
            calls.append(1)
            if len(calls) > 8:
                until = time.monotonic() + 3
                while not sleeping and time.monotonic() < until + 60:
                    pass
                time.sleep(3)
            return super().forward(ids)

    model = Hanging()
    before, mode = values(model), model.training
    with contextlib.suppress(NotJudged):
        check(model, timeout=1)
    assert same(model, before) and model.training == mode
    ours = [thread for thread in threading.enumerate() if thread.name == "tiecheck"]
    assert bool(ours) == sleeping
    with torch.no_grad():
        model.emb.weight += 1
    trained = values(model)
    for thread in ours:
        thread.join(10)
        assert not thread.is_alive()
    assert same(model, trained)


def test_the_process_is_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Odd(Model):
        def forward(self, ids):
            os.chdir("/")
            os.environ["TIECHECK_ODD"] = "1"
            warnings.simplefilter("error")
            torch.set_default_dtype(torch.float64)
            torch.set_num_threads(2)
            torch.manual_seed(1)
            np.seterr(all="raise")
            return super().forward(ids)

    def seen():
        return (
            os.getcwd(), dict(os.environ), list(warnings.filters), torch.get_default_dtype(), torch.get_num_threads(),
            torch.get_rng_state().tolist(), np.geterr(),
        )  # fmt: skip

    model = Odd()
    before = seen()
    report = check(model, profile="quick")
    assert report.conforms and seen() == before


def test_any_exception_is_one_line():
    assert sentence(ValueError("first\nsecond")) == "ValueError: first"
    assert sentence(ValueError("Errors:\n\n  \tone\ntwo")) == "ValueError: Errors: one"
    assert sentence(Refusing()) == line(Refusing()) == "Refusing"
    assert sentence(KeyError()) == "KeyError" and line(KeyError("x\x1b")) == "'x\\x1b'"
    assert len(sentence(ValueError("x" * 10**7))) < 400


class Sharded(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = torch.nn.ParameterList(torch.randn(rows, 6) for rows in (7, 4))

    def forward(self, ids):
        low, high = self.parts
        x = torch.where((ids < 7)[..., None], low[ids.clamp(max=6)], high[(ids - 7).clamp(min=0)]).cumsum(1)
        return torch.cat([x @ low.T, x @ high.T], -1)


def test_a_table_in_several_parameters_is_refused_by_their_names():
    with pytest.raises(NotJudged, match=r"the table lies in 2 parameters \(parts\.0, parts\.1\)"):
        check(Sharded())
