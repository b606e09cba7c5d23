"""Custom autograd functions: a lookup, a head, and one that fuses the head with a cast."""

import torch
from torch import nn
from torch.autograd import Function

from .registry import broken, correct
from .truth import SEEN, UNSEEN, off


class Lookup(Function):
    @staticmethod
    def forward(ctx, table, ids):
        ctx.save_for_backward(ids)
        ctx.rows = table.shape[0]
        return table[ids]

    @staticmethod
    def backward(ctx, grad):
        (ids,) = ctx.saved_tensors
        out = grad.new_zeros(ctx.rows, grad.shape[-1])
        return out.index_add_(0, ids.flatten(), grad.reshape(-1, grad.shape[-1])), None


class LookupLastWins(Lookup):
    @staticmethod
    def backward(ctx, grad):
        (ids,) = ctx.saved_tensors
        out = grad.new_zeros(ctx.rows, grad.shape[-1])
        for i, g in zip(ids.flatten().tolist(), grad.reshape(-1, grad.shape[-1]), strict=True):
            out[i] = g
        return out, None


class Head(Function):
    @staticmethod
    def forward(ctx, h, table):
        ctx.save_for_backward(h, table)
        return h @ table.t()

    @staticmethod
    def table_grad(grad, h):
        return grad.flatten(0, -2).t() @ h.flatten(0, -2)

    @classmethod
    def _pair(cls, ctx, grad):
        h, table = ctx.saved_tensors
        return grad @ table, cls.table_grad(grad, h)

    @staticmethod
    def backward(ctx, grad):
        return Head._pair(ctx, grad)


class HeadRolled(Head):
    @staticmethod
    def backward(ctx, grad):
        dh, dw = Head._pair(ctx, grad)
        return dh, dw.roll(1, 0)


class HeadDropsRows(Head):
    @staticmethod
    def backward(ctx, grad):
        dh, dw = Head._pair(ctx, grad)
        dw[-dw.shape[0] // 4 :] = 0
        return dh, dw


class HeadClamped(Head):
    @staticmethod
    def backward(ctx, grad):
        dh, dw = Head._pair(ctx, grad)
        return dh, dw.clamp(-0.01, 0.01)


class HeadAssigns(Function):
    """Writes the table's gradient itself, replacing what is there, and returns none."""

    @staticmethod
    def forward(ctx, h, table):
        ctx.table = table
        ctx.save_for_backward(h)
        return h @ table.detach().t()

    @staticmethod
    def backward(ctx, grad):
        (h,) = ctx.saved_tensors
        ctx.table.grad = Head.table_grad(grad, h)
        return grad @ ctx.table.detach(), None


class Custom(nn.Module):
    lookup, head = Lookup, Head

    def __init__(self, v=33, d=13):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(v, d))
        nn.init.trunc_normal_(self.w, std=0.2)
        self.a = nn.Linear(2 * d, d)
        self.ln = nn.LayerNorm(d)

    def forward(self, ids):
        x = self.lookup.apply(self.w, ids)
        prev = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
        h = self.ln(x + self.a(torch.cat([x, prev], -1)))
        return self.head.apply(h, self.w)


def W(m):
    return m.w


@correct(style="custom autograd.Function", table=W)
def function_both_ends():
    """Lookup and head are autograd functions of our own, both right."""
    torch.manual_seed(11)
    return Custom()


class CustomLast(Custom):
    lookup = LookupLastWins


class CustomRolled(Custom):
    head = HeadRolled


class CustomDrops(Custom):
    head = HeadDropsRows


class CustomClamped(Custom):
    head = HeadClamped


class CustomAssigns(Custom):
    head = HeadAssigns


@broken(
    cause="wrong-gradient",
    why="of a token that stands twice only the last occurrence counts",
    also=("missing-rows", "gradient-scaled"),
    style="custom autograd.Function",
    table=W,
    show=off(W, SEEN),
)
def function_lookup_not_accumulated():
    """The lookup assigns rows in its backward where it should add."""
    torch.manual_seed(11)
    return CustomLast()


@broken(
    cause="wrong-gradient",
    why="the head's gradient lands one row further (megatron-mfsdp-uneven-shard-emb-grad)",
    style="custom autograd.Function",
    table=W,
    show=off(W, [UNSEEN]),
)
def function_head_rolled():
    """The head rolls the gradient of the table by one row."""
    torch.manual_seed(11)
    return CustomRolled()


