"""A GPT with a count and an optimizer factory of its own."""

import inspect

import torch
import torch.nn as nn
from torch.nn import functional as F

from .registry import broken, correct

SIZE = {"vocab_size": 59, "n_embd": 20, "block_size": 64}
COUNT = 59 * 20 + 64 * 20 + 20 * 2 + 20 * 60 + 20 * 20 + 20 * 40 + 40 * 20 + 20 * 4


class CausalSelfAttention(nn.Module):
    def __init__(self, n_embd, n_head=4):
        super().__init__()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd, bias=False)
        self.c_proj = nn.Linear(n_embd, n_embd, bias=False)
        self.n_head = n_head

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = (y.view(B, T, self.n_head, -1).transpose(1, 2) for y in self.c_attn(x).split(C, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C))


class NanoGPT(nn.Module):
    def __init__(self, vocab_size=59, n_embd=20, block_size=64):
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(vocab_size, n_embd),
                "wpe": nn.Embedding(block_size, n_embd),
                "ln_1": nn.LayerNorm(n_embd),
                "attn": CausalSelfAttention(n_embd),
                "ln_2": nn.LayerNorm(n_embd),
                "fc": nn.Linear(n_embd, 2 * n_embd, bias=False),
                "proj": nn.Linear(2 * n_embd, n_embd, bias=False),
                "ln_f": nn.LayerNorm(n_embd),
            }
        )
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        self.transformer.wte.weight = self.lm_head.weight
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            torch.nn.init.normal_(module.weight, mean=0.0, std=0.1)

    def get_num_params(self):
        return sum(p.numel() for p in self.parameters())

    def configure_optimizers(self, weight_decay, learning_rate, betas, device_type):
        params = {n: p for n, p in self.named_parameters() if p.requires_grad}
        decay = [p for p in params.values() if p.dim() >= 2]
        nodecay = [p for p in params.values() if p.dim() < 2]
        groups = [{"params": decay, "weight_decay": weight_decay}, {"params": nodecay, "weight_decay": 0.0}]
        fused = device_type == "cuda" and "fused" in inspect.signature(torch.optim.AdamW).parameters
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=fused)

    def forward(self, idx, targets=None):
        t = self.transformer
        x = t.wte(idx) + t.wpe(torch.arange(idx.size(1), device=idx.device))
        x = x + t.attn(t.ln_1(x))
        x = x + t.proj(F.gelu(t.fc(t.ln_2(x))))
        logits = self.lm_head(t.ln_f(x))
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)


