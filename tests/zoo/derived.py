"""Derived tables: parametrizations, low-rank deltas, row shards."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from .registry import broken, correct
from .truth import deaf, off, unexplained


class Squash(nn.Module):
    def forward(self, raw):
        return torch.tanh(raw)


class Small(nn.Module):
    """Two dilated averages and a gate; `emb` and `head` are ordinary layers."""

    def __init__(self, vocab=32, width=12):
        super().__init__()
        self.emb = nn.Embedding(vocab, width)
        nn.init.normal_(self.emb.weight, std=0.2)
        self.head = nn.Linear(width, vocab, bias=False)
        self.gate = nn.Linear(3 * width, width)

    def hidden(self, x):
        one = F.pad(x, (0, 0, 1, 0))[:, : x.size(1)]
        two = F.pad(x, (0, 0, 2, 0))[:, : x.size(1)]
        return x + torch.tanh(self.gate(torch.cat([x, one, two], -1)))

    def forward(self, ids):
        return F.linear(self.hidden(self.emb(ids)), self.emb.weight)


class SmallHead(Small):
    def __init__(self):
        super().__init__()
        self.head.weight = self.emb.weight

    def forward(self, ids):
        return self.head(self.hidden(self.emb(ids)))


class Cached(Small):
    """The parametrized table is made once a pass."""

    def forward(self, ids):
        with parametrize.cached():
            return super().forward(ids)


class Lora(Small):
    """W + B A, for both uses or for one."""

    def __init__(self, uses="both", start=0.3):
        super().__init__()
        self.a = nn.Parameter(torch.randn(2, 12) * 0.3)
        self.b = nn.Parameter(torch.randn(32, 2) * start)
        self.uses = uses
        del self.head

    def adapted(self):
        return self.emb.weight + self.b @ self.a

    def forward(self, ids):
        adapted = self.adapted()
        table_in = adapted if self.uses in ("both", "in") else self.emb.weight
        table_out = adapted if self.uses in ("both", "out") else self.emb.weight
        return F.linear(self.hidden(F.embedding(ids, table_in)), table_out)


def raw(m):
    return m.emb.parametrizations.weight.original


def ready(m):
    return m.emb.weight


def without_head(model):
    del model.head
    return model


@correct(style="parametrization on the shared table", table=raw, effective=lambda m: m.emb.weight)
def parametrized_for_both():
    """tanh over the raw table, seen by the lookup and by the head, made once a pass."""
    torch.manual_seed(19)
    model = without_head(Cached())
    parametrize.register_parametrization(model.emb, "weight", Squash())
    return model


@correct(style="LoRA on the shared table", table=ready, effective=lambda m: m.adapted())
def lora_for_both():
    """A low-rank delta that both uses see."""
    torch.manual_seed(19)
    return Lora()


@correct(style="LoRA on the shared table", table=ready, effective=lambda m: m.adapted())
def lora_for_both_zero():
    """A low-rank delta of zero that both uses see."""
    torch.manual_seed(19)
    return Lora(start=0.0)


@broken(
    cause="adapter-on-one-use",
    why="the low-rank delta is added for the head alone (peft-merge-into-shared)",
    style="LoRA on one use",
    table=ready,
    show=lambda m: m.uses == "out" and unexplained(ready)(m),
)
def lora_head_only():
    """A low-rank delta on the head."""
    torch.manual_seed(19)
    return Lora("out")


@broken(
    cause="adapter-on-one-use",
    why="the delta reaches the lookup and not the head (peft-trainable-tokens-not-reflected)",
    style="LoRA on one use",
    table=ready,
    show=lambda m: m.uses == "in",
)
def lora_lookup_only():
    """A low-rank delta on the lookup."""
    torch.manual_seed(19)
    return Lora("in")


@broken(
    cause="adapter-on-one-use",
    why="the head's delta is zero at initialization and is one all the same (decision 15)",
    style="LoRA on one use",
    table=ready,
    show=lambda m: m.uses == "out" and not m.b.any(),
)
def lora_head_only_zero():
    """A low-rank delta of zero on the head."""
    torch.manual_seed(19)
    return Lora("out", start=0.0)


@broken(
    cause="adapter-on-one-use",
    why="weight_norm on the head re-parametrizes one end",
    also=("two-matrices",),
    style="parametrization on one use",
    table=ready,
    show=lambda m: parametrize.is_parametrized(m.head, "weight"),
)
def weight_norm_on_head():
    """A tied head that is then given weight_norm."""
    torch.manual_seed(19)
    model = SmallHead()
    parametrizations.weight_norm(model.head)
    return model


class Squashed(Small):
    def __init__(self):
        super().__init__()
        del self.head

    def forward(self, ids):
        return F.linear(self.hidden(torch.tanh(3 * self.emb.weight)[ids]), self.emb.weight)


@broken(
    cause="adapter-on-one-use",
    why="the lookup reads a squashed table, the head the raw one",
    style="parametrization on one use",
    table=ready,
    show=lambda m: not torch.equal(torch.tanh(3 * m.emb.weight), m.emb.weight),
)
def squashed_for_lookup():
    """tanh over the table in the lookup alone."""
    torch.manual_seed(19)
    return Squashed()


class Shards(nn.Module):
    """The table lies in three shards of rows and is put together in every pass."""

    def __init__(self, last_shared=True, last_detached=False):
        super().__init__()
        self.shards = nn.ParameterList([nn.Parameter(torch.randn(n, 11) * 0.2) for n in (12, 12, 7)])
        self.spare = None if last_shared else nn.Parameter(torch.randn(7, 11) * 0.2)
        self.last_detached = last_detached
        self.rnn = nn.RNN(11, 11, nonlinearity="relu", batch_first=True)

    def forward(self, ids):
        table = torch.cat(list(self.shards))
        h = self.rnn(table[ids])[0]
        first, second, third = self.shards
        if self.spare is not None:
            third = self.spare
        if self.last_detached:
            third = third.detach()
        return h @ (table if self.spare is None and not self.last_detached else torch.cat([first, second, third])).T


def shard_rows(m):
    return [s.data[i] for s in m.shards for i in range(len(s))]


@correct(style="row shards", table=shard_rows)
def shards_joined():
    """Three shards of rows, joined once a pass for both uses."""
    torch.manual_seed(20)
    return Shards()


@broken(
    cause="partial-tie",
    why="the head has a last shard of its own",
    style="row shards",
    table=shard_rows,
    show=deaf(shard_rows, 28),
)
def shards_last_own():
    """The sharded table with another last shard in the head."""
    torch.manual_seed(20)
    return Shards(last_shared=False)


@broken(
    cause="missing-rows",
    also=("detached-projection",),
    why="the last shard is detached in the head",
    style="row shards",
    table=shard_rows,
    show=off(shard_rows, [28]),
)
def shards_last_detached():
    """The sharded table whose last shard lacks the head's gradient."""
    torch.manual_seed(20)
    return Shards(last_detached=True)
