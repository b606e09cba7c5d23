"""docs/resume.py in miniature: what is lost when a model is built, what tiecheck says before step 1, and the cliff."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from tiecheck.conformance import TieLost, assert_tied
from tiecheck.reference import GPTConfig

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import resume  # noqa: E402

SMALL = GPTConfig(vocabulary=200, context=16, width=16, layers=1, heads=2)
SIZE = resume.Size(SMALL, batch=8, steps=80, more=20, every=20, rate=1e-2)
TABLE = SMALL.vocabulary * SMALL.width


@pytest.fixture(scope="module")
def runs() -> list[resume.Run]:
    return [resume.run(case, 0, SIZE) for case in resume.CASES]


@pytest.fixture(scope="module")
def built() -> dict[str, resume.Model]:
    weights = {name: resume.initial(SMALL, 0) for name in (*resume.CASES, "moved")}
    return {name: (resume.CASES | {"moved": resume.moved})[name](SMALL, weights[name]) for name in weights}


def test_what_the_page_says(runs: list[resume.Run], built: dict[str, resume.Model]) -> None:
    """The same questions that decide whether the page is written."""
    ids = resume.windows(SMALL)[1][:1, :-1]
    held = resume.claims(
        runs,
        {name: resume.verdict(model, ids) for name, model in built.items()},
        {name: resume.look(model) for name, model in built.items()},
        table=TABLE,
        same=resume.same_training(SIZE),
    )
    del held["the untied runs look better"]  # the miniature is too small to promise that
    assert not [claim for claim, holds in held.items() if not holds]


def test_before_step_1(built: dict[str, resume.Model]) -> None:
    """All four give the same logits, and one of them is tied."""
    ids = resume.windows(SMALL)[1][:2, :-1]
    logits = {name: model(ids) for name, model in built.items()}
    for name, model in built.items():
        assert torch.equal(logits[name], logits["tied"])
        if name == "tied":
            assert_tied(model, torch.optim.AdamW(model.parameters()), ids)
            continue
        with pytest.raises(TieLost, match=r"model\.head\.weight = model\.embedding\.weight"):
            assert_tied(model, torch.optim.AdamW(model.parameters()), ids)


def test_the_cliff(runs: list[resume.Run]) -> None:
    """More than half of what the training gained is gone, and only where there were two memories."""
    cliffs = {run.case: run.cliff / run.gained for run in runs}
    assert cliffs["emptied"] > 0.5
    assert cliffs["tied"] == cliffs["assigned"] == 0


def test_assigned_from_a_file_that_stores_each_name_by_itself() -> None:
    weights = {name: value.clone() for name, value in resume.initial(SMALL, 0).items()}
    assert resume.look(resume.assigned(SMALL, weights)) == resume.look(resume.emptied(SMALL, weights))


def test_the_head_wins_where_both_tables_are_loaded() -> None:
    model = resume.emptied(SMALL, resume.initial(SMALL, 0))
    with torch.no_grad():
        model.head.weight.add_(1)
    assert torch.equal(resume.tied(SMALL, model.state_dict()).embedding.weight, model.head.weight)


def test_the_picture(runs: list[resume.Run]) -> None:
    """Well-formed, a curve for each run, and nothing that a reader's machine would have to load."""
    from xml.etree import ElementTree

    drawn = resume.picture(runs, SIZE)
    paths = [path.get("class", "") for path in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}path")]
    assert sum("thin" in name for name in paths) == len(runs)
    assert "href" not in drawn and "url(" not in drawn


def test_transformers() -> None:
    """What holds in each release; what one release logs is the page's."""
    import resume_transformers

    for family in resume_transformers.FAMILIES:
        found = resume_transformers.rows(family)
        assert [row.one for row in found[:4]] == [True, False, False, True]
        assert [row.cause for row in found[:4]] == ["", "equal-copy", "two-parameters-one-memory", ""]
        late = found[5]
        assert late.one or late.said, "a loader must not end untied without a word"


def test_the_page_quotes_what_tiecheck_says() -> None:
    page, config = (ROOT / "docs" / "resume.md").read_text(), resume.Size().model
    ids = resume.windows(config)[1][:1, :-1]
    for case in (resume.emptied, resume.assigned, resume.moved):
        said = resume.verdict(case(config, resume.initial(config, 0)), ids)
        for words in (f"`{said.cause}`", said.explanation, said.fix, said.lost):
            assert words in page, "docs/resume.md is old: run `python docs/resume.py`"


def test_the_number_in_the_readme() -> None:
    page, readme = (ROOT / "docs" / "resume.md").read_text(), (ROOT / "README.md").read_text()
    quoted = readme.partition("(docs/resume.md)")[2].partition("from ")[2].split(".\n")[0].split()
    before, after = quoted[0], quoted[2]
    assert f"loss goes from {before} to {after} in no step" in page