class ModuleGroups(NanoGPT):
    """Decay by the kind of module: the tied weight is in both sets."""

    def configure_optimizers(self, weight_decay, learning_rate, betas, device_type):
        decay, nodecay = [], []
        for module in self.modules():
            for p in module.parameters(recurse=False):
                (decay if isinstance(module, nn.Linear) else nodecay).append(p)
        groups = [{"params": decay, "weight_decay": weight_decay}, {"params": nodecay, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas)


class HeadLeftOut(NanoGPT):
    """Decay by name; whatever belongs to the embeddings is left out."""

    def configure_optimizers(self, weight_decay, learning_rate, betas, device_type):
        params = [p for n, p in self.named_parameters() if ".wte" not in n and ".wpe" not in n]
        return torch.optim.AdamW(params, lr=learning_rate, betas=betas, weight_decay=weight_decay)


class ListsTwice(NanoGPT):
    """parameters() goes over the children and meets the shared one twice."""

    def parameters(self, recurse=True):
        for child in self.children():
            yield from child.parameters(recurse)


class CountsTwice(NanoGPT):
    def get_num_params(self):
        return sum(v.numel() for v in self.state_dict().values())


class DeadHead(NanoGPT):
    """The head keeps a weight of its own that nothing reads."""

    def __init__(self, **size):
        super().__init__(**size)
        self.spare = nn.Parameter(torch.randn(size["vocab_size"], size["n_embd"]) * 0.1)


def wte(m):
    return m.transformer.wte.weight


@correct(style="attention, own count and optimizer", table=wte, declared={"parameter_count": COUNT})
def nanogpt_tied():
    """nanoGPT's layout with its own count and optimizer factory."""
    torch.manual_seed(26)
    return NanoGPT(**SIZE)


def _raises(m):
    try:
        m.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu")
    except ValueError as error:
        return "more than one parameter group" in str(error)
    return False


@broken(
    cause="listed-twice",
    why="decay by module type puts the shared weight in both sets (nanogpt-tie-breaks-configure-optimizers)",
    style="attention, own count and optimizer",
    table=wte,
    show=_raises,
)
def nanogpt_groups_by_module():
    """Its optimizer factory lists the table in two groups, which torch refuses."""
    torch.manual_seed(26)
    return ModuleGroups(**SIZE)


def _unlisted(m):
    groups = m.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu").param_groups
    return all(p is not m.lm_head.weight for g in groups for p in g["params"])


@broken(
    cause="not-listed",
    why="the optimizer factory selects by name and leaves the table out (hf-missing-from-named-parameters)",
    style="attention, own count and optimizer",
    table=wte,
    show=_unlisted,
)
def nanogpt_table_left_out():
    """Its optimizer factory forgets the table."""
    torch.manual_seed(26)
    return HeadLeftOut(**SIZE)


@broken(
    cause="listed-twice",
    why="an override of parameters() yields the shared weight twice",
    style="attention, own count and optimizer",
    table=wte,
    show=lambda m: sum(p is m.lm_head.weight for p in m.parameters()) == 2,
)
def nanogpt_parameters_twice():
    """Its parameters() lists the table twice."""
    torch.manual_seed(26)
    return ListsTwice(**SIZE)


@broken(
    cause="miscounted",
    also=("listed-twice",),
    why="its own count sums the state dict, where the table has two names (bigscience-double-count-pp)",
    style="attention, own count and optimizer",
    declared={"parameter_count": COUNT},
    table=wte,
    show=lambda m: m.get_num_params() == COUNT + 59 * 20,
)
def nanogpt_count_twice():
    """Its get_num_params() counts the table twice."""
    torch.manual_seed(26)
    return CountsTwice(**SIZE)


@broken(
    cause="miscounted",
    why="a V x D parameter that nothing reads (megatron-mtp-dead-output-weight)",
    style="attention, own count and optimizer",
    declared={"parameter_count": COUNT},
    table=wte,
    show=lambda m: sum(p.numel() for p in m.parameters()) == COUNT + 59 * 20,
)
def nanogpt_dead_head():
    """A dead second table beside the tied one."""
    torch.manual_seed(26)
    return DeadHead(**SIZE)


class Plain(nn.Module):
    """The table is a bare tensor that no list of parameters knows."""

    def __init__(self, listed):
        super().__init__()
        rows = torch.randn(30, 10) * 0.2
        self.rows = nn.Parameter(rows) if listed else rows.requires_grad_()
        self.step = nn.GRUCell(10, 10)

    def forward(self, seq):
        state, states = None, []
        for now in self.rows[seq].unbind(1):
            state = self.step(now, state)
            states.append(state)
        return torch.stack([s @ self.rows.mT for s in states], 1)


@correct(style="recurrent, by cells", table=lambda m: m.rows)
def cells_with_parameter():
    """A GRU cell in a loop, with a bare parameter as the table."""
    torch.manual_seed(27)
    return Plain(listed=True)


@broken(
    cause="not-listed",
    why="the table is a plain tensor and parameters() does not know it",
    style="recurrent, by cells",
    table=lambda m: m.rows,
    show=lambda m: all(p is not m.rows for p in m.parameters()) and m.rows.requires_grad,
)
def cells_with_plain_tensor():
    """The GRU cell whose table is a plain tensor."""
    torch.manual_seed(27)
    return Plain(listed=False)


class HeadTaken(NanoGPT):
    """A second head for a draft, tied as well: three names, one table."""

    def __init__(self, **size):
        super().__init__(**size)
        self.draft = nn.Linear(size["n_embd"], size["vocab_size"], bias=False)
        self.draft.weight = self.lm_head.weight

    def forward(self, idx):
        logits, _ = super().forward(idx)
        return logits


@correct(style="attention, three names for one table", table=wte, declared={"parameter_count": COUNT})
def nanogpt_three_names():
    """nanoGPT with a draft head that shares the table too."""
    torch.manual_seed(26)
    return HeadTaken(**SIZE)


class Monitored(NanoGPT):
    """Logit statistics are taken under no_grad, in the same autocast region as the head."""

    def forward(self, idx):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with torch.no_grad():
                self.largest = self.lm_head(self.transformer.wte(idx[:1, :1])).amax()
            logits, _ = super().forward(idx)
        return logits.float()


@correct(
    style="autocast over everything",
    table=wte,
    exact=False,
    why="torch 2.13 no longer takes the no_grad use's cast from the cache (autocast-cache-drops-weight-grad)",
)
def nanogpt_autocast_monitored():
    """Under autocast the table is used under no_grad first, which costs the head nothing."""
    torch.manual_seed(26)
    return Monitored(**SIZE)
