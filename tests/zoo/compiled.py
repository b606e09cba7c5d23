"""Parts under torch.compile (eager backend) and parts under torch.jit.trace."""

import torch
from torch import nn

from .registry import broken, correct
from .truth import SEEN, UNSEEN, off


class Mixer(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.fc = nn.Linear(d, d)

    def forward(self, x):
        return x + torch.sin(self.fc(x))


class ForCompile(nn.Module):
    def __init__(self, cut=False, compile_body=False):
        super().__init__()
        self.emb = nn.Embedding(25, 8)
        self.emb.weight.data *= 0.3
        self.body = Mixer(8)
        if compile_body:
            self.body = torch.compile(self.body, backend="eager", dynamic=True)
        self.cut = cut

    def forward(self, ids):
        table = self.emb.weight
        x = nn.functional.embedding(ids, table.detach() if self.cut else table)
        return self.body(x) @ table.T


def inner(m):
    return getattr(m, "_orig_mod", m).emb.weight


@correct(style="compiled submodule", table=inner)
def compiled_body():
    """The body alone is compiled."""
    torch.manual_seed(22)
    return ForCompile(compile_body=True)


@correct(style="compiled whole", table=inner)
def compiled_whole():
    """The whole model is compiled."""
    torch.manual_seed(22)
    return torch.compile(ForCompile(), backend="eager", dynamic=True)


@broken(
    cause="detached-lookup",
    why="inside the compiled model the lookup is detached",
    style="compiled whole",
    table=inner,
    show=off(inner, SEEN),
)
def compiled_whole_cut():
    """The compiled model without the lookup's gradient."""
    torch.manual_seed(22)
    return torch.compile(ForCompile(cut=True), backend="eager", dynamic=True)


class TracedBody(nn.Module):
    def __init__(self, cut=False):
        super().__init__()
        self.emb = nn.Embedding(36, 10)
        nn.init.normal_(self.emb.weight, std=0.2)
        self.body = torch.jit.trace(Mixer(10), torch.zeros(1, 3, 10))
        self.cut = cut

    def forward(self, ids):
        w = self.emb.weight
        return torch.matmul(self.body(self.emb(ids)), (w.data if self.cut else w).t())


@correct(style="jit.trace'd submodule", table=lambda m: m.emb.weight)
def traced_body():
    """The body is traced by torch.jit."""
    torch.manual_seed(23)
    return TracedBody()


class Ends(nn.Module):
    """Both ends in one module whose head is traced with the table as an input."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(36, 10)
        nn.init.normal_(self.emb.weight, std=0.2)
        self.body = Mixer(10)
        self.head = torch.jit.trace(torch.nn.functional.linear, (torch.zeros(1, 2, 10), torch.zeros(36, 10)))

    def forward(self, ids):
        return self.head(self.body(self.emb(ids)), self.emb.weight)

    def __getstate__(self):
        raise TypeError("a traced function stays in its process")


@correct(style="jit.trace'd head", table=lambda m: m.emb.weight)
def traced_head():
    """The head is a traced function of state and table; the model says that it cannot be copied."""
    torch.manual_seed(23)
    return Ends()


@broken(
    cause="detached-projection",
    why="the head multiplies by .data",
    style="jit.trace'd submodule",
    table=lambda m: m.emb.weight,
    show=off(lambda m: m.emb.weight, [UNSEEN]),
)
def traced_body_head_of_data():
    """The traced body under a head of the table's data."""
    torch.manual_seed(23)
    return TracedBody(cut=True)


class BakedHead(nn.Module):
    """The head was traced with the table closed over: tracing bakes its values in."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(36, 10)
        nn.init.normal_(self.emb.weight, std=0.2)
        self.body = Mixer(10)
        frozen = self.emb.weight.detach().clone()
        self.head = torch.jit.trace(lambda h: h @ frozen.t(), torch.zeros(1, 2, 10))

    def forward(self, ids):
        return self.head(self.body(self.emb(ids)))


def _baked(m):
    before = m(torch.tensor([[1, 2]]))
    with torch.no_grad():
        m.emb.weight[20] += 1
    return torch.equal(before, m(torch.tensor([[1, 2]])))


@broken(
    cause="stale-copy",
    also=("equal-copy", "detached-projection", "two-matrices"),
    why="the traced head carries the table's values as a constant",
    style="jit.trace'd head",
    table=lambda m: m.emb.weight,
    show=_baked,
)
def traced_head_baked():
    """The head was traced with the values of the table at that moment."""
    torch.manual_seed(23)
    return BakedHead()
