"""The JSON Schema of an audit takes what is written, and nothing less."""

import copy
import json

import pytest
from jsonschema import Draft202012Validator
from made import checkpoint, table
from tiecheck.conformance.audit.command import rows_of
from tiecheck.conformance.audit.rows import document
from tiecheck.conformance.schemas import load

SCHEMA = Draft202012Validator(load("audit-1"))


@pytest.fixture
def whole(tmp_path):
    folder = checkpoint(tmp_path / "m", table(), table(1), tie_word_embeddings=True)
    return json.loads(json.dumps(document(rows_of(folder)), allow_nan=False))


def test_a_report_is_valid(whole):
    SCHEMA.validate(whole)
    assert list(whole)[-1] == "complete"


def ways(value, path=()):
    if isinstance(value, dict):
        yield path
        for key, item in value.items():
            yield from ways(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from ways(item, (*path, number))


def at(value, path):
    for step in path:
        value = value[step]
    return value


def test_every_key_is_needed_and_no_other_allowed(whole):
    for path in ways(whole):
        for key in at(whole, path):
            less = copy.deepcopy(whole)
            del at(less, path)[key]
            assert not SCHEMA.is_valid(less), (path, key)
        more = copy.deepcopy(whole)
        at(more, path)["extra"] = 1
        assert not SCHEMA.is_valid(more), path


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "tiecheck/audit/2"),
        (("complete",), False),
        (("rows",), []),
        (("rows", 0, "verdict"), "fine"),
        (("rows", 0, "message"), ""),
        (("rows", 0, "state"), "odd"),
        (("rows", 0, "wasted_bytes"), -1),
        (("rows", 0, "claim", "tied"), "yes"),
        (("rows", 0, "mend", "action"), "pray"),
    ],
)
def test_wrong_values_are_refused(path, value, whole):
    at(whole, path[:-1])[path[-1]] = value
    assert not SCHEMA.is_valid(whole)
