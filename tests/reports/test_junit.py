"""JUnit: the shape that its readers expect, what counts as a failure, and text that XML cannot hold."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hand_made import both, conforming, failing
from hostile import HOSTILE
from tiecheck.conformance.junit import junit
from tiecheck.conformance.report import Both, Diagnosis, Result

# The schema that readers of JUnit share: each element's attributes, and its children with how often they may stand.
ATTRIBUTES = {
    "testsuites": {"name", "tests", "failures", "errors", "skipped", "time"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time"},
    "properties": set(),
    "property": {"name", "value"},
    "testcase": {"classname", "name", "time"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "skipped": {"message", "type"},
}
CHILDREN = {
    "testsuites": ["testsuite"],
    "testsuite": ["properties", "testcase"],
    "properties": ["property"],
    "testcase": ["skipped", "error", "failure"],
}


def parsed(judged):
    """The document, held against the schema."""
    text = junit(judged)
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n')
    root = ET.fromstring(text.encode("utf-8"))
    assert root.tag == "testsuites"
    for element in root.iter():
        assert set(element.attrib) == ATTRIBUTES[element.tag]
        order = [CHILDREN.get(element.tag, []).index(child.tag) for child in element]
        assert order == sorted(order)
        for key in {"tests", "failures", "errors", "skipped"} & set(element.attrib):
            assert element.get(key).isdecimal()
        if "time" in element.attrib:
            assert float(element.get("time")) >= 0 and "e" not in element.get("time")
        if element.tag == "testcase":
            assert len(element) <= 1 and element.get("name") and element.get("classname")
    for suite in root:
        for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"), ("tests", None)):
            cases = [case for case in suite.iter("testcase") if tag is None or case.find(tag) is not None]
            assert int(suite.get(key)) == len(cases)
    for key in ("tests", "failures", "errors", "skipped"):
        assert int(root.get(key)) == sum(int(suite.get(key)) for suite in root)
    return root


def cases(root):
    return {case.get("name"): case for case in root.iter("testcase")}


def test_a_case_for_each_requirement():
    root = parsed(failing())
    assert list(cases(root)) == [result.id for result in failing().results]
    assert {case.get("classname") for case in root.iter("testcase")} == {"models.py:make"}
    failure = cases(root)["storage.one-memory"].find("failure")
    assert failure.get("message").startswith("head.weight holds the values")
    for words in ("expected one matrix", "where: models.py:12", "fix: model.head.weight =", "it then conforms"):
        assert words in failure.text
    properties = {item.get("name"): item.get("value") for item in root.iter("property")}
    assert properties["seed"] == "0" and properties["profile"] == "standard" and properties["dtype"] == "float32"
    assert properties["replay"] == "tiecheck run models.py:make --seed 0" and properties["device"] == "cpu"
    assert properties["verdict"] == failing().headline


def test_a_should_counts_under_strict_alone():
    case = cases(parsed(failing()))["storage.other"]
    assert case.find("skipped").get("message").startswith("fails, but SHOULD: does not fail the run")
    assert "unused table" in case.find("skipped").text
    assert cases(parsed(failing(strict=True)))["storage.other"].find("failure") is not None


@pytest.mark.parametrize(
    ("verdict", "tag"), [("pass", None), ("skip", "skipped"), ("xfail", "skipped"), ("error", "error")]
)
def test_verdicts(verdict, tag):
    report = conforming(results=(Result("storage.one-memory", "MUST", verdict, "so it was"),))
    (case,) = parsed(report).iter("testcase")
    assert [child.tag for child in case] == ([tag] if tag else [])
    if tag:
        assert case[0].get("message") == "so it was"


def test_a_failure_for_every_report_that_does_not_conform():
    cause = Diagnosis("unknown", "entry 1 gives no reason", "mend it", (), title="a wrong entry")
    root = parsed(conforming(conforms=False, diagnosis=(cause,)))
    assert root.get("failures") == "1" and cases(root)["a wrong entry"].find("failure").text


def test_both_are_told_apart_and_the_unjudged_does_not_count():
    root = parsed(replace(both(), unjudged=(("x (untied)", "it refuses"),)))
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(names) == len(set(names)) == 9
    assert "refuses" in cases(root)["not judged"].find("skipped").get("message") and root.get("failures") == "1"


def test_what_xml_cannot_hold_is_spelt_out(hostile):
    root = parsed(Both((hostile,), ((HOSTILE, HOSTILE),)))
    message = cases(root)["storage.one-memory"].find("failure").get("message")
    for words in ("</script>", "\\x1b[31m\\x00", "\\ufffe\\uffff\\ud800", "\\u202e", "]]>"):
        assert words in message
    assert not any(char in junit(hostile) for char in "\x00\x1b\ufffe\uffff\ud800\u202e")
