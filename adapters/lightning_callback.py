"""`watch` as a callback of Lightning's Trainer.

    from tiecheck.adapters.lightning_callback import TieCallback
    Trainer(callbacks=[TieCallback(of="model", every=500)])

``TieCallback(of="", every=None, shares=False, on_loss="raise", shares_every=None)``: see `tiecheck.conformance.watch`, which
begins with the training and ends with it. ``of`` is the dotted name, in the LightningModule, of the module that returns
logits for ids, where its own ``forward`` does not. Steps are counted as the optimizer makes them.
The class is made, and Lightning imported (``lightning``, else ``pytorch_lightning``), when it is first asked for.
"""

from __future__ import annotations

import functools
from operator import attrgetter
from typing import Any

from tiecheck.conformance.errors import NotJudged
from tiecheck.conformance.lasting import Lasting


@functools.cache
def _callback() -> Any:
    try:
        from lightning.pytorch import Callback
    except ImportError:
        from pytorch_lightning import Callback

    class TieCallback(Callback):  # type: ignore[misc,unused-ignore]
        """Watches the tie from the first step of a training to its last. The options are those of `watch`."""

        def __init__(self, of: str = "", **options: Any) -> None:
            self.of, self.lasting = of, Lasting(options)

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            """The ends are found. Raises TieLost where the model is not tied, NotJudged where it cannot be told."""
            model = attrgetter(self.of)(pl_module) if self.of else pl_module
            try:
                self.lasting.begin(model, list(trainer.optimizers), start=trainer.global_step)
            except NotJudged as problem:
                name = self.of or type(pl_module).__name__
                raise NotJudged(
                    f'{problem} (of="..." names the module that gives logits for ids; this is {name})'
                ) from None

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            """What is asked once more at the end. Raises TieLost."""
            self.lasting.end()

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            """Nothing stays behind."""
            self.lasting.drop()

    TieCallback.__qualname__ = "TieCallback"  # so that it can be pickled
    return TieCallback


def __getattr__(name: str) -> Any:
    if name == "TieCallback":
        return _callback()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
