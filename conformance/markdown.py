"""The report as Markdown for the summary of a pull request: the verdict, the first cause, what failed; the rest folded.

What a target says stands in code, where GitHub reads no mention, link, reference or emoji. In a table that is a
``<code>`` element whose punctuation is spelt as entities, since backticks and a table disagree about ``|``.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import TypeVar

from .explain import DECLARED, clean, clean_lines, named
from .report import SHOULD, Both, Diagnosis, Report, Result, reports, unjudged

# GitHub takes 65,536 characters in a comment; a summary of several jobs has room for more than one of these.
LIMIT = 60_000
T = TypeVar("T")
WORDS = {"pass": "pass", "fail": "**FAIL**", "error": "**ERROR**", "skip": "skip", "xfail": "xfail"}
_TABLE = "\n| verdict | level | requirement | what was seen |\n| --- | --- | --- | --- |\n"
_END = "\n</details>\n"
_STEERING = re.compile(r"[\\`*_{}\[\]<>&|~#!:@$\"]|(?<=www)\.", re.IGNORECASE)


def markdown(judged: Report | Both) -> str:
    """The whole text, of less than `LIMIT` bytes. The verdicts of all reports come first."""
    several = reports(judged)
    page = _Page(LIMIT)
    page.rows("", several, _headline, "reports")
    page.rows("", unjudged(judged), lambda row: f"\nNot judged: {_code(row[0])}: {_code(row[1])}\n", "targets")
    for number, report in enumerate(several):
        # What one report leaves of its share the next may use.
        share = _Page((LIMIT - page.size) // (len(several) - number))
        _report(share, report, len(several) > 1)
        page.add(share.text)
    return page.text


class _Page:
    """Text that never grows past a number of bytes."""

    def __init__(self, limit: int) -> None:
        self.text, self.size, self.limit = "", 0, limit

    def add(self, text: str) -> bool:
        """Whether there was room."""
        size = len(text.encode("utf-8", "backslashreplace"))
        fits = self.size + size <= self.limit
        if fits:
            self.text, self.size = self.text + text, self.size + size
        return fits

    def rows(self, head: str, items: Sequence[T], draw: Callable[[T], str], what: str, end: str = "") -> None:
        """``head``, as many items as there is room for, ``end``, and how many were left out; else nothing at all."""
        reserve = len(end) + 120
        if not items or self.size + len(head) + reserve > self.limit:
            return
        self.add(head)
        self.limit -= reserve
        left = len(items) - len(list(itertools.takewhile(self.add, map(draw, items))))
        self.limit += reserve
        if left:
            self.add(f"\n({left} more {what} left out here; the other reports have all)\n")
        self.add(end)


def _report(page: _Page, report: Report, several: bool) -> None:
    if several:
        page.add(f"\n---\n\n{_headline(report)}")
    page.rows("", report.notes, lambda note: f"\nNote: {_code(note)}\n", "notes")
    if report.diagnosis:
        page.add(_cause(report, report.diagnosis[0], 1))
    failed = [r for r in report.results if r.verdict in ("error", "fail")]
    failed.sort(key=lambda r: (r.verdict != "error", r.level != "MUST"))
    page.rows(_TABLE, failed, _row, "requirements that failed")
    if not report.strict and any(r.level == "SHOULD" for r in failed):
        page.add(f"\n({SHOULD})\n")
    others = list(enumerate(report.diagnosis, 1))[1:]
    title = _folded_head(f"{len(others)} more cause{'s' if len(others) > 1 else ''}")
    page.rows(title, others, lambda other: _cause(report, other[1], other[0]), "causes", _END)
    _rest(page, report)


def _rest(page: _Page, report: Report) -> None:
    rest = [r for r in report.results if r.verdict not in ("error", "fail")]
    counts = {word: sum(r.verdict == word for r in rest) for word in ("pass", "skip", "xfail")}
    summary = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    title = "The other requirements" if len(rest) < len(report.results) else "All requirements"
    page.rows(_folded_head(f"{title}: {summary}") + _TABLE, rest, _row, "requirements", _END)
    environment = report.environment
    packages = environment.get("packages") or {}
    text = "\n".join(
        f"{key}: {value}"
        for key, value in {
            **{key: environment[key] for key in ("device", "dtype", "python", "platform") if environment.get(key)},
            "profile": report.profile,
            "seed": report.seed,
            "tiecheck": report.tiecheck,
            **packages,
        }.items()
    )
    replay = f"Run it again:\n\n{_block(report.replay, 'sh')}" if report.replay else ""
    page.add(f"{_folded_head('Environment, and how to run it again')}\n{_block(text)}\n{replay}{_END}")


def _folded_head(summary: str) -> str:
    return f"\n<details><summary>{summary}</summary>\n"


def _headline(report: Report) -> str:
    """A heading, and what it speaks of."""
    mark = "✅" if report.conforms else "❌"
    return f"### {mark} {report.headline}\n\n{_code(report.target)}, {DECLARED[report.declared]}\n"


def _cause(report: Report, cause: Diagnosis, number: int) -> str:
    excuse = report.excused(cause)
    title = f"\n**{number}. {_plain(named(cause))}** `{cause.cause}`{f' ({excuse})' if excuse else ''}\n\n"
    lines = ["what   " + cause.explanation]
    lines += ["where  " + cause.where] if cause.where else []
    lines += ["mend   " + cause.fix + (f"  ({cause.tried})" if cause.tried else "")] if cause.fix else []
    seen = ", ".join(f"`{id}`" for id in cause.evidence)
    code = report.script(cause)
    script = f"\nThese lines show it without tiecheck:\n\n{_block(code, 'python')}" if code else ""
    return title + _block("\n".join(map(_wrapped, lines))) + (f"\nSeen by {seen}\n" if seen else "") + script


def _wrapped(text: str) -> str:
    """Folded and hung under its first word: a code block does not fold its lines by itself."""
    first, *more = clean_lines(_cut(text, 4000)).split("\n")
    hung = " " * 7
    fold = textwrap.TextWrapper(100, subsequent_indent=hung, break_long_words=False, break_on_hyphens=False)
    return "\n".join([fold.fill(first), *(fold.fill(hung + line) for line in more)])


def _row(result: Result) -> str:
    word = WORDS[result.verdict]
    return f"| {word} | {result.level} | `{result.id}` | {_code(result.message)} |\n"


def _block(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any that stands in the text."""
    text = clean_lines(_cut(text, 8000))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}\n"


def _code(text: str) -> str:
    return f"<code>{_plain(text)}</code>"


def _plain(text: str) -> str:
    """Text on one line that Markdown and HTML leave as it is."""
    escaped = _STEERING.sub(lambda match: f"&#{ord(match[0])};", _cut(clean(text[:1000]), 600))
    # GitHub looks for mail addresses after it has read the entities; a comment keeps the two halves apart.
    return escaped.replace("&#64;", "&#64;<!-- -->")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]} …"
