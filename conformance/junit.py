"""The report as JUnit XML: a suite for each report, a case for each requirement.

A MUST that fails is a ``failure``, a defect of tiecheck an ``error``. JUnit knows no failure that does not count, so a
SHOULD that fails (without ``--strict``) and an expected failure are ``skipped``, and their message says what they are.
A cause that no requirement shows, such as a wrong entry among the expected failures, is a case of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET

from .explain import clean_lines, named
from .report import SHOULD, Both, Diagnosis, Report, Result, reports, unjudged

# Line ends and tabs apart, `clean` spells out every character that XML 1.0 has no place for but these two.
_NO_CHARACTER = re.compile("[\ufffe\uffff]")


def junit(judged: Report | Both) -> str:
    """The whole document, with its declaration."""
    several = isinstance(judged, Both)
    suites = [_suite(report, several) for report in reports(judged)]
    if unjudged(judged):
        suites.append(_unjudged(unjudged(judged)))
    root = ET.Element("testsuites", {"name": "tiecheck"})
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in suites)))
    root.set("time", _seconds(sum(float(suite.get("time", "0")) for suite in suites)))
    root.extend(suites)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(report: Report, several: bool) -> ET.Element:
    """``several``: the same target stands there as tied and as untied, and its cases are told apart by class."""
    group = f"{report.target} ({report.declared})" if several else report.target
    causes: dict[str, Diagnosis] = {}
    for cause in reversed(report.diagnosis):
        causes.update(dict.fromkeys(cause.evidence, cause))
    cases = [_case(result, group, report, causes.get(result.id)) for result in report.results]
    cases += [_cause_alone(cause, group) for cause in report.diagnosis if not cause.evidence]
    suite = _counted(f"tiecheck {report.target} (declared {report.declared})", cases, report.cost.seconds)
    properties = ET.Element("properties")
    for name, value in _properties(report).items():
        ET.SubElement(properties, "property", {"name": _legal(name), "value": _legal(value)})
    suite.insert(0, properties)
    return suite


def _properties(report: Report) -> Mapping[str, str]:
    environment = report.environment
    packages = environment.get("packages") or {}
    return {
        "verdict": report.headline,
        "declared": report.declared,
        "seed": str(report.seed),
        "profile": report.profile,
        **{key: str(environment[key]) for key in ("device", "dtype", "python", "platform") if environment.get(key)},
        "tiecheck": report.tiecheck,
        **{f"package {name}": str(version) for name, version in packages.items()},
        **{f"note {number}": note for number, note in enumerate(report.notes, 1)},
        **({"replay": report.replay} if report.replay else {}),
    }


def _counted(name: str, cases: list[ET.Element], seconds: float) -> ET.Element:
    def count(kind: str) -> str:
        return str(sum(case.find(kind) is not None for case in cases))

    counts = {"tests": str(len(cases)), "failures": count("failure"), "errors": count("error")}
    suite = ET.Element("testsuite", {"name": _legal(name), **counts, "skipped": count("skipped")})
    suite.set("time", _seconds(seconds))
    suite.extend(cases)
    return suite


def _case(result: Result, group: str, report: Report, cause: Diagnosis | None) -> ET.Element:
    case = ET.Element("testcase", {"classname": _legal(group), "name": result.id, "time": _seconds(result.seconds)})
    if result.verdict == "error":
        _outcome(case, "error", result.message, "defect of tiecheck", "")
    elif result.verdict == "skip":
        _outcome(case, "skipped", result.message, "skip", "")
    elif result.verdict == "xfail":
        _outcome(case, "skipped", result.message, "xfail", _explained(cause))
    elif result.verdict == "fail" and result.level == "SHOULD" and not report.strict:
        _outcome(case, "skipped", f"fails, but {SHOULD}: {result.message}", "SHOULD", _explained(cause))
    elif result.verdict == "fail":
        _outcome(case, "failure", result.message, result.level, _explained(cause))
    return case


def _cause_alone(cause: Diagnosis, group: str) -> ET.Element:
    case = ET.Element("testcase", {"classname": _legal(group), "name": _legal(named(cause)), "time": _seconds(0)})
    _outcome(case, "failure", cause.explanation, cause.cause, _explained(cause))
    return case


def _unjudged(rows: tuple[tuple[str, str], ...]) -> ET.Element:
    cases = []
    for target, reason in rows:
        case = ET.Element("testcase", {"classname": _legal(target), "name": "not judged", "time": _seconds(0)})
        _outcome(case, "skipped", f"not judged: {reason}", "not judged", "")
        cases.append(case)
    return _counted("tiecheck: not judged", cases, 0)


def _outcome(case: ET.Element, tag: str, message: str, kind: str, text: str) -> None:
    element = ET.SubElement(case, tag, {"message": _legal(message), "type": _legal(kind)})
    element.text = _legal(text) or None


def _explained(cause: Diagnosis | None) -> str:
    """The cause as the terminal draws it."""
    if cause is None:
        return ""
    lines = [f"{named(cause)} [{cause.cause}]", f"what: {cause.explanation}"]
    lines += [f"where: {cause.where}"] if cause.where else []
    lines += [f"fix: {cause.fix}" + (f"  ({cause.tried})" if cause.tried else "")] if cause.fix else []
    return "\n".join(lines)


def _legal(text: str) -> str:
    """``text`` with every character that XML cannot hold, or that steers a viewer, spelt out."""
    return _NO_CHARACTER.sub(lambda match: f"\\u{ord(match[0]):04x}", clean_lines(text))


def _seconds(value: float) -> str:
    return f"{value:.6f}"
