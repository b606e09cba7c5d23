"""`watch` as a callback of the Trainer of transformers.

    from tiecheck.adapters.huggingface_trainer import TieCallback
    Trainer(model, arguments, callbacks=[TieCallback(every=500)], ...)

``TieCallback(every=None, shares=False, on_loss="raise", shares_every=None)``: see `tiecheck.conformance.watch`, which begins
with the training and ends with it. Steps are numbered as the Trainer numbers them, also where it goes on from a checkpoint.
The class is made, and transformers imported, when it is first asked for.
"""

from __future__ import annotations

import functools
from typing import Any

from tiecheck.conformance.lasting import Lasting


@functools.cache
def _callback() -> Any:
    from transformers import TrainerCallback

    class TieCallback(TrainerCallback):  # type: ignore[misc,unused-ignore]
        """Watches the tie from the first step of a training to its last. The options are those of `watch`."""

        def __init__(self, **options: Any) -> None:
            self.lasting = Lasting(options)

        def on_train_begin(
            self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None, **rest: Any
        ) -> None:
            """The ends are found. Raises TieLost where the model is not tied, NotJudged where it cannot be told."""
            self.lasting.begin(model, optimizer, start=state.global_step)

        def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            """What is asked once more at the end. Raises TieLost."""
            self.lasting.end()

    TieCallback.__qualname__ = "TieCallback"  # so that it can be pickled
    return TieCallback


def __getattr__(name: str) -> Any:
    if name == "TieCallback":
        return _callback()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
