"""The JSON Schemas accept what is written, and nothing less."""

import copy
import json
import math

import numpy as np
import pytest
from hand_made import both, conforming, failing
from jsonschema import Draft202012Validator
from tiecheck.conformance.report import Result
from tiecheck.conformance.schemas import NAMES, load

REPORT = Draft202012Validator(load("report-1"))
MATRIX = Draft202012Validator(load("matrix-1"))


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_schemas(name):
    Draft202012Validator.check_schema(load(name))


def test_unknown_schema():
    with pytest.raises(LookupError, match="report-1"):
        load("../report-1")


@pytest.mark.parametrize("report", [conforming(), failing()])
def test_reports_are_valid(report):
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    REPORT.validate(document)
    assert list(document)[-1] == "complete"
    assert sum(document["summary"].values()) == len(document["results"])


def test_matrix_is_valid():
    MATRIX.validate(both().to_dict())
    document = both().to_dict()
    document["unjudged"] = [{"target": "x", "reason": "y"}]
    MATRIX.validate(document)


def test_matrix_holds_the_schema_of_a_report():
    assert load("matrix-1")["$defs"]["report"] == load("report-1")


def test_what_json_cannot_hold_is_said_in_words():
    seen = {"seen": math.nan, "rows": np.arange(2), "one": np.float32(0.5), "many": [math.inf], "pair": (1, 2)}
    document = failing(results=(Result("storage.one-memory", "MUST", "fail", "x", seen),)).to_dict()
    REPORT.validate(document)
    values = document["results"][0]["counterexample"]
    assert json.loads(json.dumps(values, allow_nan=False)) == {
        "seen": "nan",
        "rows": [0, 1],
        "one": 0.5,
        "many": ["inf"],
        "pair": [1, 2],
    }


def objects(value, path=()):
    """Every object of a document that the contract gives a fixed set of keys, with the way to it."""
    if isinstance(value, dict):
        if not path or path[-1] not in ("packages", "counterexample"):
            yield path
        for key, item in value.items():
            if key not in ("packages", "counterexample"):
                yield from objects(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from objects(item, (*path, index))


def at(document, path):
    for step in path:
        document = document[step]
    return document


@pytest.mark.parametrize(("whole", "validator"), [(failing().to_dict(), REPORT), (both().to_dict(), MATRIX)])
def test_every_key_is_needed_and_no_other_allowed(whole, validator):
    for path in objects(whole):
        for key in at(whole, path):
            less = copy.deepcopy(whole)
            del at(less, path)[key]
            assert not validator.is_valid(less), (path, key)
        more = copy.deepcopy(whole)
        at(more, path)["extra"] = 1
        assert not validator.is_valid(more), path


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "tiecheck/report/2"),
        (("complete",), False),
        (("declared",), "both"),
        (("conforms",), "yes"),
        (("profile",), "fast"),
        (("seed",), 1.5),
        (("summary", "pass"), -1),
        (("cost", "seconds"), -1.0),
        (("results",), []),
        (("results", 0, "id"), "Storage.One"),
        (("results", 0, "level"), "MAY"),
        (("results", 0, "verdict"), "passed"),
        (("results", 0, "message"), ""),
        (("results", 0, "counterexample"), []),
        (("diagnosis", 0, "cause"), "gremlins"),
        (("diagnosis", 0, "cause"), "lost-on-"),
        (("diagnosis", 0, "cause"), "lost-on-Load"),
        (("diagnosis", 0, "fix_verified"), "yes"),
        (("diagnosis", 0, "evidence"), ["nope"]),
    ],
)
def test_wrong_values_are_refused(path, value):
    document = copy.deepcopy(failing().to_dict())
    at(document, path[:-1])[path[-1]] = value
    assert not REPORT.is_valid(document)


def test_causes_of_later_operations_are_legal():
    document = failing().to_dict()
    for cause in ("lost-on-load-assign", "lost-on-something-new", "not-synchronized"):
        document["diagnosis"][0]["cause"] = cause
        REPORT.validate(document)
