"""The report for people: with colour and folded on a terminal, plain and one line each where it is piped."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from .comparison import Change
from .explain import CHAPTERS, DECLARED, clean, clean_lines, link, named
from .glossary import legend, prose_legend, words
from .protocol import Backend
from .report import SHOULD as SHOULD_FAILS
from .report import Both, Diagnosis, Report, Result, reports, unjudged
from .requirement import Requirement

STYLES = {"pass": "green", "fail": "bold red", "error": "bold magenta", "skip": "dim", "xfail": "yellow"}
SHOULD = "a SHOULD that fails does not fail the run unless --strict is given"
LEVELS = {
    "MUST": "a model that does not keep it does not conform",
    "SHOULD": "a failure is shown, and fails the run only with --strict",
}
_UNFOLDED = 1_000_000


def headlines(judged: Report | Both, *, width: int | None = None) -> str:
    """One line a report: the verdict."""
    return _text([*map(_headline, reports(judged)), *_unjudged(judged)], width)


def drawn(judged: Report | Both, *, width: int | None = None) -> str:
    """The whole report; ``width`` is the terminal's, or None for plain unfolded text."""
    parts: list[RenderableType] = []
    for report in reports(judged):
        parts += [Text(), *_report(report)] if parts else _report(report)
    return _text([*parts, *_unjudged(judged)], width)


def table(judged: Both, *, width: int | None = None, whole: bool = True) -> str:
    """Many reports side by side, one line each; then how many conform. Without ``whole`` only what does not."""
    rows = _grid(6)
    rows.add_row(
        *(Text(word, "bold") for word in ("verdict", "target", "declared", "applied", "passed", "first cause"))
    )
    for report in judged.reports:
        if not whole and report.conforms:
            continue
        word = Text("conforms", "green") if report.conforms else Text("FAILS", "bold red")
        counts = report.summary
        told = [d for d in report.diagnosis if not report.excused(d)]
        cause = f"{told[0].cause}: {named(told[0])}" if told and not report.conforms else ""
        cause = cause or (f"{counts['xfail']} failed as expected" if counts["xfail"] else "")
        applied = f"{len(report.results) - counts['skip']} of {len(report.results)}"
        cells = (clean(report.target), report.declared, applied, str(counts["pass"]), clean(cause))
        rows.add_row(word, *map(Text, cells))
    good = sum(report.conforms for report in judged.reports)
    tail = f", {len(judged.unjudged)} not judged" if judged.unjudged else ""
    head = Text(f"{good} of {len(judged.reports)} conform{tail}", "bold")
    parts: list[RenderableType] = [rows, Text()] if rows.row_count > 1 else []
    return _text([*parts, *_unjudged(judged), head], width)


def changes(found: Sequence[Change], *, width: int | None = None) -> str:
    """What changed between two reports, what got worse first."""
    if not found:
        return _text([Text("nothing changed", "bold green")], width)
    rows = _grid(5)
    styles = {"worse": "bold red", "better": "green", "other": "dim"}
    for change in found:
        what = f"{change.target} ({change.declared})" + (f"  {change.id}" if change.id else "")
        step = f"{change.before} -> {change.after}"
        rows.add_row(Text(change.kind, styles[change.kind]), Text(clean(what)), Text(step), Text(clean(change.message)))
    counts = {kind: sum(change.kind == kind for change in found) for kind in styles}
    head = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    return _text([Text(head, "bold"), Text(), rows], width)


def explained(report: Report, result: Result, item: Requirement, *, replay: str = "") -> str:
    """One failing requirement by itself: what was seen, what is stated, and the causes that it is evidence of."""
    table = _grid(2)
    table.add_row("  states", Text(clean(item.statement)))
    if result.counterexample:
        table.add_row("  numbers", Text(clean(_counterexample(result.counterexample))))
    parts: list[RenderableType] = [Text(f"{result.level}: {clean(result.message)}"), table]
    for cause in report.diagnosis:
        if result.id in cause.evidence:
            parts += [Text(), Text(f"{clean(named(cause))} [{clean(cause.cause)}]"), _cause(cause, True)]
            parts += _script(report, cause)
    parts += [Text()] + [Text(clean(f"note: {note}")) for note in report.notes]
    if replay:
        parts.append(Text(clean(f"run it again: {replay}")))
    return _text(parts, None).rstrip()


def specification(chosen: Sequence[Requirement] | None, *, width: int | None = None) -> str:
    """The requirements as a table, or in full where only one is asked for; None is all."""
    from .requirement import requirements

    if chosen is not None and len(chosen) == 1:
        return _text(_full(chosen[0]), width)
    table = _grid(3)
    for chapter, group in groupby(requirements() if chosen is None else chosen, key=lambda item: item.chapter):
        if table.row_count:
            table.add_row()
        table.add_row(Text(chapter, "bold"), "", Text(CHAPTERS.get(chapter, "")))
        for item in group:
            table.add_row(Text(f"  {item.id}"), Text(item.level), Text(clean(item.statement)))
    parts: list[RenderableType] = [table]
    if chosen is not None and {item.chapter for item in chosen} == {"storage"}:
        parts += _families()
    if chosen is None:
        parts += [Text(), Text(f"`tiecheck spec ID` shows one in full; {SHOULD}", "dim")]
    return _text(parts, width)


