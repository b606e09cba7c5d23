"""WRONG: gradient-scaled. Enc-dec with the GLM/CogView trick e*a + e.detach()*(1-a), a=0.1, on the lookup, input_gradient_scale not declared."""

import math, torch, torch.nn as nn, torch.nn.functional as F

TRUTH = {"conforms": False, "cause": "gradient-scaled", "also": []}
V, D = 44, 16
DECLARE = {"output_scale": D**-0.5}


class EncDec(nn.Module):
    def __init__(s):
        super().__init__()
        s.shared = nn.Embedding(V, D)
        nn.init.normal_(s.shared.weight, std=0.5)
        s.enc, s.dec = nn.GRU(D, D, batch_first=True, bidirectional=True), nn.GRU(D, D, batch_first=True)
        s.mem = nn.Linear(2 * D, D)
        s.ln = nn.LayerNorm(D)

    def embed(s, i, a=0.1):
        e = s.shared(i)
        return e * a + e.detach() * (1 - a)

    def forward(s, input_ids):
        m = s.mem(s.enc(s.embed(input_ids))[0])
        y = s.dec(s.embed(F.pad(input_ids, (1, -1))))[0]
        y = y + F.scaled_dot_product_attention(y, m, m)
        return F.linear(s.ln(y) * D**-0.5, s.shared.weight)


def make():
    return EncDec()
