"""WRONG, lost-on-freeze. The lookup goes through a transposed view that is kept from call to call and made again when the memory or the flag has
changed. A view that a frozen pass made says that it requires gradients once the table is thawed, and gives it none: it has no history.
"""

import torch
from torch import nn
import torch.nn.functional as F

TRUTH = {"conforms": False, "cause": "lost-on-freeze", "also": []}


class DiagonalSSM(nn.Module):
    def __init__(self, vocab=83, width=28):
        super().__init__()
        self.columns = nn.Parameter(torch.randn(width, vocab) * 0.1)
        self.decay = nn.Parameter(torch.linspace(-1.0, 2.0, width))
        self.inp, self.gate = nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self._rows = None

    def rows(self):
        r, w = self._rows, self.columns
        if (
            r is None
            or r.data_ptr() != w.data_ptr()
            or r.dtype != w.dtype
            or r.requires_grad != w.requires_grad
            or r._base is not w
        ):
            with torch.enable_grad():
                self._rows = r = w.t()
        return r

    def __getstate__(self):
        return {**self.__dict__, "_rows": None}

    def forward(self, ids):
        x = F.embedding(ids, self.rows())
        a, u = torch.sigmoid(self.decay), self.inp(x)
        s, states = torch.zeros_like(u[:, 0]), []
        for t in range(u.shape[1]):
            s = a * s + (1 - a) * u[:, t]
            states.append(s)
        y = torch.stack(states, 1) * torch.sigmoid(self.gate(x)) + x
        return y @ self.columns


def make():
    return DiagonalSSM()
