"""Which keyword of a factory is its tie flag, and how it is spelt."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from tiecheck.conformance import NotJudged
from tiecheck.conformance.factories import Keyword, keyword_of, separated
from tiecheck.conformance.targets import given, resolve


def plain(tied: bool = True) -> None: ...
def only(*, tied: bool = False) -> None: ...
def needed(tied: bool) -> None: ...
def open_(tied: Any = None) -> None: ...
def positional(tied: bool = True, /) -> None: ...
def more(**tied: bool) -> None: ...
def several(*tied: bool) -> None: ...
def other(tie_weights: bool = True, **rest: Any) -> None: ...
def none() -> None: ...


class Made:
    def __init__(self, width: int = 3, tied: bool = False) -> None: ...

    def method(self, tied: bool = True) -> None: ...

    @classmethod
    def of_class(cls, tied: bool = True) -> None: ...

    @staticmethod
    def static(tied: bool = False) -> None: ...

    def __call__(self, tied: bool = True) -> None: ...


class Below(Made):
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...


def hidden() -> Any:
    @functools.wraps(plain)
    def wrapper() -> None: ...

    return wrapper


def handed_on() -> Any:
    @functools.wraps(plain)
    def wrapper(*args: Any, **kwargs: Any) -> None: ...

    return wrapper


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        (plain, Keyword("tied", True)),
        (only, Keyword("tied", False)),
        (needed, Keyword("tied", None, required=True)),
        (open_, Keyword("tied", None)),
        (positional, None),
        (more, None),
        (several, None),
        (other, None),
        (none, None),
        (Made, Keyword("tied", False)),
        (Made().method, Keyword("tied", True)),
        (Made.of_class, Keyword("tied", True)),
        (Made.static, Keyword("tied", False)),
        (Made(), Keyword("tied", True)),
        (Below, None),
        (functools.partial(plain, tied=False), Keyword("tied", False)),
        (functools.partial(plain, True), None),
        (functools.partial(Made, 5), Keyword("tied", False)),
        (functools.cache(plain), Keyword("tied", True)),
        (hidden(), None),
        (handed_on(), Keyword("tied", True)),
        (dict, None),
        (print, None),
    ],
)
def test_the_documented_keyword(factory: Any, expected: Keyword | None) -> None:
    assert keyword_of(factory, None, "f") == expected
    target = given(factory)
    assert target.flag is (expected is not None) and target.flag_name == "tied"


@pytest.mark.parametrize(
    ("factory", "name", "expected"),
    [
        (other, "tie_weights", Keyword("tie_weights", True)),
        (other, "share", Keyword("share", None)),
        (Below, "tied", Keyword("tied", None)),
        (more, "anything", Keyword("anything", None)),
        (functools.partial(other, tie_weights=False), "tie_weights", Keyword("tie_weights", False)),
    ],
)
def test_a_keyword_that_is_named(factory: Any, name: str, expected: Keyword) -> None:
    assert keyword_of(factory, name, "f") == expected


@pytest.mark.parametrize(
    ("factory", "name", "said"),
    [
        (plain, "tie", r"f has no keyword 'tie' \(did you mean 'tied'\?\)"),
        (none, "tied", "f has no keyword 'tied'$"),
        (positional, "tied", "f takes 'tied' by its position alone, so that it is no keyword"),
        (several, "tied", "f has no keyword 'tied'$"),
        (hidden(), "tied", "f has no keyword 'tied'$"),
        (type("S", (), {"__signature__": 3}), "tied", "the signature of f cannot be read"),
    ],
)
def test_a_keyword_that_is_not_there(factory: Any, name: str, said: str) -> None:
    with pytest.raises(NotJudged, match=said):
        keyword_of(factory, name, "f")


def test_the_values_are_true_and_false_and_nothing_where_nobody_asks() -> None:
    assert Keyword("tie").words(None) == {}
    assert Keyword("tie", required=True).words(None) == {"tie": True}
    assert [Keyword("tie").words(value) for value in (True, False)] == [{"tie": True}, {"tie": False}]


def test_the_spelling() -> None:
    assert separated("build") == ("build", None)
    assert separated("Model.small@tie_weights") == ("Model.small", "tie_weights")
    for text in ("build@", "build@a@b", "build@tie=False", "build@ tie", "build@3", "@"):
        with pytest.raises(NotJudged, match="keyword"):
            separated(text)


def test_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "with@sign"
    folder.mkdir()
    file = folder / "spelt_so.py"
    file.write_text("def build(tie=False): ...\nclass K:\n    @classmethod\n    def m(cls, *, tied): ...\nx = 3\n")
    target = resolve(f"{file}:build@tie")
    assert (target.name, target.flag, target.flag_name) == (f"{file}:build@tie", True, "tie")
    assert not resolve(f"{file}:build").flag
    assert resolve(f"{file}:K.m").keyword == Keyword("tied", None, required=True)
    monkeypatch.chdir(folder)
    assert resolve("spelt_so:build@tie").keyword == Keyword("tie", False)
    for text, said in (
        ("spelt_so:build@tied", r"spelt_so:build has no keyword 'tied' \(did you mean 'tie'\?\)"),
        ("spelt_so:x@tie", "spelt_so:x is a int, and no factory that takes 'tie'"),
        ("spelt_so:@tie", "named without a factory"),
    ):
        with pytest.raises(NotJudged, match=said):
            resolve(text)
