"""The specification inside somebody's own test file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .asked import Judging
    from .declaration import Declaration

MARK = "tiecheck_requirements"
ARGUMENT = "requirement"
_FROM_COMMAND_LINE = ("device", "dtype", "profile", "strict", "select", "deselect", "seed", "timeout")
"""What the command line may set for these tests too; what a model is declared to be stays in the test file."""


def parametrize_with_requirements(
    factory: Any, declare: str | Declaration | None = None, **options: Any
) -> pytest.MarkDecorator:
    """Turn a test into one test a requirement.

        @parametrize_with_requirements(build_model)
        def test_tied(requirement):
            requirement()

    The test gets each requirement as its argument ``requirement``, and asks it by calling it; one that it does not call
    is asked when it ends. All of them share one run of the model.

    Args:
        factory: a model, a factory or a target, as `check` takes them; or a list of these.
        declare, options: those of `check`. ``--tie-seed`` and the like beat them, ``--tie-declare`` and ``--tie-assume``
            do not.
    """
    mark: pytest.MarkDecorator = getattr(pytest.mark, MARK)
    return mark.with_args(Demand(factory, declare, options))


class Demand:
    """What one decorator was given; resolved when pytest collects, with the options of its command line."""

    def __init__(self, factory: Any, declare: str | Declaration | None, options: dict[str, Any]) -> None:
        self.sources = list(factory) if isinstance(factory, list | tuple) else [factory]
        self.declare, self.options = declare, options

    def judgings(self, chosen: Mapping[str, Any]) -> list[Judging]:
        """One for each target. Raises NotJudged with one sentence."""
        from .asked import Judging
        from .errors import NotJudged
        from .run import options_of, understood

        over = {key: chosen[key] for key in _FROM_COMMAND_LINE if key in chosen}
        try:
            options = options_of(self.declare, **{**self.options, **over})
        except TypeError as error:
            raise NotJudged(f"parametrize_with_requirements: {str(error).partition('() ')[2] or error}") from None
        if not self.sources:
            raise NotJudged("parametrize_with_requirements was given no model")
        targets = [understood(source) for source in self.sources]
        names = [
            target.name if isinstance(source, str) else target.name.rpartition(".")[2]
            for source, target in zip(self.sources, targets, strict=True)
        ]
        many, seen = Counter(names), Counter[str]()
        out = []
        for name, target in zip(names, targets, strict=True):
            out.append(Judging(target, options, f"{name}{seen[name]}" if many[name] > 1 else name))
            seen[name] += 1
        return out
