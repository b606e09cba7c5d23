"""What pytest collects: a folder that is the specification, in it the targets, in each its requirements."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from .asked import Asked, Judging, Unmet, named
from .errors import NotJudged
from .explain import clean
from .parametrize import ARGUMENT, Demand
from .plugin import PACKAGE

OPTIONS = pytest.StashKey[Mapping[str, Any]]()
_JUDGINGS = pytest.StashKey[dict[Demand, list[Judging]]]()


class Specification(pytest.Directory):
    """Stands for the installed package, of which pytest then collects no file."""

    def collect(self) -> Iterator[pytest.Collector]:
        """A collector a target."""
        for text in dict.fromkeys(self.config.option.tie_adapter):
            yield TargetCollector.from_parent(self, name=_segment(text), text=text)


class TargetCollector(pytest.Collector):
    """One ``--adapter``."""

    def __init__(self, *, text: str, **rest: Any) -> None:
        super().__init__(**rest)
        self.text = text

    def collect(self) -> Iterator[pytest.Item]:
        """An item a requirement and declaration. CollectError with one sentence for a target that cannot be built."""
        from .run import Options, understood

        options = self.config.stash[OPTIONS]
        try:
            judging = Judging(understood(self.text), Options(**options), self.text)
            asked = judging.asked()
        except NotJudged as error:
            raise self.CollectError(clean(named(self.text, str(error)))) from None
        for name, item in asked:
            # The id in words: pytest then knows what stands in brackets, and finds it again for --lf.
            yield RequirementItem.from_parent(self, name=name, nodeid=f"{self.nodeid}::{name}", asked=item)


class RequirementItem(pytest.Item):
    """One requirement of one target."""

    fixturenames: tuple[str, ...] = ()
    """None; conftests look."""

    def __init__(self, *, asked: Asked, **rest: Any) -> None:
        super().__init__(**rest)
        self.asked = asked
        if self.config.pluginmanager.hasplugin("xdist"):
            self.add_marker(pytest.mark.xdist_group(asked.judging.label))

    def runtest(self) -> None:
        """Raise where it is not met."""
        self.asked()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """No traceback, nor the time that drawing one takes, for what is said in words."""
        return str(excinfo.value) if isinstance(excinfo.value, Unmet) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """No line that means anything, but the heading of a failure."""
        return self.path, 0, f"{self.asked.judging.label}: {self.name}"


def _segment(text: str) -> str:
    """A target as a part of a node id, which ``::`` separates."""
    return clean(text).replace("::", ":")


def replay(item: pytest.Item, asked: Asked) -> str:
    """The command that asks the same again."""
    if isinstance(item, RequirementItem):
        words = ["--pyargs", PACKAGE, "--adapter", asked.judging.label, "-k", asked.id]
    else:
        words = [item.nodeid.rpartition("]")[0] + "]"]  # xdist may have put a group behind it
    for option, value in vars(item.config.option).items():
        if option.startswith("tie_") and option != "tie_adapter" and value:
            flag = "--" + option.replace("_", "-")
            texts = [] if value is True else value if isinstance(value, list) else [value]
            words += [flag] if value is True else [word for text in texts for word in (flag, str(text))]
    return shlex.join(["pytest", *words])


def parametrized(metafunc: pytest.Metafunc, marks: Sequence[pytest.Mark]) -> None:
    """Give a test that is under `parametrize_with_requirements` its requirements."""
    if ARGUMENT not in metafunc.fixturenames:
        name = metafunc.function.__name__
        raise pytest.Collector.CollectError(
            f"{name} is under parametrize_with_requirements, so it needs an argument called {ARGUMENT}"
        )
    try:
        judgings = [judging for mark in marks for judging in _judgings(metafunc.config, mark.args[0])]
        asked = [pair for judging in judgings for pair in judging.asked()]
    except NotJudged as error:
        raise pytest.Collector.CollectError(f"{metafunc.function.__name__}: {clean(str(error))}") from None
    grouped = metafunc.config.pluginmanager.hasplugin("xdist")
    cases = []
    for name, item in asked:
        label = item.judging.label
        group = [pytest.mark.xdist_group(f"{metafunc.module.__name__}:{label}")] if grouped else []
        cases.append(pytest.param(item, id=f"{label}-{name}" if len(judgings) > 1 else name, marks=group))
    metafunc.parametrize(ARGUMENT, cases)


def _judgings(config: pytest.Config, demand: Demand) -> list[Judging]:
    """Those of one decorator: the same for every test that it stands on, judged once."""
    known = config.stash.setdefault(_JUDGINGS, {})
    if demand not in known:
        known[demand] = demand.judgings(config.stash.get(OPTIONS, {}))
    return known[demand]


def shape(report: pytest.TestReport, item: pytest.Item, error: object, full: bool) -> None:
    """Say how an item ended in our words, without a frame of ours."""
    if isinstance(item, RequirementItem) and isinstance(report.longrepr, tuple):
        # A skip. An item of ours has no line; its id tells more than the folder of the package.
        report.longrepr = (item.asked.id, None, report.longrepr[2])  # type: ignore[assignment]
    elif isinstance(error, Unmet):
        if not (full and error.defect):
            report.longrepr = str(error)
        if error.excused and report.outcome == "failed":
            report.outcome, report.wasxfail = "skipped", error.excused
