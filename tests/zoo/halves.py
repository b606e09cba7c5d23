"""Half precision throughout, autocast over everything, and either on one use alone."""

import torch
from torch import nn
from torch.nn import functional as F

from .registry import broken, correct
from .truth import UNSEEN, change, deaf, logits, logits_of


class HalfGPT(nn.Module):
    """Pre-norm, one head of attention written with softmax, learned positions."""

    def __init__(self, n_vocab=50, n_embd=16, n_ctx=64, tie=True):
        super().__init__()
        self.wte = nn.Embedding(n_vocab, n_embd)
        self.wpe = nn.Embedding(n_ctx, n_embd)
        self.ln_1, self.ln_2, self.ln_f = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)
        self.mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.GELU(), nn.Linear(4 * n_embd, n_embd))
        self.lm_head = nn.Linear(n_embd, n_vocab, bias=False)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.1)
        if tie:
            self.lm_head.weight = self.wte.weight
        else:
            self.lm_head.weight = nn.Parameter(self.wte.weight.detach().clone())

    def attention(self, x):
        q, k, v = self.c_attn(x).chunk(3, dim=-1)
        w = (q @ k.transpose(-2, -1)) / q.size(-1) ** 0.5
        T = x.size(1)
        w = w.masked_fill(torch.ones(T, T, dtype=torch.bool, device=x.device).triu(1), float("-inf"))
        return self.c_proj(w.softmax(-1) @ v)

    def states(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.size(1), device=ids.device))
        x = x + self.attention(self.ln_1(x))
        return self.ln_f(x + self.mlp(self.ln_2(x)))

    def forward(self, ids):
        return self.lm_head(self.states(ids))


class UpcastHead(HalfGPT):
    """Weights in half precision, logits in float32 from a wide copy of the table."""

    def forward(self, ids):
        return F.linear(self.states(ids).float(), self.lm_head.weight.float())


class Autocast(HalfGPT):
    def forward(self, ids):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = super().forward(ids)
        return out.float()


class AutocastHead(HalfGPT):
    def forward(self, ids):
        h = self.states(ids)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = self.lm_head(h)
        return out.float()


class NarrowLookup(HalfGPT):
    def states(self, ids):
        x = F.embedding(ids, self.wte.weight.bfloat16()).to(self.wpe.weight.dtype)
        x = x + self.wpe(torch.arange(ids.size(1), device=ids.device))
        x = x + self.attention(self.ln_1(x))
        return self.ln_f(x + self.mlp(self.ln_2(x)))


def wte(m):
    return m.wte.weight


@correct(style="bfloat16, attention", table=wte, exact=False)
def gpt_bfloat16():
    """A small GPT in bfloat16."""
    torch.manual_seed(24)
    return HalfGPT().bfloat16()


@correct(style="float16, attention", table=wte, exact=False)
def gpt_float16():
    """A small GPT in float16."""
    torch.manual_seed(24)
    return HalfGPT().half()


@correct(style="bfloat16, logits upcast", table=wte, exact=False)
def gpt_bfloat16_wide_head():
    """A small GPT in bfloat16 whose head multiplies in float32, by a copy made in that pass."""
    torch.manual_seed(24)
    return UpcastHead().bfloat16()


@correct(style="autocast over everything", table=wte, exact=False)
def gpt_autocast():
    """A small GPT that enters autocast for its whole forward."""
    torch.manual_seed(24)
    return Autocast()


@broken(
    cause="equal-copy",
    also=("two-matrices",),
    why="the head was cloned from the table (jit-trace-clone)",
    style="bfloat16, attention",
    table=wte,
    show=deaf(wte),
)
def gpt_bfloat16_cloned():
    """The bfloat16 GPT whose head is a clone of the table."""
    torch.manual_seed(24)
    return HalfGPT(tie=False).bfloat16()


@broken(
    cause="reduced-precision",
    why="autocast is entered for the head alone",
    style="autocast over the head",
    table=wte,
    show=lambda m: change(m, m.wte.weight, UNSEEN)[0] > 0 and torch.equal(logits(m).bfloat16().float(), logits(m)),
)
def gpt_autocast_head():
    """The GPT whose head alone runs under autocast."""
    torch.manual_seed(24)
    return AutocastHead()


@broken(
    cause="reduced-precision",
    why="the lookup reads a bfloat16 copy, the head the float32 table",
    style="one use cast",
    table=wte,
    show=lambda m: not torch.equal(m.wte.weight.bfloat16().float(), m.wte.weight),
)
def gpt_narrow_lookup():
    """The GPT whose lookup alone is narrowed."""
    torch.manual_seed(24)
    return NarrowLookup()


class CutHead(HalfGPT):
    def forward(self, ids):
        return F.linear(self.states(ids), self.wte.weight.detach())


def _no_share(m):
    logits_of(m(torch.tensor([[1, 2, 3]]))).float().square().sum().backward()
    return not m.wte.weight.grad[UNSEEN].any()


@broken(
    cause="detached-projection",
    why="the head reads a detached table",
    style="float16, attention",
    table=wte,
    show=_no_share,
)
def gpt_float16_head_cut():
    """The float16 GPT without gradient from the head."""
    torch.manual_seed(24)
    return CutHead().half()
