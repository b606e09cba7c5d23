"""Declared extras, each of them also undeclared, and declared ones that are not there."""

import torch
from torch import nn
from torch.nn import functional as F

from .registry import broken, correct
from .truth import SEEN, UNSEEN, logits, off, parameters, unexplained


class RMS(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.g = nn.Parameter(torch.zeros(d))

    def forward(self, x):
        return F.rms_norm(x, x.shape[-1:]) * (1 + self.g)


class Gemma(nn.Module):
    """Rotary attention with one key-value head, a gated layer, RMS norms, a soft cap, sqrt(D)."""

    def __init__(self, vocab=61, d=16, scale=True, cap=2.0):
        super().__init__()
        self.embedder = nn.Parameter(torch.randn(vocab, d) * 0.15)
        self.wq, self.wk, self.wv = nn.Linear(d, d, False), nn.Linear(d, 8, False), nn.Linear(d, 8, False)
        self.wo = nn.Linear(d, d, False)
        self.w1, self.w2, self.w3 = nn.Linear(d, 24, False), nn.Linear(24, d, False), nn.Linear(d, 24, False)
        self.pre, self.mid, self.post = RMS(d), RMS(d), RMS(d)
        self.scale, self.cap, self.d = scale, cap, d

    def rotate(self, x):
        t = torch.arange(x.size(-2), device=x.device, dtype=x.dtype)[:, None]
        f = 100 ** (-torch.arange(4, device=x.device, dtype=x.dtype) / 4)
        c, s = torch.cos(t * f), torch.sin(t * f)
        a, b = x.chunk(2, -1)
        return torch.cat([a * c - b * s, a * s + b * c], -1)

    def forward(self, tokens):
        x = F.embedding(tokens, self.embedder)
        if self.scale:
            x = x * self.d**0.5
        y = self.pre(x)
        q = self.rotate(self.wq(y).unflatten(-1, (2, 8)).transpose(1, 2))
        k, v = self.rotate(self.wk(y).unsqueeze(1)), self.wv(y).unsqueeze(1)
        a = F.scaled_dot_product_attention(q, k.expand_as(q), v.expand_as(q), is_causal=True)
        x = x + self.wo(a.transpose(1, 2).flatten(2))
        y = self.mid(x)
        x = x + self.w2(F.gelu(self.w1(y)) * self.w3(y))
        out = self.post(x) @ self.embedder.T
        return out if self.cap is None else self.cap * torch.tanh(out / self.cap)


def embedder(m):
    return m.embedder


GEMMA = {"input_scale": 4.0, "logit_softcap": 2.0}


@correct(style="attention, rotary, scale and soft cap", declared=GEMMA, table=embedder)
def gemma_declared():
    """Gemma's input scale and a soft cap, both declared."""
    torch.manual_seed(30)
    return Gemma()


@broken(
    cause="undeclared-softcap",
    why="the soft cap is not declared",
    style="attention, rotary",
    declared={"input_scale": 4.0},
    table=embedder,
    show=unexplained(embedder, 1e-3),
)
def gemma_cap_silent():
    """Gemma with its soft cap undeclared."""
    torch.manual_seed(30)
    return Gemma()


@broken(
    cause="declared-but-absent",
    why="a soft cap is declared and not applied",
    style="attention, rotary",
    declared=GEMMA,
    table=embedder,
    show=lambda m: logits(m).abs().max() > 2.0 or m.cap is None,
)
def gemma_cap_absent():
    """Gemma that declares a soft cap and has none."""
    torch.manual_seed(30)
    return Gemma(cap=None)


@broken(
    cause="declared-but-absent",
    why="the input scale is declared and not applied",
    style="attention, rotary",
    declared=GEMMA,
    table=embedder,
    show=lambda m: not m.scale,
)
def gemma_scale_absent():
    """Gemma that declares sqrt(D) and does not apply it."""
    torch.manual_seed(30)
    return Gemma(scale=False)


class Twice(Gemma):
    """The caller scales as well (gemma3-double-sqrt-scale)."""

    def __init__(self):
        super().__init__()
        self.d = 16 * 16


@broken(
    cause="undeclared-scale",
    also=("declared-but-absent",),
    why="sqrt(D) is applied twice (gemma3-double-sqrt-scale)",
    style="attention, rotary",
    declared=GEMMA,
    table=embedder,
    show=lambda m: m.d**0.5 == 16.0,
)
def gemma_scale_twice():
    """Gemma that multiplies by sqrt(D) twice."""
    torch.manual_seed(30)
    return Twice()


class Loose(nn.Module):
    """A model made of switches: no norm, a leaky sum over time by a triangular matrix."""

    def __init__(self, n=40, w=12, **on):
        super().__init__()
        self.on = on
        self.tab = nn.Parameter(torch.randn(n, w) * 0.25)
        self.mixer = nn.Parameter(torch.randn(w, w) / w)
        if on.get("bias"):
            self.b = nn.Parameter(torch.randn(n) * 0.3)
        if on.get("frozen"):
            self.tab.requires_grad_(False)

    def forward(self, ids):
        on, E = self.on, self.tab
        x = E[ids]
        g = on.get("input_gradient", 1.0)
        if g != 1.0:
            x = x * g + x.detach() * (1 - g)
        if on.get("mask") is not None:
            x = torch.where((ids == on["mask"]).unsqueeze(-1), x.detach(), x)
        t = torch.arange(ids.size(1), device=ids.device)
        lag = (t[:, None] - t).clamp(min=0).to(x.dtype)
        reach = torch.exp2(-lag) * (t[:, None] >= t)
        h = torch.einsum("ts,bsw->btw", reach, x)
        h = h + torch.relu(h @ self.mixer)
        h = h * on.get("on_state", 1.0)
        out = h @ (E * on.get("on_weight", 1.0)).T
        out = out * on.get("on_logits", 1.0)
        if on.get("bias"):
            out = out + self.b
        return out.log_softmax(-1) if on.get("log") else out


def tab(m):
    return m.tab


@correct(style="triangular mixing, output bias", declared={"output_bias": "b"}, table=tab)
def loose_bias():
    """A declared output bias by name."""
    torch.manual_seed(31)
    return Loose(bias=True)


@correct(style="triangular mixing, output scale on the logits", declared={"output_scale": 0.5}, table=tab)
def loose_scale_on_logits():
    """A declared output scale on the logits."""
    torch.manual_seed(31)
    return Loose(on_logits=0.5)


@correct(style="triangular mixing, output scale on the weight", declared={"output_scale": 0.5}, table=tab)
def loose_scale_on_weight():
    """A declared output scale on the weight."""
    torch.manual_seed(31)
    return Loose(on_weight=0.5)


@correct(style="triangular mixing, log-probabilities", declared={"log_probabilities": True}, table=tab)
def loose_log_probabilities():
    """Declared log-probabilities."""
    torch.manual_seed(31)
    return Loose(log=True)


@correct(style="triangular mixing, frozen table", declared={"frozen": True, "parameter_count": 144}, table=tab)
def loose_frozen():
    """A declared frozen table, left out of the count."""
    torch.manual_seed(31)
    return Loose(frozen=True)


@correct(style="triangular mixing, input gradient", declared={"input_gradient_scale": 0.1}, table=tab)
def loose_input_gradient():
    """A declared scale on the lookup's gradient (GLM's embedding shrink)."""
    torch.manual_seed(31)
    return Loose(input_gradient=0.1)


@correct(style="triangular mixing, padding row by hand", declared={"padding_row": 2}, table=tab)
def loose_padding_row():
    """A declared padding row, masked by hand."""
    torch.manual_seed(31)
    return Loose(mask=2)


@correct(style="triangular mixing, padded table", declared={"vocabulary": 37}, table=tab)
def loose_padded():
    """A table of 40 rows for 37 legal tokens, logits for all 40, declared."""
    torch.manual_seed(31)
    return Loose()


class Lean(nn.Module):
    """Bigram with memory: the smallest body there is, functional style with a dict of weights."""

    def __init__(self, frozen=False, bias=False, log=False, shrink=1.0, on_weight=1.0):
        super().__init__()
        make = {"E": torch.randn(52, 14) * 0.2, "M": torch.randn(14, 14) * 0.2, "N": torch.randn(14, 14) * 0.2}
        self.p = nn.ParameterDict({k: nn.Parameter(v) for k, v in make.items()})
        self.bias = nn.Parameter(torch.randn(52) * 0.5) if bias else None
        self.log, self.shrink, self.on_weight = log, shrink, on_weight
        self.p["E"].requires_grad_(not frozen)

    def forward(self, ids):
        E, M, N = self.p["E"], self.p["M"], self.p["N"]
        now = nn.functional.embedding(ids, E)
        now = self.shrink * now + (1 - self.shrink) * now.detach()
        past = nn.functional.pad(now.cumsum(1), (0, 0, 1, -1)).tanh()
        out = F.linear(now + now @ M + past @ N, E * self.on_weight if self.on_weight != 1 else E, self.bias)
        return F.log_softmax(out, -1) if self.log else out


def E(m):
    return m.p["E"]


@correct(style="bigram, parameter dict", table=E, declared={"parameter_count": 52 * 14 + 2 * 14 * 14})
def lean_plain():
    """The smallest body, weights in a ParameterDict."""
    torch.manual_seed(32)
    return Lean()


@broken(
    cause="undeclared-bias",
    why="F.linear is given a bias that nobody declared",
    style="bigram, parameter dict",
    table=E,
    show=unexplained(E),
)
def lean_bias_silent():
    """An undeclared output bias that is not zero."""
    torch.manual_seed(32)
    return Lean(bias=True)


@broken(
    cause="undeclared-frozen",
    why="the table does not train and nobody said so",
    style="bigram, parameter dict",
    table=E,
    show=lambda m: not m.p["E"].requires_grad,
)
def lean_frozen_silent():
    """An undeclared frozen table."""
    torch.manual_seed(32)
    return Lean(frozen=True)


@broken(
    cause="undeclared-scale",
    why="the head multiplies the weight by one half, undeclared",
    style="bigram, parameter dict",
    table=E,
    show=lambda m: m.on_weight == 0.5,
)
def lean_weight_scale_silent():
    """An undeclared scale on the head's weight."""
    torch.manual_seed(32)
    return Lean(on_weight=0.5)


@broken(
    cause="gradient-scaled",
    why="the lookup's share is multiplied by 0.1, undeclared",
    style="bigram, parameter dict",
    table=E,
    show=off(E, SEEN),
)
def lean_input_gradient_silent():
    """An undeclared scale on the lookup's gradient."""
    torch.manual_seed(32)
    return Lean(shrink=0.1)


@broken(
    cause="undeclared-normalization",
    why="a log-softmax, undeclared",
    style="bigram, parameter dict",
    table=E,
    show=unexplained(E),
)
def lean_normalized_silent():
    """Undeclared log-probabilities."""
    torch.manual_seed(32)
    return Lean(log=True)


class Spare(nn.Module):
    """A bare multiplicative model, for declarations that are not kept."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(24, 9)
        self.table.weight.data.mul_(0.3)
        self.gate = nn.Linear(9, 9)

    def forward(self, ids):
        x = self.table(ids)
        run = torch.logcumsumexp(x, dim=1)
        return (x * torch.sigmoid(self.gate(run)) + x) @ self.table.weight.t()


def spare(m):
    return m.table.weight


@broken(
    cause="declared-but-absent",
    why="an output bias is declared and there is none",
    style="multiplicative",
    declared={"output_bias": True},
    table=spare,
    show=lambda m: all(p.shape != (24,) for p in parameters(m)),
)
def spare_bias_absent():
    """A declared output bias that is not there."""
    torch.manual_seed(33)
    return Spare()


@broken(
    cause="declared-but-absent",
    why="log-probabilities are declared, logits come",
    style="multiplicative",
    declared={"log_probabilities": True},
    table=spare,
    show=lambda m: bool(logits(m).logsumexp(-1).abs().max() > 0.1),
)
def spare_normalization_absent():
    """Declared log-probabilities that are bare logits."""
    torch.manual_seed(33)
    return Spare()


@broken(
    cause="declared-but-absent",
    why="the table is declared frozen and trains",
    style="multiplicative",
    declared={"frozen": True},
    table=spare,
    show=lambda m: m.table.weight.requires_grad,
)
def spare_frozen_absent():
    """A declared frozen table that trains."""
    torch.manual_seed(33)
    return Spare()


@broken(
    cause="declared-but-absent",
    also=("gradient-scaled",),
    why="the declared gradient factor is absent",
    style="multiplicative",
    declared={"input_gradient_scale": 0.1},
    table=spare,
    show=lambda m: not off(spare, SEEN)(m),
)
def spare_input_gradient_absent():
    """A declared scale on the lookup's gradient that is not there."""
    torch.manual_seed(33)
    return Spare()


@broken(
    cause="miscounted",
    why="the declared count holds the table twice",
    style="multiplicative",
    declared={"parameter_count": 2 * 24 * 9 + 90},
    table=spare,
    show=lambda m: sum(p.numel() for p in m.parameters()) == 24 * 9 + 90 and not off(spare, [UNSEEN])(m),
)
def spare_count_wrong():
    """A declared count that the model does not have."""
    torch.manual_seed(33)
    return Spare()


class SpareBias(Spare):
    """A bias that is there and that nothing adds."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(24))


@broken(
    cause="declared-but-absent",
    why="the declared bias is a parameter that nothing adds",
    style="multiplicative",
    declared={"output_bias": "bias"},
    table=spare,
    show=lambda m: not unexplained(spare, 1e-5)(m),
)
def spare_bias_unused():
    """A declared output bias that is a parameter and is not used (vllm-tied-skip-prefix-drops-bias)."""
    torch.manual_seed(33)
    return SpareBias()
