"""The page: complete, self-contained, and deaf to whatever a target calls itself."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hand_made import both, conforming, failing
from hostile import HOSTILE
from tiecheck.conformance.explain import clean, clean_lines
from tiecheck.conformance.html import LONGEST, html
from tiecheck.conformance.report import Both, Result
from tiecheck.conformance.requirement import requirements

VOID = {"meta"}


class Page(HTMLParser):
    """Tags and attributes as a browser's parser sees them, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.open, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    def handle_comment(self, data):
        raise AssertionError(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.mark.parametrize("judged", [conforming(), failing(), both(), replace(both(), unjudged=(("x", "no"),))])
def test_self_contained(judged):
    text = html(judged)
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "base", "form", "a"} & set(page.tags)
    assert {key for key, _ in page.attributes} <= {
        "lang", "charset", "http-equiv", "content", "name", "class", "scope", "open",
    }  # fmt: skip
    assert not re.search(r"url\(|@import|https?://|javascript:", text)
    assert text.count("<style>") == 1


def test_the_policy_allows_the_style_of_the_page_alone():
    text = html(failing())
    style = re.search("<style>(.*)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = next(value for key, value in Page(text).attributes if key == "content")
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_everything_is_on_it():
    item = requirements()[0]
    report = failing(results=(*failing().results, Result(item.id, item.level, "pass", "so it was")))
    text = Page(html(report)).text
    for words in (
        report.headline, "models.py:make", "declared tied", "the weights are random",
        "expected one matrix, seen two of equal values", "models.py:12", "model.head.weight = model.emb.weight",
        "tried on a second instance: it then conforms", "not tried", "SHOULD: does not fail the run unless",
        "row 3", "expected 0.5", "seen 0.25", "not selected", "torch 2.11.0", "tiecheck run models.py:make --seed 0",
        item.statement, " ".join(item.formula.split()), item.source,
    ):  # fmt: skip
        assert " ".join(words.split()) in text, words
    assert [text.index(part) for part in ("Why", "What failed", "Run it again", "All requirements")] == sorted(
        text.index(part) for part in ("Why", "What failed", "Run it again", "All requirements")
    )


def test_nothing_from_a_target_becomes_markup(hostile):
    judged = Both((hostile, conforming()), ((HOSTILE, HOSTILE),))
    text, plain = html(judged), html(Both((failing(), conforming()), (("x", "y"),)))
    page = Page(text)
    assert set(page.tags) == set(Page(plain).tags)
    assert {key for key, _ in page.attributes} == {key for key, _ in Page(plain).attributes}
    shown = "".join(page.texts)
    assert shown.count(clean(HOSTILE)) >= 11 and shown.count(clean_lines(HOSTILE)) >= 4
    assert not any(char in text for char in "\x00\x1b\r\u202e\u202c\ud800")
    assert "49" not in page.text  # no template in a template
    text.encode("utf-8")


def test_a_long_counterexample_is_cut():
    result = Result("storage.one-memory", "MUST", "fail", "x", {"rows": list(range(100_000))})
    text = html(failing(results=(result,)))
    assert len(text) < 20_000 + LONGEST and "the JSON report has it whole" in text


def test_the_same_report_gives_the_same_page():
    assert html(failing()) == html(failing())
