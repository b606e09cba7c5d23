"""What a model with tied input and output embeddings owes, and how it is found out.

    from tiecheck.conformance import check
    report = check(model_or_factory, declare="tied")
    report.conforms, report.diagnosis, report.to_dict()

Names load on first use, so that the import itself brings no framework.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Declaration",
    "NotJudged",
    "TieLost",
    "__version__",
    "assert_tied",
    "check",
    "parametrize_with_requirements",
    "stages",
    "watch",
]

_HOME = {
    "assert_tied": "assertion",
    "check": "run",
    "Declaration": "declaration",
    "NotJudged": "errors",
    "TieLost": "errors",
    "parametrize_with_requirements": "parametrize",
    "stages": "staging",
    "watch": "watching",
}

if TYPE_CHECKING:
    from .assertion import assert_tied
    from .declaration import Declaration
    from .errors import NotJudged, TieLost
    from .parametrize import parametrize_with_requirements
    from .run import check
    from .staging import stages
    from .watching import watch


def __getattr__(name: str) -> Any:
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
