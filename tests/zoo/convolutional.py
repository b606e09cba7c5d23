"""Causal convolutions; the head is a convolution with a kernel of one."""

import torch
from torch import nn
from torch.nn import functional as F

from .registry import broken, correct
from .truth import unexplained


class CausalConv(nn.Conv1d):
    def forward(self, x):
        return super().forward(F.pad(x, (self.kernel_size[0] - 1, 0)))


class ConvLM(nn.Module):
    VOCAB, CH = 31, 9

    def __init__(self):
        super().__init__()
        self.tok = nn.Embedding(self.VOCAB, self.CH)
        nn.init.normal_(self.tok.weight, std=0.2)
        self.body = nn.Sequential(CausalConv(self.CH, 16, 3), nn.GELU(), CausalConv(16, self.CH, 2))

    def kernel(self):
        return self.tok.weight.unsqueeze(-1)

    def state(self, x):
        return x + self.body(x)

    def forward(self, ids):
        h = self.state(self.tok(ids).transpose(1, 2))
        return F.conv1d(h, self.kernel()).transpose(1, 2)


class ConvFlippedState(ConvLM):
    def state(self, x):
        return super().state(x).flip(1)


class ConvFlippedTable(ConvLM):
    def kernel(self):
        return self.tok.weight.flip(0).unsqueeze(-1)


class ConvFlippedColumns(ConvLM):
    def kernel(self):
        return self.tok.weight.flip(1).unsqueeze(-1)


class ConvBias(ConvLM):
    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(self.VOCAB))

    def forward(self, ids):
        h = self.state(self.tok(ids).transpose(1, 2))
        return F.conv1d(h, self.kernel(), self.shift).transpose(1, 2)


@correct(style="convolutional, conv1d head", table=lambda m: m.tok.weight)
def conv_kernel_one():
    """A convolutional model projecting with conv1d over the table."""
    torch.manual_seed(4)
    return ConvLM()


@correct(style="convolutional, conv1d head", table=lambda m: m.tok.weight, why="the order of h is the network's")
def conv_state_flipped():
    """The same model, whose last state is turned around before the projection."""
    torch.manual_seed(4)
    return ConvFlippedState()


@correct(style="convolutional, conv1d head", table=lambda m: m.tok.weight, declared={"output_bias": True})
def conv_bias_declared():
    """The same model with a declared output bias that starts at zero."""
    torch.manual_seed(4)
    return ConvBias()


@broken(
    cause="wrong-rows",
    why="the head reads the table upside down",
    style="convolutional, conv1d head",
    table=lambda m: m.tok.weight,
    show=unexplained(lambda m: m.tok.weight),
)
def conv_table_flipped():
    """The convolutional model with the rows of the table flipped in the head."""
    torch.manual_seed(4)
    return ConvFlippedTable()


@broken(
    cause="wrong-columns",
    why="the head reads the columns of the table in reverse order",
    style="convolutional, conv1d head",
    table=lambda m: m.tok.weight,
    show=lambda m: torch.equal(m.kernel()[..., 0], m.tok.weight.flip(1)),
)
def conv_columns_flipped():
    """The convolutional model with the columns of the table flipped in the head."""
    torch.manual_seed(4)
    return ConvFlippedColumns()


@broken(
    cause="undeclared-bias",
    why="an output bias, zero at initialization, that nobody declared (decision 15)",
    style="convolutional, conv1d head",
    table=lambda m: m.tok.weight,
    show=lambda m: m.shift.shape == (31,) and "bias" not in dict(m.named_parameters()),
)
def conv_bias_silent():
    """The convolutional model with an undeclared output bias of zero."""
    torch.manual_seed(4)
    return ConvBias()
