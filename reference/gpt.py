"""A GPT in one file, read from top to bottom in the order in which data flows, with one table E at both ends.

**Is it one matrix?** Yes. Let V be the vocabulary size, D the width and E the V x D table, one row per token. Then

    h_0 = U E + P                 token i picks row e_i^T E (U: the one-hot rows of the context; P: the positions)
    h   = network(h_0)            blocks; GPT-2 adds a final norm
    P(u) = softmax(h E^T)         token j scores the dot product of h with row j

with the same E twice: Radford et al. 2018, equation 2, where E is W_e and P is W_p. (With tokens as rows, a one-hot
column i is looked up as E^T i and a prediction y is scored as E y.) The parameter counts of the released models say so
too: see `counts.py`. Code that builds an `nn.Embedding` and an `nn.Linear(D, V)` and stops there has two matrices of
one shape: the same architecture, untied, with V D parameters more. Here `tied` chooses, in one line of `forward`.

**How can one matrix do both jobs?** A row need not be "meaning" in one place and "likelihood" in the other:

  * Meaning and prediction are told apart by the *network*, not by E. What goes in is the row of the token that is
    there; what comes out is h, a direction to look in. E turns a token into a vector, and compares a vector with all
    tokens: both want tokens that can stand for each other to have similar rows. Press & Wolf (2017) tie for this
    reason, and measure that it helps.
  * A row's length is not a likelihood. Logit j is |h| |e_j| cos(h, e_j): which token wins depends on h, whose own
    length is set by the last norm (the final one in GPT-2, the last block's in GPT), not by the rows looked up.
    A frequency can be stored all the same: as a component along a direction that every h shares, which adds nearly
    the same to that token's logit everywhere. The input side hardly minds, since sub-layers read through norms (or, in
    GPT, behind them): a row's length counts only against what is added to it, the position and the blocks' outputs.
  * Training weighs the two jobs by itself. Let L(E_in, E_out) be the loss with a table per use. The tied model is its
    restriction to E_in = E_out = E, so dL/dE = dL/dE_in + dL/dE_out. With R = dL/dlogits, row j gets the sum of dL/dh_0
    over the positions that hold token j, plus the sum of R_j h over all positions, whether or not token j occurs.

What is *not* promised: that one table is never worse than two. It is V D numbers fewer, and a constraint.

Sources: Radford et al. 2018 (GPT), Radford et al. 2019 (GPT-2), Press & Wolf 2017, and OpenAI's released code for what
the papers leave open: GELU in its tanh form in both, biases everywhere but at the output, epsilon 1e-5. There is no
dropout: everything here is to be a function of its input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import EPSILON, PRESETS, GPTConfig

__all__ = ["GPT", "PRESETS", "GPTConfig", "load_weights", "weights_of"]


class Attention(nn.Module):
    """Causal self-attention, (B, T, D) -> (B, T, D): position t mixes the values of positions 0 .. t."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = (part.view(B, T, self.heads, -1).transpose(1, 2) for part in self.qkv(x).split(D, dim=-1))
        scores = q @ k.transpose(-2, -1) / math.sqrt(D // self.heads)
        future = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(1)
        mixed = scores.masked_fill(future, -math.inf).softmax(-1) @ v
        y: Tensor = self.out(mixed.transpose(1, 2).reshape(B, T, D))
        return y


class MLP(nn.Module):
    """Two linear maps around a GELU, at each position by itself, (B, T, D) -> (B, T, D)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.inner_width)
        self.down = nn.Linear(config.inner_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(F.gelu(self.up(x), approximate="tanh"))
        return y


class Block(nn.Module):
    """Attention and MLP, each added to what it read, (B, T, D) -> (B, T, D)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        self.norm_1 = nn.LayerNorm(config.width, eps=EPSILON)
        self.attention = Attention(config)
        self.norm_2 = nn.LayerNorm(config.width, eps=EPSILON)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        if self.pre_norm:
            x = x + self.attention(self.norm_1(x))
            x = x + self.mlp(self.norm_2(x))
        else:
            x = self.norm_1(x + self.attention(x))
            x = self.norm_2(x + self.mlp(x))
        return x


class GPT(nn.Module):
    """GPT or GPT-2: token ids (B, T) to logits (B, T, V), in the dtype of the parameters.

    Tied, there is one parameter `E.weight` and no module for the output at all: the projection reads it where it is.
    The other common way, `head.weight = E.weight`, is the same function, but it gives one parameter two names, and
    whatever handles parameters by name (`to_empty`, `load_state_dict(assign=True)`) can make two of it.
    Untied, `head.weight` is the second table.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.E = nn.Embedding(config.vocabulary, config.width)
        self.P = nn.Parameter(torch.empty(config.context, config.width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, eps=EPSILON) if config.pre_norm else nn.Identity()
        self.head = None if config.tied else nn.Linear(config.width, config.vocabulary, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw all parameters anew: matrices N(0, 0.02), biases 0, gains 1 (2018, section 4.1).

        GPT-2 divides what is added to the residual stream by sqrt(N), N the number of additions (2019, section 2.3).
        """
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif "norm" in name:
                parameter.fill_(1.0)
            else:
                added = self.config.pre_norm and name.endswith(("out.weight", "down.weight"))
                parameter.normal_(std=0.02 / math.sqrt(2 * self.config.layers) if added else 0.02)

    def hidden(self, ids: Tensor) -> Tensor:
        """Ids (B, T), an integer tensor, to h (B, T, D): what the projection compares with every row of E.

        Raises ValueError where T exceeds the context; the lookup raises IndexError where an id is not in 0 .. V-1.
        """
        T = ids.shape[1]
        if self.config.context < T:
            raise ValueError(f"The sequence has {T} positions, but the context is {self.config.context}.")
        h: Tensor = self.E(ids) + self.P[:T]  # h_0 = U E + P
        for block in self.blocks:
            h = block(h)
        h_n: Tensor = self.norm(h)
        return h_n

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (B, T) to logits h E^T (B, T, V); their softmax is P(u). Raises what `hidden` raises."""
        h = self.hidden(ids)
        logits: Tensor = F.linear(h, self.E.weight) if self.head is None else self.head(h)
        return logits


def weights_of(model: GPT) -> dict[str, np.ndarray]:
    """The model's weights as the oracle names them: float64 copies, with a table per use whether tied or not."""
    weights = {name: p.detach().cpu().double().numpy().copy() for name, p in model.named_parameters()}
    E_in = weights.pop("E.weight")
    return {"E_in": E_in, "E_out": weights.pop("head.weight", E_in.copy()), **weights}


def load_weights(model: GPT, weights: Mapping[str, np.ndarray]) -> None:
    """Write weights named as the oracle names them into the model, rounded to its dtype.

    Raises RuntimeError (of a table, KeyError) where one is missing, superfluous or of another shape, and ValueError
    where a tied model is given two tables that differ: one cannot hold both, and to pick one would lose the other.
    """
    if model.config.tied and not np.array_equal(weights["E_in"], weights["E_out"]):
        raise ValueError("The model is tied, but E_in and E_out differ.")
    names = {"E_in": "E.weight", "E_out": "E.weight" if model.config.tied else "head.weight"}
    model.load_state_dict({names.get(name, name): torch.from_numpy(array) for name, array in weights.items()})
