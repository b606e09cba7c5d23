"""One small body, five ways to look a token up."""

import torch
import torch.nn.functional as F
from torch import nn

from .registry import broken, correct
from .truth import SEEN, off

TOKENS, WIDTH = 26, 10


class Bag(nn.Module):
    """A running mean and a perceptron; subclasses say how a row is read."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(TOKENS, WIDTH) / 5)
        self.mlp = nn.Sequential(nn.Linear(2 * WIDTH, 24), nn.Tanh(), nn.Linear(24, WIDTH))

    def rows(self, ids):
        raise NotImplementedError

    def forward(self, ids):
        x = self.rows(ids)
        n = torch.arange(1, ids.shape[1] + 1, dtype=x.dtype, device=x.device)[:, None]
        h = self.mlp(torch.cat((x, torch.cumsum(x, 1) / n), -1))
        return torch.matmul(h, self.weight.transpose(0, 1))


class OneHot(Bag):
    def rows(self, ids):
        return F.one_hot(ids, TOKENS).to(self.weight.dtype) @ self.weight


class Gather(Bag):
    def rows(self, ids):
        b, t = ids.shape
        return self.weight.gather(0, ids.reshape(-1, 1).expand(-1, WIDTH)).reshape(b, t, WIDTH)


class Looped(Bag):
    def rows(self, ids):
        return torch.stack([torch.stack([self.weight[int(i)] for i in line]) for line in ids])


class Taken(Bag):
    def rows(self, ids):
        wide = ids.unsqueeze(-1) * WIDTH + torch.arange(WIDTH, device=ids.device)
        return torch.take(self.weight, wide)


class OneHotDetached(Bag):
    def rows(self, ids):
        return F.one_hot(ids, TOKENS).to(self.weight.dtype) @ self.weight.detach()


class NextRow(Bag):
    def rows(self, ids):
        return self.weight[(ids + 1) % TOKENS]


class GatherQuietly(Gather):
    @torch.no_grad()
    def rows(self, ids):
        return super().rows(ids)


class LoopedHalf(Bag):
    def rows(self, ids):
        return torch.stack([torch.stack([self.weight[int(i)].half().to(self.weight) for i in line]) for line in ids])


def weight(m):
    return m.weight


@correct(style="lookup by one-hot product", table=weight)
def lookup_one_hot():
    """Rows are read by a product with one-hot vectors."""
    torch.manual_seed(12)
    return OneHot()


@correct(style="lookup by gather", table=weight)
def lookup_gather():
    """Rows are read with gather."""
    torch.manual_seed(12)
    return Gather()


@correct(style="lookup by a Python loop", table=weight)
def lookup_python_loop():
    """Rows are read one at a time in a Python loop."""
    torch.manual_seed(12)
    return Looped()


@correct(style="lookup by take", table=weight)
def lookup_take():
    """Rows are read element by element with torch.take."""
    torch.manual_seed(12)
    return Taken()


@broken(
    cause="detached-lookup",
    why="the one-hot product reads a detached table",
    style="lookup by one-hot product",
    table=weight,
    show=off(weight, SEEN),
)
def lookup_one_hot_detached():
    """The one-hot lookup without gradient."""
    torch.manual_seed(12)
    return OneHotDetached()


@broken(
    cause="wrong-rows",
    why="the lookup reads the row after the token's own",
    style="lookup by index",
    table=weight,
    show=lambda m: torch.equal(m.rows(torch.tensor([[4]]))[0, 0], m.weight[5]),
)
def lookup_next_row():
    """The lookup is off by one."""
    torch.manual_seed(12)
    return NextRow()


@broken(
    cause="reduced-precision",
    why="the lookup goes through float16, the head does not",
    style="lookup by a Python loop",
    table=weight,
    show=lambda m: not torch.equal(m.rows(torch.tensor([[4]]))[0, 0], m.weight[4]),
)
def lookup_loop_in_half():
    """The looped lookup rounds each row to float16."""
    torch.manual_seed(12)
    return LoopedHalf()


@broken(
    cause="detached-lookup",
    why="the lookup runs under no_grad",
    style="lookup by gather",
    table=weight,
    show=off(weight, SEEN),
)
def lookup_gather_no_grad():
    """The gather lookup under no_grad."""
    torch.manual_seed(12)
    return GatherQuietly()


class Options(nn.Module):
    """nn.Embedding with torch's own options, a two-tap mixer, and a functional head."""

    def __init__(self, std=0.2, **options):
        super().__init__()
        self.emb = nn.Embedding(39, 15, **options)
        with torch.no_grad():
            self.emb.weight.copy_(torch.randn(39, 15) * std)
        self.mix = nn.Bilinear(15, 15, 15)
        self.out_norm = nn.LayerNorm(15)

    def forward(self, tokens):
        x = self.emb(tokens)
        before = x.roll(1, dims=1) * (torch.arange(x.shape[1], device=x.device) > 0)[None, :, None]
        return F.linear(self.out_norm(x + self.mix(x, before)), self.emb.weight)


def emb(m):
    return m.emb.weight


@correct(style="nn.Embedding options", table=emb)
def options_sparse():
    """An embedding with sparse=True: its gradient adds to the head's dense one."""
    torch.manual_seed(13)
    return Options(sparse=True)


@correct(style="nn.Embedding options", table=emb, declared={"padding_row": 3})
def options_padding_declared():
    """An embedding with padding_idx, declared, whose row is not zero."""
    torch.manual_seed(13)
    return Options(padding_idx=3)


@broken(
    cause="missing-rows",
    why="padding_idx masks a row's gradient and nobody declared it (decision 13)",
    style="nn.Embedding options",
    table=emb,
    show=off(emb, [3]),
)
def options_padding_silent():
    """An embedding with an undeclared padding_idx (padding-idx-row-vs-tie)."""
    torch.manual_seed(13)
    return Options(padding_idx=3)


@broken(
    cause="declared-but-absent",
    why="a padding row is declared and its gradient is not masked",
    style="nn.Embedding options",
    declared={"padding_row": 3},
    table=emb,
    show=lambda m: m.emb.padding_idx is None,
)
def options_padding_absent():
    """An embedding without padding_idx that is declared to have one."""
    torch.manual_seed(13)
    return Options()


@broken(
    cause="gradient-scaled",
    why="scale_grad_by_freq divides the lookup's share by the count (decision 19)",
    style="nn.Embedding options",
    table=emb,
    show=off(emb, SEEN),
)
def options_scaled_by_frequency():
    """An embedding with scale_grad_by_freq."""
    torch.manual_seed(13)
    return Options(scale_grad_by_freq=True)


def _rewrites(m):
    before = m.emb.weight.detach().clone()
    with torch.no_grad():
        m(torch.tensor([[1, 2, 3]]))
    return not torch.equal(before, m.emb.weight)


@broken(
    cause="wrong-rows",
    why="max_norm rewrites the rows in every forward (decision 19)",
    style="nn.Embedding options",
    table=emb,
    show=_rewrites,
)
def options_max_norm():
    """An embedding with max_norm below the norms of its rows."""
    torch.manual_seed(13)
    return Options(std=0.3, max_norm=0.8)
