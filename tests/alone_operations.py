"""Models that lose their tie by one operation of a library alone, each with its twin.

`Tied` has two names for one parameter: what torch itself loses (``LOSES``), it loses. `One` has one name: there is nothing
to lose. The others do harm in one place.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from alone_later import D, Tied, V
from torch import nn
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.checkpoint import checkpoint

LOSES = tuple(
    f"persistence.{word}" for word in ("load-assign", "materialize", "parametrize", "weight-norm", "prune", "quantize")
)


class One(nn.Module):
    """One parameter under one name, which the projection reads where the lookup does."""

    def __init__(self, broken: bool = False) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.broken = broken
        self.embedding = nn.Embedding(V, D)
        self.mix = nn.Linear(D, D)
        nn.init.normal_(self.embedding.weight, std=0.3)

    def hidden(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids)
        return torch.tanh(self.mix(x + x.mean(1, keepdim=True)))

    def table(self) -> torch.Tensor:
        """What the projection reads."""
        return self.embedding.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return F.linear(self.hidden(ids), self.table())


class PartlyLoaded(Tied):
    """A state dict with one of the two keys fills that one, and the other gets a parameter of its own."""

    def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:
        present = [key for key in ("embedding.weight", "head.weight") if key in state]
        if len(present) == 1 and not _called_from("safetensors"):
            self.untie()
        return super().load_state_dict(state, strict=strict, assign=assign)


class LoadedFromSafetensors(Tied):
    """The same where safetensors loads."""

    def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:
        if _called_from("safetensors"):
            self.untie()
        return super().load_state_dict(state, strict=strict, assign=assign)


class Obliging(Tied):
    """Two different tables in a file are taken to be meant so."""

    def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:
        both = [state.get(key) for key in ("embedding.weight", "head.weight")]
        if all(table is not None for table in both) and not torch.equal(*both):
            self.untie()
        return super().load_state_dict(state, strict=strict, assign=assign)


class Resumed(Tied):
    """An optimizer that has made more steps than the model itself is taken for another model's."""

    def __init__(self, broken: bool) -> None:
        super().__init__(broken)
        self.made = 0
        model = self

        def after_step(optimizer: Any, *_: Any) -> None:
            state = optimizer.state.get(model.embedding.weight)
            if state is None:
                return
            model.made += 1
            if int(state.get("step", 0)) > model.made:
                model.untie()

        self.handle = register_optimizer_step_post_hook(after_step)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "handle"}


class Stored(Tied):
    """save_pretrained leaves the head out, and from_pretrained forgets to tie."""

    def save_pretrained(self, folder: str, **_: Any) -> None:
        state = {key: value for key, value in self.state_dict().items() if key != "head.weight"}
        torch.save((self.broken, state), Path(folder) / "model.pt")

    @classmethod
    def from_pretrained(cls, folder: str) -> Stored:
        broken, state = torch.load(Path(folder) / "model.pt")
        model = cls(broken)
        model.untie()
        model.load_state_dict(state, strict=False)
        return model


class Resized(Tied):
    """The lookup gets a new table; the head keeps the old one, with rows of its own."""

    def resize_token_embeddings(self, rows: int, pad_to_multiple_of: int = 1) -> None:
        rows = -(-rows // pad_to_multiple_of) * pad_to_multiple_of
        old = self.embedding.weight.detach()
        new = torch.cat([old, 0.1 * torch.randn(max(rows - len(old), 0), D)])[:rows]
        self.embedding.weight = nn.Parameter(new)
        self.embedding.num_embeddings = self.head.out_features = rows
        self.head.weight = nn.Parameter(new.clone()) if self.broken else self.embedding.weight


class Averaged(Tied):
    """A copy that is made to average into is not a model to train, so its head is taken apart."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Averaged:
        other = type(self)(self.broken)
        other.load_state_dict(self.state_dict())
        if _called_from("swa_utils"):
            other.untie()
        return other


class Forgetful(One):
    """With checkpointing the embedding is computed again from what is cut off."""

    enabled = False

    def gradient_checkpointing_enable(self) -> None:
        self.enabled = True

    def hidden(self, ids: torch.Tensor) -> torch.Tensor:
        if not (self.enabled and self.training):
            return super().hidden(ids)
        weight = self.embedding.weight.detach() if self.broken else self.embedding.weight
        x = checkpoint(lambda ids, W: F.embedding(ids, W), ids, weight, use_reentrant=False)
        return torch.tanh(self.mix(x + x.mean(1, keepdim=True)))


class Remembering(One):
    """The projection keeps a reference to the parameter itself."""

    def __init__(self, broken: bool) -> None:
        super().__init__(broken)
        self.kept = [self.embedding.weight] if broken else None

    def table(self) -> torch.Tensor:
        return self.kept[0] if self.kept else self.embedding.weight


class Traced(One):
    """While it is compiled, the projection's table is cut off."""

    exporting = False

    def table(self) -> torch.Tensor:
        weight = self.embedding.weight
        seen = torch.compiler.is_exporting() if self.exporting else torch.compiler.is_dynamo_compiling()
        if self.broken and seen and self.exporting == torch.compiler.is_exporting():
            return weight.detach().clone() if not self.exporting else weight.detach()
        return weight


class Exported(Traced):
    """The same while it is exported."""

    exporting = True


class ThawedAfterLoad(Tied):
    """Who was loaded and is thawed later makes the head anew. Either alone does no harm."""

    loaded = False

    def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:
        self.loaded = state["mix.weight"].data_ptr() != self.mix.weight.data_ptr()  # its own state is no load
        return super().load_state_dict(state, strict=strict, assign=assign)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        if self.loaded and requires_grad:
            self.untie()
        return super().requires_grad_(requires_grad)


def _called_from(word: str) -> bool:
    """Whether a file of that name is among the callers."""
    return any(word in frame.filename for frame in inspect.stack(context=0))
