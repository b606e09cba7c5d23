"""The pytest plugin: ``pytest --pyargs tiecheck.conformance --adapter TARGET``, and what steers it.

Every pytest run of an environment that has tiecheck loads this module, so it imports nothing heavy, and does nothing
where nobody asks.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from .parametrize import ARGUMENT, MARK

PACKAGE = "tiecheck.conformance"

# The options of `tiecheck run` that mean something here: each is handed to it word for word, so that it validates them,
# and reaches `run.Options` under the same name. Name, placeholder (None: a flag), whether it may be repeated, help.
STEERING: tuple[tuple[str, str | None, bool, str], ...] = (
    ("declare", "tied|untied|both", False, "what the model is meant to be"),
    ("assume", "KEY=VALUE", True, "declare what the architecture adds on purpose"),
    ("device", "cpu|cuda[:N]", False, "where the model runs"),
    ("dtype", "NAME", False, "cast the model first"),
    ("profile", "NAME", False, "how much is tried: quick, standard or full"),
    ("strict", None, False, "a SHOULD that fails fails the run"),
    ("select", "ID_OR_CHAPTER", True, "judge only this"),
    ("deselect", "ID_OR_CHAPTER", True, "judge all but this"),
    ("seed", "N", False, "draw other inputs"),
    ("timeout", "SECONDS", False, "stop asking after so long"),
    ("expected-failures", "FILE", False, "what is known to fail, and why"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of ``tiecheck run`` with a prefix."""
    group = parser.getgroup("tiecheck", f"tied embeddings (tiecheck): --pyargs {PACKAGE} --adapter TARGET, and")
    for name, value, many, text in STEERING:
        if value is None:
            group.addoption(f"--tie-{name}", action="store_true", help=text)
        elif many:
            group.addoption(f"--tie-{name}", action="append", default=[], metavar=value, help=f"{text}; repeatable")
        else:
            group.addoption(f"--tie-{name}", metavar=value, help=text)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(parser: pytest.Parser, args: list[str]) -> Generator[None, object, object]:
    """``--adapter``, only where it means something: the word is common, and a project's own option would clash with it."""
    if PACKAGE in args:
        parser.getgroup("tiecheck").addoption(
            "--adapter",
            action="append",
            default=[],
            dest="tie_adapter",
            metavar="TARGET",
            help="a model to judge, as `tiecheck run` names it; repeatable",
        )
    outcome = yield
    if PACKAGE not in args and _names_adapter(args) and _names_adapter(parser.parse_known_and_unknown_args(args)[1]):
        raise pytest.UsageError(f"--adapter names a model for the specification: add --pyargs {PACKAGE}")
    return outcome


def _names_adapter(words: Sequence[str]) -> bool:
    return any(word.partition("=")[0] == "--adapter" for word in words)


def _targets(config: pytest.Config) -> list[str]:
    """What was given to ``--adapter``."""
    targets: list[str] = getattr(config.option, "tie_adapter", [])
    return targets


def _words(config: pytest.Config) -> list[str]:
    """What was given of the options, as words for ``tiecheck run``."""
    words = []
    for name, value, many, _ in STEERING:
        given = config.getoption(f"tie_{name.replace('-', '_')}")
        if value is None:
            words += [f"--{name}"] if given else []
        else:
            words += [f"--{name}={text}" for text in (given if many else [given] if given is not None else [])]
    return words


def _is_asked(config: pytest.Config) -> bool:
    return bool(config.option.pyargs) and PACKAGE in config.args


def pytest_configure(config: pytest.Config) -> None:
    """Refuse nonsense before anything is collected."""
    config.addinivalue_line("markers", f"{MARK}(demand): set by tiecheck's parametrize_with_requirements")
    asked, targets, words = _is_asked(config), _targets(config), _words(config)
    if not (asked or targets or words):
        return
    if asked and not targets:
        raise pytest.UsageError(
            f"{PACKAGE} judges a model, and none was named: add --adapter TARGET (`tiecheck run --help` says what a target is)"
        )
    if targets and not asked:
        raise pytest.UsageError(f"{PACKAGE} is named without --pyargs")
    from .items import OPTIONS
    from .steering import Tally, steered

    given = steered(targets, words)
    if not targets and not given.keys().isdisjoint({"declare", "assume"}):
        raise pytest.UsageError(
            "--tie-declare and --tie-assume go with --adapter; a test file declares in its decorator"
        )
    config.stash[OPTIONS] = given
    if asked and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Tally(config), "tiecheck-tally")


@pytest.hookimpl(tryfirst=True)
def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """The folder of the installed package is the specification, where somebody asks for it by name."""
    here = Path(__file__).parent
    if path.name != here.name or not _is_asked(parent.config) or not path.samefile(here):
        return None
    from .items import Specification

    # An id of its own: the way from somebody's folder to the installed package says nothing and differs by machine.
    node: pytest.Collector = Specification.from_parent(parent, path=path, nodeid=PACKAGE)
    return node


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give decorated tests their requirements."""
    marks = list(metafunc.definition.iter_markers(MARK))
    if marks:
        from .items import parametrized

        parametrized(metafunc, marks[::-1])


def _asked(item: pytest.Item) -> Any:
    """The requirement that an item asks; None for other people's items."""
    own = getattr(item, "asked", None)
    if own is None and item.get_closest_marker(MARK) is not None:
        callspec = getattr(item, "callspec", None)
        own = callspec.params.get(ARGUMENT) if callspec is not None else None
    return own if type(own).__module__ == f"{__package__}.asked" else None


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Gather the evidence, after skips by marker and after fixtures."""
    asked = _asked(item)
    if asked is not None:
        from .items import replay

        asked.called, asked.replay = False, replay(item, asked)
        asked.gather()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A test that forgot to call its requirement must not be green."""
    outcome = yield
    asked = _asked(pyfuncitem)
    if asked is not None and not asked.called:
        asked()
    return outcome


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Our words instead of a traceback."""
    report = yield
    asked = _asked(item)
    if asked is not None:
        from .items import shape

        error = call.excinfo.value if call.excinfo is not None else None
        shape(report, item, error, bool(item.config.option.fulltrace))
        if call.when == "call":
            # Plain values: under xdist they travel to the process that prints.
            report.__dict__["tiecheck"] = [report.outcome != "skipped" or hasattr(report, "wasxfail"), *asked.notes()]
    return report


def pytest_report_header(config: pytest.Config) -> Sequence[str]:
    """What steers the run."""
    if not _targets(config) and not _words(config):
        return ()
    from .steering import header

    return header(_targets(config), _words(config))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A target's items to one process, as ``--dist loadscope`` does: spread, each process would judge the model."""
    if config.getvalue("dist") not in ("load", "loadgroup") or not _is_asked(config) or set(config.args) != {PACKAGE}:
        return None
    return import_module("xdist.scheduler").LoadScopeScheduling(config, log)
