"""`watch` as a callback: of the Trainer of transformers, and of Lightning's, each where it is installed."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiecheck.conformance import NotJudged, TieLost
from torch import nn

from .training import TOKENS, gpt2, hooks


def data(count: int = 24) -> list[dict[str, torch.Tensor]]:
    drawn = torch.Generator().manual_seed(0)
    ids = [torch.randint(0, TOKENS, (8,), generator=drawn) for _ in range(count)]
    return [{"input_ids": row, "labels": row} for row in ids]


def untie(model: Any) -> None:
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())


def test_importing_them_costs_nothing_and_needs_nothing() -> None:
    import subprocess

    script = (
        "import sys; sys.modules.update(dict.fromkeys(('transformers', 'lightning', 'pytorch_lightning')))\n"
        "import tiecheck.adapters.huggingface_trainer, tiecheck.adapters.lightning_callback\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


# transformers


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., Any]:
    """A Trainer that has run for six steps with these callbacks."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate", reason="the Trainer of transformers needs accelerate; tox -e trainers has it")

    def train(*callbacks: Any, model: nn.Module | None = None, resume: bool = False, **options: Any) -> Any:
        arguments = transformers.TrainingArguments(
            str(tmp_path),
            **{"max_steps": 6, "save_strategy": "no", "per_device_train_batch_size": 4, **options},
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = transformers.Trainer(
            model or gpt2(), arguments, train_dataset=data(), callbacks=[*callbacks]
        )  # fmt: skip
        trainer.train(resume_from_checkpoint=resume or None)
        return trainer

    return train


def losing(at: int) -> Any:
    from transformers import TrainerCallback

    class Losing(TrainerCallback):  # type: ignore[misc,unused-ignore]
        def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **rest: Any) -> None:
            if state.global_step + 1 == at:
                untie(model)

    return Losing()


@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 2}, {"max_grad_norm": 0.1}], ids=str)
def test_the_trainer_of_transformers(trained: Callable[..., Any], options: dict[str, Any], tmp_path: Path) -> None:
    from tiecheck.adapters.huggingface_trainer import TieCallback

    torch.manual_seed(0)
    plain = trained(model=gpt2(), **options).model
    torch.manual_seed(0)
    callback, before = TieCallback(every=2, shares=tmp_path / "shares.csv"), hooks()
    model = trained(callback, model=gpt2(), **options).model
    assert callback.lasting.seen.steps == 6 and callback.lasting.seen.lost is None
    assert hooks() == before and not model._forward_pre_hooks
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))
    written = (tmp_path / "shares.csv").read_text()
    assert len(written.splitlines()) == 4 and "n/a" not in written


def test_it_names_the_step_of_the_trainer(trained: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    from tiecheck.adapters.huggingface_trainer import TieCallback

    before = hooks()
    with pytest.raises(TieLost, match=r"at step 4 the tie was lost: .*lm_head.weight = model.transformer.wte.weight"):
        trained(TieCallback(), losing(4))
    assert hooks() == before
    callback = TieCallback(on_loss="log")
    trained(callback, losing(4))
    assert [r.message for r in caplog.records if r.name == "tiecheck"] == [callback.lasting.seen.lost]


def test_where_it_goes_on_from_a_checkpoint(trained: Callable[..., Any]) -> None:
    from tiecheck.adapters.huggingface_trainer import TieCallback

    trained(TieCallback(every=2), max_steps=4, save_strategy="steps", save_steps=4)
    with pytest.raises(TieLost, match="at step 6 "):
        trained(TieCallback(), losing(6), resume=True, max_steps=8)


def test_a_training_that_breaks_down_leaves_nothing(trained: Callable[..., Any]) -> None:
    import gc

    from tiecheck.adapters.huggingface_trainer import TieCallback
    from transformers import TrainerCallback

    class Broken(TrainerCallback):  # type: ignore[misc,unused-ignore]
        def on_step_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            raise ZeroDivisionError

    before = hooks()
    with pytest.raises(ZeroDivisionError):
        trained(TieCallback(), Broken())
    gc.collect()
    assert hooks() == before


def test_a_callback_can_be_pickled_and_its_options_are_checked_at_once() -> None:
    pytest.importorskip("transformers")
    from tiecheck.adapters.huggingface_trainer import TieCallback

    assert pickle.loads(pickle.dumps(TieCallback(every=3))).lasting.options == {"every": 3}
    with pytest.raises(NotJudged, match="every"):
        TieCallback(every=-1)
    with pytest.raises(TypeError):
        TieCallback(evry=1)


# Lightning


@pytest.fixture
def lightning() -> Any:
    return pytest.importorskip("lightning.pytorch", reason="lightning is not installed; tox -e trainers has it")


def fitted(lightning: Any, callback: Any, lose: int | None = None, of: str = "model") -> Any:
    """A LightningModule that has made six steps; it unties its model in step ``lose``."""

    class Module(lightning.LightningModule):  # type: ignore[misc,name-defined,unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.model = gpt2()

        def training_step(self, batch: Any, index: int) -> Any:
            if index + 1 == lose:
                untie(self.model)
            return self.model(**batch).loss

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-2)

    torch.manual_seed(0)
    module = Module()
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(
        max_epochs=1, callbacks=callback, accelerator="cpu", devices=1, enable_model_summary=False, **silent
    )
    trainer.fit(module, torch.utils.data.DataLoader(data(), 4))  # type: ignore[arg-type]
    return module


def test_lightning(lightning: Any, tmp_path: Path) -> None:
    from tiecheck.adapters.lightning_callback import TieCallback

    plain, before = fitted(lightning, None), hooks()
    callback = TieCallback(of="model", every=2, shares=tmp_path / "shares.csv")
    module = fitted(lightning, callback)
    assert callback.lasting.seen.steps == 6 and callback.lasting.seen.lost is None and hooks() == before
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), plain.parameters(), strict=True))
    written = (tmp_path / "shares.csv").read_text()
    assert len(written.splitlines()) == 4 and "n/a" not in written
    with pytest.raises(TieLost, match=r"at step 3 the tie was lost: .*lm_head.weight = model.transformer.wte.weight"):
        fitted(lightning, TieCallback(of="model"), lose=3)
    assert hooks() == before


def test_a_lightning_module_without_a_forward_of_its_own(lightning: Any) -> None:
    from tiecheck.adapters.lightning_callback import TieCallback

    with pytest.raises(NotJudged, match='of="'):
        fitted(lightning, TieCallback())
    assert pickle.loads(pickle.dumps(TieCallback(of="model"))).of == "model"
