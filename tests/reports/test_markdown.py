"""Markdown: what a reader of a pull request sees first, what GitHub would act on, and its size."""

import re
from dataclasses import replace

import pytest
from hand_made import both, conforming, failing
from hostile import HOSTILE
from markdown_it import MarkdownIt
from tiecheck.conformance.explain import clean
from tiecheck.conformance.markdown import LIMIT, markdown
from tiecheck.conformance.report import Both, Result

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def rendered(judged):
    return PARSER.render(markdown(judged))


def test_first_things_first():
    text = markdown(failing())
    assert text.startswith(f"### ❌ {failing().headline}\n\n<code>models.py&#58;make</code>, declared tied")
    parts = ["expected one matrix", "mend   model.head.weight", "| **FAIL** | MUST |", "more cause", "<details>"]
    assert sorted(parts, key=text.index) == ["expected one matrix", "mend   model.head.weight", "| **FAIL** | MUST |",
                                             "<details>", "more cause"]  # fmt: skip
    assert "it then conforms" in text and "tiecheck run models.py:make --seed 0" in text
    assert markdown(conforming()).startswith("### ✅ conforms: 3 of 4")


@pytest.mark.parametrize("judged", [conforming(), failing(), both(), replace(both(), unjudged=(("x", "y"),))])
def test_tables_and_folds_are_whole(judged):
    text, html = markdown(judged), rendered(judged)
    assert html.count("<details>") == html.count("</details>") == text.count("<details>") > 0
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.count("|") == 5 for line in rows)
    assert html.count("<tr>") == len(rows) - text.count("| --- |  --- |") - html.count("<table>")


def test_nothing_from_a_target_becomes_markup(hostile):
    judged = Both((hostile,), ((HOSTILE, HOSTILE),))
    text, html = markdown(judged), rendered(judged)
    plain = rendered(Both((failing(),), (("x", "y"),)))
    assert set(re.findall(r"<(\w+)", html)) == set(re.findall(r"<(\w+)", plain))
    for tag in ("tr", "td", "details", "h3", "pre", "table", "hr"):
        assert html.count(f"<{tag}>") == plain.count(f"<{tag}>"), tag
    assert not any(char in text for char in "\x00\x1b\r\u202e\ud800")
    # In code GitHub reads no mention, reference, link or emoji; so nothing of the kind stands outside.
    outside = re.sub(r"<(pre|code)\b.*?</\1>", "", html, flags=re.DOTALL)
    for word in ("octocat", "evil", "GH-1", "smile", "heading", "$x$"):
        assert word not in outside
    # Outside of blocks nothing is left that GitHub's own extensions would turn into a link.
    inline = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"https?:|www\.|@|&#64;(?!<!-- -->)", inline)


def test_text_comes_out_as_it_went_in(hostile):
    import html as entities

    cells = [entities.unescape(re.sub("<[^>]+>", "", cell)) for cell in re.findall("<td>(.*?)</td>", rendered(hostile))]
    # Rendered Markdown escapes once more than the page shows.
    assert any(clean(HOSTILE) in entities.unescape(cell) or clean(HOSTILE) in cell for cell in cells)


@pytest.mark.parametrize("size", [1, 300, 5_000])
def test_the_size_is_bounded(hostile, size):
    results = tuple(
        Result(f"storage.r{n}", "MUST", verdict, HOSTILE * 20 + "é" * 500)
        for n in range(size)
        for verdict in ("fail", "pass", "skip")
    )
    report = replace(hostile, results=results, diagnosis=hostile.diagnosis * size, notes=(HOSTILE * 50,) * size)
    for judged in (report, Both((report,) * 40, ((HOSTILE * 20, HOSTILE * 20),) * size)):
        text = markdown(judged)
        assert len(text.encode()) <= LIMIT < 64 * 1024
        assert text.startswith("### ❌ does not conform")
        assert text.count("<details>") == text.count("</details>")
        assert size == 1 or "left out here" in text