def backends(rows: Iterable[Backend], *, width: int | None = None) -> str:
    """What can be judged here, and how a target of each backend is spelt."""
    parts: list[RenderableType] = []
    for row in rows:
        table = _grid(2)
        installed = Text("installed", "green") if row.installed else Text("not installed", "yellow")
        table.add_row(Text(clean(row.name), "bold"), installed)
        table.add_row("  judges", Text(clean(row.summary)))
        table.add_row("  can be asked", Text(clean(", ".join(row.asks)) or "nothing here"))
        if row.names:
            table.add_row("  targets", Text(clean(_targets(row))))
        parts += [Text(), table] if parts else [table]
    return _text(parts or [Text("no backend is installed")], width)


def _targets(row: Backend) -> str:
    """``demo:a, demo:b``; one sentence is shown as it is."""
    return ", ".join(name if " " in name or ":" in name else f"{row.name}:{name}" for name in row.names)


def _full(item: Requirement) -> list[RenderableType]:
    """One requirement, for somebody who knows none of its words. The example starts at the margin, to be copied."""
    title = Text(item.id, "bold").append(f"  {item.level}: {LEVELS[item.level]}", "not bold dim")
    parts: list[RenderableType] = [title, Text(), Text(clean(item.statement))]
    if item.why:
        parts += _section("why it matters", Text(clean(item.why)))
    letters = {**legend(item.formula), **prose_legend(f"{item.statement} {item.why}")}
    parts += _section("formula", Text(clean(item.formula), "bold"), _meanings(letters))
    notes = [line.partition("#")[2] for line in item.example.splitlines() if "# ->" not in line]
    text = " ".join(
        (item.id.partition(".")[2], item.statement, item.why, item.formula, item.source, *letters.values(), *notes)
    )
    parts += _section("words", _meanings({w: m for w, m in words(text).items() if not {w, f"{w}s"} & set(letters)}))
    if item.example:
        parts += _section(
            "example: runs as it stands; behind # -> stands what the line prints", Text(clean_lines(item.example))
        )
    table = _grid(2)
    table.add_row("source", Text(clean(item.source)))
    table.add_row("would have caught", Text(clean(link(item.bug)) or "no public bug is known"))
    table.add_row(
        "run it alone",
        Text(f"tiecheck run FILE.py:FACTORY --select {item.id}   (FACTORY in FILE.py builds your model)"),
    )
    return [*parts, Text(), table]


def _families() -> list[RenderableType]:
    """What one memory and one parameter are in each family of frameworks."""
    from .chapters.storage import FAMILIES

    return _section("in each family of frameworks", _meanings(FAMILIES))


def _section(title: str, *parts: RenderableType) -> list[RenderableType]:
    return [Text(), Text(title, "bold cyan"), *parts]


def _meanings(found: Mapping[str, str]) -> Table:
    table = _grid(2)
    for word, meaning in found.items():
        table.add_row(Text(f"  {word}"), Text(meaning))
    return table


def _headline(report: Report) -> Text:
    good = report.conforms and not report.summary["error"]
    text = Text(report.headline, "bold green" if good else "bold red")
    return text.append(clean(f"  ({report.target}, declared {report.declared})"), "not bold default")


def _unjudged(judged: Report | Both) -> list[RenderableType]:
    return [Text(clean(f"not judged: {target}: {reason}"), "yellow") for target, reason in unjudged(judged)]


def _report(report: Report) -> list[RenderableType]:
    parts: list[RenderableType] = [_headline(report), Text(DECLARED[report.declared], "dim")]
    parts += [Text(clean(f"note: {note}")) for note in report.notes]
    parts += _causes(report)
    parts += [Text(), _results(report)]
    if not report.strict and any(r.verdict == "fail" and r.level == "SHOULD" for r in report.results):
        parts.append(Text(f"({SHOULD})", "dim"))
    parts += [Text(), Text(_cost(report), "dim")]
    if report.replay and report.exit_status:
        parts.append(Text(clean(f"run it again: {report.replay}")))
    return parts


def _cost(report: Report) -> str:
    cost = report.cost
    where = " ".join(str(report.environment[key]) for key in ("device", "dtype") if report.environment.get(key))
    head = f"{cost.forward_passes} forward, {cost.backward_passes} backward passes, {cost.seconds:.1f} s"
    return clean(f"{head} ({where}{', ' if where else ''}profile {report.profile}, seed {report.seed})")


def _causes(report: Report) -> list[RenderableType]:
    """The first cause in full and with the meaning of its words, the others in two lines; operations that the tie need not
    outlive together, in a table."""
    lost = [c for c in report.diagnosis if report.excused(c) == SHOULD_FAILS and c.cause.startswith("lost-on-")]
    lost = lost if len(lost) > 1 else []
    parts: list[RenderableType] = []
    told = [cause for cause in report.diagnosis if cause not in lost]
    for number, cause in enumerate(told, 1):
        excuse = report.excused(cause)
        title = _title(number, named(cause), f"[{cause.cause}]", excuse)
        parts += [Text(), title, _cause(cause, number == 1), *_script(report, cause)]
        if number == 1:
            parts.append(_meant(cause, report))
    if lost:
        title = _title(len(told) + 1, f"the tie does not outlive {len(lost)} operations", "", SHOULD_FAILS)
        parts += [Text(), title, _lost(lost)]
    return parts