@broken(
    cause="missing-rows",
    why="the last quarter of the rows gets nothing from the head (fsdp2-uneven-tied-last-rank-frozen)",
    style="custom autograd.Function",
    table=W,
    show=off(W, [32]),
)
def function_head_drops_rows():
    """The head's backward leaves the last rows out."""
    torch.manual_seed(11)
    return CustomDrops()


@broken(
    cause="gradient-scaled",
    also=("wrong-gradient",),
    why="the head clamps the gradient of the table",
    style="custom autograd.Function",
    table=W,
    show=off(W, [UNSEEN]),
)
def function_head_clamped():
    """The head's backward clamps its share."""
    torch.manual_seed(11)
    return CustomClamped()


def _overwrites(m):
    m.w.grad = torch.full_like(m.w, 7.0)
    m(torch.tensor([[1, 2]])).sum().backward()
    return bool((m.w.grad[20] - 7.0).abs().max() > 1.0)


@broken(
    cause="wrong-gradient",
    why="the head assigns .grad and adds nothing to what is there (te-delayed-wgrad-overwrites)",
    style="custom autograd.Function",
    table=W,
    show=_overwrites,
)
def function_head_assigns_grad():
    """The head writes the table's .grad by itself."""
    torch.manual_seed(11)
    return CustomAssigns()


def flat(a):
    return a.reshape(-1, a.shape[-1])


class Fused(Function):
    """Lookup, a perceptron over running means, and head, with a backward by hand."""

    @staticmethod
    def forward(ctx, E, W, U, ids):
        n = torch.arange(1, ids.shape[1] + 1, device=ids.device, dtype=E.dtype)[:, None]
        x = E[ids]
        m = x.cumsum(1) / n
        h = torch.tanh(x @ W + m @ U)
        ctx.save_for_backward(E, W, U, ids, x, m, h, n)
        return h @ E.t()

    @staticmethod
    def shares(ctx, grad):
        E, W, U, ids, x, m, h, n = ctx.saved_tensors
        dz = grad @ E * (1 - h * h)
        dm = dz @ U.t() / n
        dx = dz @ W.t() + dm.flip(1).cumsum(1).flip(1)
        looked = torch.zeros_like(E).index_add_(0, ids.reshape(-1), dx.flatten(0, 1))
        return looked, flat(grad).t() @ flat(h), flat(x).t() @ flat(dz), flat(m).t() @ flat(dz)

    @staticmethod
    def backward(ctx, grad):
        looked, read, dW, dU = Fused.shares(ctx, grad)
        return looked + read, dW, dU, None


class FusedMean(Fused):
    @staticmethod
    def backward(ctx, grad):
        looked, read, dW, dU = Fused.shares(ctx, grad)
        return (looked + read) / 2, dW, dU, None


class FusedOnlySeen(Fused):
    """The head's share is kept for the rows of the batch alone, as in a sparse update."""

    @staticmethod
    def backward(ctx, grad):
        looked, read, dW, dU = Fused.shares(ctx, grad)
        present = torch.zeros_like(read).index_fill_(0, ctx.saved_tensors[3].reshape(-1), 1.0)
        return looked + read * present, dW, dU, None


class FusedLM(nn.Module):
    kernel = Fused

    def __init__(self):
        super().__init__()
        self.E = nn.Parameter(torch.randn(42, 10) * 0.3)
        self.W = nn.Parameter(torch.randn(10, 10) * 0.5)
        self.U = nn.Parameter(torch.randn(10, 10) * 0.5)

    def forward(self, ids):
        return self.kernel.apply(self.E, self.W, self.U, ids)


class FusedMeanLM(FusedLM):
    kernel = FusedMean


class FusedOnlySeenLM(FusedLM):
    kernel = FusedOnlySeen


def fused_table(m):
    return m.E


@correct(style="custom autograd.Function, fused", table=fused_table)
def fused_whole_model():
    """The whole model is one autograd function with a backward by hand."""
    torch.manual_seed(34)
    return FusedLM()


@broken(
    cause="gradient-scaled",
    why="the two shares are averaged where they should be added",
    style="custom autograd.Function, fused",
    table=fused_table,
    show=off(fused_table, [UNSEEN]),
)
def fused_shares_averaged():
    """The fused model that averages the shares of its two uses."""
    torch.manual_seed(34)
    return FusedMeanLM()


@broken(
    cause="missing-rows",
    why="rows that the batch does not read get nothing from the head",
    style="custom autograd.Function, fused",
    table=fused_table,
    show=off(fused_table, [UNSEEN]),
)
def fused_unseen_rows_dropped():
    """The fused model that keeps the head's share for the rows of the batch."""
    torch.manual_seed(34)
    return FusedOnlySeenLM()
