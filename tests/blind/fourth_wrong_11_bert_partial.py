"""WRONG: partial-tie. BERT-like MLM head whose last 4 rows (tokens added later) come from a parameter of its own."""

import math, torch, torch.nn as nn, torch.nn.functional as F

TRUTH = {"conforms": False, "cause": "partial-tie", "also": ["two-matrices", "wrong-rows"]}
V, D, NEW = 46, 24, 4


class Bert(nn.Module):
    def __init__(s):
        super().__init__()
        s.word = nn.Embedding(V, D)
        s.pos = nn.Embedding(64, D)
        s.ln = nn.LayerNorm(D)
        s.enc = nn.TransformerEncoderLayer(D, 4, 48, batch_first=True)
        s.dense, s.tln = nn.Linear(D, D), nn.LayerNorm(D)
        nn.init.normal_(s.word.weight, std=0.05)
        s.new_decoder = nn.Parameter(s.word.weight[-NEW:].detach().clone())

    def forward(s, input_ids, attention_mask=None):
        x = s.enc(s.ln(s.word(input_ids) + s.pos.weight[: input_ids.size(1)]))
        return F.linear(s.tln(F.gelu(s.dense(x))), torch.cat([s.word.weight[:-NEW], s.new_decoder]))


def make():
    return Bert()