def _script(report: Report, cause: Diagnosis) -> list[RenderableType]:
    """Lines that show a cause without tiecheck, from the margin, to be copied."""
    code = report.script(cause)
    return [Text("  these lines show it without tiecheck:", "dim"), _lines(code)] if code else []


def _title(number: int, what: str, word: str, excuse: str) -> Text:
    title = Text(f"{number}. {clean(what)}", "bold yellow" if excuse else "bold red")
    title.append(clean(f" {word}" if word else ""), "not bold default")
    return title.append(f" ({excuse})" if excuse else "", "not bold default")


def _lost(causes: Sequence[Diagnosis]) -> Table:
    """An operation a row, with the mend; what was seen stands with the results below."""
    table = _grid(2)
    for cause in causes:
        fix = _lines(cause.fix).copy()
        fix.stylize("bold")
        table.add_row(f"  {clean(cause.cause)}", fix)
    return table


def _cause(cause: Diagnosis, whole: bool) -> Table:
    table = _grid(2)
    table.add_row("  what", _lines(cause.explanation))
    if cause.where and cause.where not in cause.explanation:
        table.add_row("  where", _lines(cause.where))
    if cause.fix:
        fix = _lines(cause.fix).copy()
        fix.stylize("bold")
        if cause.tried:
            fix.append(f"  ({cause.tried})", "not bold")
        table.add_row("  fix", fix)
    if whole and cause.evidence:
        table.add_row("  seen by", Text(clean(", ".join(cause.evidence))))
    return table


def _meant(cause: Diagnosis, report: Report) -> Table:
    """What the words mean in which a cause and its evidence are told, and where there is more."""
    shown = [result for result in report.results if result.id in cause.evidence and result.verdict == "fail"]
    seen = [f"{result.message} {_counterexample(result.counterexample or {})}" for result in shown]
    text = " ".join((named(cause), cause.explanation, cause.fix, *seen))
    meanings = {**prose_legend(text), **words(text)}
    table = _grid(2)
    if meanings:
        table.add_row("  words  ", Text("\n".join(f"{word}: {meaning}" for word, meaning in meanings.items()), "dim"))
    if shown:
        table.add_row("  more   ", Text(clean(f"tiecheck spec {shown[0].id} explains what is asked, with an example")))
    return table


def _lines(text: str) -> Text:
    """Our own sentences may run over lines; within a line nothing steers the terminal."""
    return Text(clean_lines(text.strip()))


def _results(report: Report) -> Table:
    """Failures of every chapter first, then the chapters."""
    table = _grid(4)
    bad = [r for r in report.results if r.verdict in ("error", "fail")]
    for result in sorted(bad, key=lambda r: (r.verdict != "error", r.level != "MUST")):
        _row(table, result)
        if result.counterexample:
            table.add_row("", "", "", Text(clean(_counterexample(result.counterexample)), "dim"))
    rest = [r for r in report.results if r.verdict not in ("error", "fail")]
    unselected = [r for r in rest if r.message == "not selected"]
    for chapter, group in groupby((r for r in rest if r not in unselected), key=lambda r: r.id.partition(".")[0]):
        if table.row_count:
            table.add_row()
        table.add_row("", "", Text(chapter, "bold"), Text(CHAPTERS.get(chapter, ""), "dim"))
        for result in group:
            _row(table, result)
    if unselected:
        table.add_row()
        rest_of = f"{len(unselected)} other{'s' if len(unselected) > 1 else ''}"
        table.add_row(Text("skip", STYLES["skip"]), "", rest_of, "not selected")
    return table


def _row(table: Table, result: Result) -> None:
    word = result.verdict.upper() if result.verdict in ("error", "fail") else result.verdict
    style = "yellow" if (result.verdict, result.level) == ("fail", "SHOULD") else STYLES[result.verdict]
    table.add_row(Text(word, style), Text(result.level), Text(clean(result.id)), Text(clean(result.message)))


def _counterexample(values: dict[str, object]) -> str:
    """The numbers to look at, short ones only; the JSON report has all."""
    shown = {key: _short(value) for key, value in values.items()}
    return ", ".join(f"{key} {value}" for key, value in shown.items() if len(value) <= 80)


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _grid(columns: int) -> Table:
    """A table without lines: the last column folds, what stands before it is short."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for _ in range(columns):
        table.add_column(overflow="fold")
    return table


def _text(parts: Iterable[RenderableType], width: int | None) -> str:
    """Draw into a string: on a terminal folded to ``width`` and coloured, else unfolded and without any code."""
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        force_terminal=width is not None,
        color_system="auto" if width is not None else None,
        width=width or _UNFOLDED,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    for part in parts:
        console.print(part)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"
