"""A body that cuts its gradient on purpose, as truncated recurrences do, is no fault of the model's own loss."""

import torch
import torch.nn.functional as F
from tiecheck.conformance import check
from torch import nn


class Truncated(nn.Module):
    """Four steps of one cell, of which only the last sends a gradient back."""

    def __init__(self, twice: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(23, 8)
        self.cell = nn.Linear(8, 8)
        nn.init.normal_(self.cell.weight, std=0.6)
        self.twice = twice

    def forward(self, ids: torch.Tensor, targets: torch.Tensor | None = None):
        x = self.embedding(ids)
        h = torch.zeros_like(x)
        for step in range(4):
            with torch.set_grad_enabled(step == 3 and torch.is_grad_enabled()):
                h = torch.tanh(self.cell(h + x))
        logits = F.linear(h, self.embedding.weight)
        if targets is None:
            return logits
        shown = logits + (logits - logits.detach()) if self.twice else logits
        return logits, F.cross_entropy(shown.flatten(0, 1), targets.flatten())


def _verdict(model):
    report = check(model, select=["gradient.trainable", "gradient.own-loss"])
    return next(result for result in report.results if result.id == "gradient.own-loss").verdict


def test_a_cut_body_is_inconclusive():
    torch.manual_seed(0)
    assert _verdict(Truncated()) == "skip"


def test_the_head_of_its_loss_is_judged_all_the_same():
    torch.manual_seed(0)
    assert _verdict(Truncated(twice=True)) == "fail"
