"""The report as one HTML file that needs nothing else: no script, no font, no picture, nothing from the network.

Every string that reaches the page is first spelt out (`clean`) and then escaped, whatever the template says: a
target chooses its names, and this page is opened on somebody's CI server.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from itertools import groupby
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from .explain import CHAPTERS, DECLARED, clean, clean_lines, named
from .report import Both, Report, Result, reports, unjudged
from .requirement import requirements

# A counterexample's longest value; the JSON report has it whole.
LONGEST = 2000


def html(judged: Report | Both) -> str:
    """The whole page."""
    folder = files("tiecheck.conformance") / "templates"
    style = (folder / "report.css").read_text("utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_spelt
    )
    environment.filters |= {"named": named, "shown": _shown, "lines": _lines}
    template = environment.from_string((folder / "report.html").read_text("utf-8"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return template.render(
        reports=reports(judged),
        unjudged=unjudged(judged),
        style=Markup(style),
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        chapters=_chapters,
        failures=_failures,
        about={item.id: item for item in requirements()},
        declared=DECLARED,
    )


def _spelt(value: Any) -> Any:
    """What every expression of the template passes through before it is escaped; `Markup` is the template's own."""
    return clean(str(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


def _lines(text: str) -> Markup:
    """A sentence of ours, which may run over lines."""
    return escape(clean_lines(text))


def _chapters(report: Report) -> Iterator[tuple[str, str, list[Result]]]:
    """Each chapter with its meaning and its results."""
    for chapter, group in groupby(report.results, key=lambda result: result.id.partition(".")[0]):
        yield chapter, CHAPTERS.get(chapter, ""), list(group)


def _failures(report: Report) -> list[Result]:
    """What failed, most serious first."""
    bad = [result for result in report.results if result.verdict in ("error", "fail")]
    return sorted(bad, key=lambda result: (result.verdict != "error", result.level != "MUST"))


def _shown(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A counterexample's numbers, to read."""
    for key, item in value.items():
        if isinstance(item, float):
            text = f"{item:.6g}"
        else:
            text = item if isinstance(item, str) else json.dumps(item, default=str, ensure_ascii=False)
        yield str(key), text if len(text) <= LONGEST else f"{text[:LONGEST]} … (the JSON report has it whole)"
