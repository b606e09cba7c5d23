"""Attention with time as the first axis throughout; the logits are turned around at the very end."""

import torch
from torch import nn

from .registry import broken, correct
from .truth import UNSEEN, off


class TimeMajorBlock(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attn = nn.MultiheadAttention(d, 2, bias=False)
        self.ff1, self.ff2 = nn.Linear(d, 3 * d), nn.Linear(3 * d, d)

    def forward(self, x):
        mask = torch.ones(len(x), len(x), dtype=torch.bool, device=x.device).triu(1)
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, attn_mask=mask, need_weights=False)[0]
        return x + self.ff2(torch.relu(self.ff1(self.ln_2(x))))


class TimeMajorLM(nn.Module):
    """Learned positions, post-embedding norm, the head in (V, T, B) order before it is permuted."""

    V, D = 27, 12

    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(21)
        self.lut = nn.Parameter(torch.randn(self.V, self.D, generator=g) * 0.2)
        self.pos = nn.Parameter(torch.randn(64, 1, self.D, generator=g) * 0.1)
        self.block = TimeMajorBlock(self.D)
        self.out = nn.LayerNorm(self.D)

    def project(self, h):
        return torch.einsum("vd,tbd->btv", self.lut, h)

    def forward(self, ids):
        steps = ids.t().contiguous()
        x = self.lut[steps] + self.pos[: len(steps)]
        return self.project(self.out(self.block(x)))


class TimeMajorHooked(TimeMajorLM):
    """A gradient hook on the state of the table in the head."""

    def project(self, h):
        used = self.lut.view_as(self.lut)
        if used.requires_grad:
            used.register_hook(lambda g: g * 0.1)
        return torch.einsum("vd,tbd->btv", used, h)


class TimeMajorMasked(TimeMajorLM):
    """The head's share of the first rows, taken for special tokens, is masked by a hook."""

    def project(self, h):
        used = self.lut.view_as(self.lut)
        if used.requires_grad:
            keep = torch.ones_like(self.lut)
            keep[:4] = 0
            used.register_hook(keep.mul)
        return torch.einsum("vd,tbd->btv", used, h)


class TimeMajorDrifting(TimeMajorLM):
    """Each call adds a little to a counter that the positions read."""

    calls = 0

    def forward(self, ids):
        self.calls += 1
        return super().forward(ids) * (1 + 1e-3 * (self.calls % 7))


def lut(m):
    return m.lut


@correct(style="time-major, attention", table=lut)
def time_major_attention():
    """Time-major attention with the table as the first operand of the head's einsum."""
    torch.manual_seed(21)
    return TimeMajorLM()


@broken(
    cause="gradient-scaled",
    why="a hook on the head's use of the table takes a tenth of its share",
    style="time-major, attention",
    table=lut,
    show=off(lut, [UNSEEN]),
)
def time_major_hooked():
    """The time-major model with a hook that scales the head's share."""
    torch.manual_seed(21)
    return TimeMajorHooked()


@broken(
    cause="missing-rows",
    also=("gradient-scaled",),
    why="a hook masks the head's share of the first four rows",
    style="time-major, attention",
    table=lut,
    show=off(lut, [0, 1, 2, 3]),
)
def time_major_masked():
    """The time-major model with a hook that masks rows."""
    torch.manual_seed(21)
    return TimeMajorMasked()


@broken(
    cause="nondeterministic",
    why="the logits depend on how often the model was called",
    style="time-major, attention",
    table=lut,
    show=lambda m: not torch.equal(m(torch.tensor([[1, 2, 3]])), m(torch.tensor([[1, 2, 3]]))),
)
def time_major_drifting():
    """The time-major model whose logits drift from call to call."""
    torch.manual_seed(21)
    return TimeMajorDrifting()


class TimeMajorQuiet(TimeMajorLM):
    """The last state is divided before it is projected, which is the network's business."""

    def project(self, h):
        return super().project(h / 4.0)


@correct(style="time-major, attention", table=lut, why="the scale of h is the network's (decision 14)")
def time_major_quiet_state():
    """The time-major model whose last state is divided by four, undeclared."""
    torch.manual_seed(21)
    return TimeMajorQuiet()


@broken(
    cause="gradient-scaled",
    why="a hook on the parameter doubles its whole gradient (ckpt-hook-fires-twice-shared)",
    style="time-major, attention",
    table=lut,
    show=off(lut, [UNSEEN]),
)
def time_major_parameter_hook():
    """The time-major model with a hook on the table's parameter."""
    torch.manual_seed(21)
    model = TimeMajorLM()
    model.lut.register_hook(lambda g: 2 * g)
    return model
