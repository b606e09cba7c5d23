"""A model inside a model; logits in a tuple, a mapping, an object."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .registry import broken, correct
from .truth import IDS, deaf, logits


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None = None


class Inner(nn.Module):
    """A minimal state-space layer: an exponential moving average for each channel."""

    def __init__(self, size=38, dim=13):
        super().__init__()
        self.embed_tokens = nn.Embedding(size, dim)
        self.embed_tokens.weight.data.normal_(0, 0.1)
        self.log_a = nn.Parameter(torch.linspace(-2, 2, dim))
        self.inp, self.out = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)

    def get_input_embeddings(self):
        return self.embed_tokens

    def forward(self, x):
        e = self.embed_tokens(x)
        t = torch.arange(e.size(1), device=e.device)
        lag = (t[:, None] - t[None, :]).clamp(min=0)
        a = torch.sigmoid(self.log_a)
        kernel = a ** lag[..., None] * (t[:, None] >= t[None, :])[..., None]
        s = torch.einsum("tsd,bsd->btd", kernel, self.inp(e))
        return self.norm(e + self.out(torch.relu(s)))


class AsObject(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = Inner()
        self.lm_head = nn.Linear(13, 38, bias=False)
        self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, input_ids, labels=None):
        scores = self.lm_head(self.model(input_ids))
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(scores[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return Output(scores, loss)


class AsTuple(AsObject):
    def forward(self, input_ids):
        out = super().forward(input_ids)
        return out.logits, out.logits.new_zeros(())


class Wrapper(nn.Module):
    """A finished model with something around it."""

    def __init__(self, kind="plain"):
        super().__init__()
        self.inner = AsObject()
        self.kind = kind
        if kind == "head":
            self.head = nn.Linear(13, 38, bias=False)

    def forward(self, ids):
        if self.kind == "head":
            return {"logits": self.head(self.inner.model(ids))}
        scores = self.inner(ids).logits
        if self.kind == "temperature":
            scores = scores / 0.5
        elif self.kind == "crop":
            scores = scores[..., :32]
        elif self.kind == "extend":
            scores = nn.functional.pad(scores, (0, 2))
        return {"logits": scores}


def tok(m):
    return m.inner.model.embed_tokens.weight


@correct(style="wrapped, object with .logits", table=lambda m: m.model.embed_tokens.weight)
def wrapped_object():
    """Logits come back in a dataclass; forward takes labels too."""
    torch.manual_seed(17)
    return AsObject()


@correct(style="wrapped, tuple", table=lambda m: m.model.embed_tokens.weight)
def wrapped_tuple():
    """Logits come first in a tuple."""
    torch.manual_seed(17)
    return AsTuple()


@correct(style="wrapped, mapping", table=tok)
def wrapped_twice():
    """A wrapper of a wrapper gives a mapping."""
    torch.manual_seed(17)
    return Wrapper()


@correct(style="wrapped, mapping", table=lambda m: m.inner.model.embed_tokens.weight, declared={"vocabulary": 32})
def wrapped_cropped_declared():
    """The table is padded to 38 rows and the logits have the 32 legal columns, declared."""
    torch.manual_seed(17)
    return Wrapper("crop")


@broken(
    cause="two-matrices",
    why="the wrapper brings a head of its own (vllm-wrapped-lm-head-prefix)",
    style="wrapped, mapping",
    table=tok,
    show=deaf(tok),
)
def wrapped_own_head():
    """The wrapper ignores the tied head inside."""
    torch.manual_seed(17)
    return Wrapper("head")


@broken(
    cause="undeclared-scale",
    why="a temperature of one half acts on the logits, undeclared",
    style="wrapped, mapping",
    table=tok,
    show=lambda m: torch.allclose(logits(m), 2 * m.inner(IDS).logits),
)
def wrapped_temperature_silent():
    """The wrapper divides the logits by a temperature."""
    torch.manual_seed(17)
    return Wrapper("temperature")


@broken(
    cause="undeclared-padding",
    why="the logits lack six of the table's rows, undeclared",
    style="wrapped, mapping",
    table=tok,
    show=lambda m: logits(m).shape[-1] == 32,
)
def wrapped_cropped_silent():
    """The wrapper cuts columns off."""
    torch.manual_seed(17)
    return Wrapper("crop")


@broken(
    cause="undeclared-padding",
    why="the logits have two columns that the table lacks, undeclared",
    style="wrapped, mapping",
    table=tok,
    show=lambda m: logits(m).shape[-1] == 40,
)
def wrapped_extended_silent():
    """The wrapper adds columns of zeros."""
    torch.manual_seed(17)
    return Wrapper("extend")
