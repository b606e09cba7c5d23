"""The page's table is what the command says today."""

import importlib.util
from pathlib import Path

import pytest
from tiecheck.conformance.audit import facts, installed

DOCS = Path(__file__).parents[2] / "docs"


def test_the_ten_checkpoints_of_the_page(tmp_path):
    if installed.version() != facts.shipped()["transformers"]:
        pytest.skip(f"the page is of transformers {facts.shipped()['transformers']}")
    spec = importlib.util.spec_from_file_location("audit_ten", DOCS / "audit_ten.py")
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    table = page.audited(tmp_path)
    assert len(table.splitlines()) == 13
    assert table in (DOCS / "audit.md").read_text(encoding="utf-8")
