"""RIGHT: in eval mode a transposed view of the table is kept, made anew where the parameter or its memory is another."""

import torch
from torch import nn

TRUTH = {"conforms": True}


class ViewCache(nn.Module):
    """In eval mode keeps a transposed *view* of the table, made anew whenever the parameter or its memory is another."""

    def __init__(self, v=35, d=9):
        super().__init__()
        self.emb = nn.Embedding(v, d)
        nn.init.normal_(self.emb.weight, std=0.1)
        self.body = nn.Sequential(nn.Linear(d, d), nn.SiLU(), nn.LayerNorm(d))
        self._view = None

    def _columns(self):
        w = self.emb.weight
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return w.t()
        if (
            self._view is None
            or self._view[0] is not w
            or self._view[1].data_ptr() != w.data_ptr()
            or self._view[1].dtype != w.dtype
            or self._view[1].shape != w.t().shape
        ):
            self._view = (w, w.detach().t())
        return self._view[1]

    def __getstate__(self):
        return {**self.__dict__, "_view": None}

    def forward(self, ids):
        x = self.emb(ids)
        return (x + self.body(x.cumsum(1))) @ self._columns()


def make():
    return ViewCache()
