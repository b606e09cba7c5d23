"""The command line on checkpoints, and its rows by way of `--json`, checked against the schema."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tiecheck.conformance.schemas import load

SCHEMA = Draft202012Validator(load("audit-1"))


@pytest.fixture
def audit(
    tiecheck: Callable[..., tuple[int, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Any]:
    """Audit paths: the exit status, the rows, and standard error."""

    def call(*words: object) -> tuple[int, list[dict[str, Any]], str]:
        report = tmp_path_factory.mktemp("report") / "audit.json"
        status, _, err = tiecheck("audit", *words, "--json", report)
        if not report.exists():
            return status, [], err
        document = json.loads(report.read_text())
        SCHEMA.validate(document)
        assert list(document)[-1] == "complete"
        return status, document["rows"], err

    return call


@pytest.fixture
def refused(audit: Callable[..., Any]) -> Callable[..., str]:
    """Audit a path that must be refused: one sentence on standard error, exit status 2, no report. Returns the sentence."""

    def call(path: Path) -> str:
        status, rows, err = audit(path)
        assert status == 2, (rows, err)
        assert rows == []
        assert "Traceback" not in err
        assert len(err.strip().splitlines()) == 1, err
        return err

    return call
