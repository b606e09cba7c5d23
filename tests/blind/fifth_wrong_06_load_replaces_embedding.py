"""WRONG, lost-on-load. `load_state_dict` first loads everything, then makes the embedding anew from the file's rows (vocabularies of old files may be
smaller); the head keeps the old Parameter. Values stay equal, so the logits after the round trip are bit for bit right."""

import torch
from torch import nn

TRUTH = {"conforms": False, "cause": "lost-on-load", "also": []}


class BidirectionalNo(nn.Module):
    """A left-to-right minGRU."""

    def __init__(self, vocab=51, width=25):
        super().__init__()
        self.lookup = nn.Embedding(vocab, width)
        self.lookup.weight.data.uniform_(-0.08, 0.08)
        self.z, self.c = nn.Linear(width, width), nn.Linear(width, width)
        self.scores = nn.Linear(width, vocab, bias=False)
        self.scores.weight = self.lookup.weight

    def load_state_dict(self, state_dict, strict=True, assign=False):
        result = super().load_state_dict(state_dict, strict, assign)
        rows = state_dict["lookup.weight"]
        self.lookup = nn.Embedding.from_pretrained(rows.detach().clone().to(self.lookup.weight.dtype), freeze=False)
        return result

    def forward(self, ids):
        x = self.lookup(ids)
        z, c = torch.sigmoid(self.z(x)), self.c(x)
        h, hs = 0 * c[:, 0], []
        for t in range(ids.size(1)):
            h = (1 - z[:, t]) * h + z[:, t] * c[:, t]
            hs.append(h)
        return self.scores(torch.stack(hs, 1))


def make():
    return BidirectionalNo()
