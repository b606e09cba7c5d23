"""RIGHT. The head reads a non-persistent buffer that is set anew to a transposed *view* of the table in every pass (and cleared after
it).  States at padding positions are zeroed, the output bias is declared and huge, and the state is scaled by D**-0.5 before the
projection, which is the network's own business."""

import torch
import torch.nn as nn

TRUTH = {"conforms": True, "cause": None, "also": []}
DECLARE = {"output_bias": True}
V, D, PAD = 58, 20, 3


class T5ish(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Parameter(torch.randn(V, D) * 0.1)
        self.register_buffer("decoder_view", None, persistent=False)
        self.bias = nn.Parameter(torch.linspace(-40.0, 40.0, V)[torch.randperm(V)])
        self.rnn_in, self.rnn_h = nn.Linear(D, D), nn.Linear(D, D)
        self.norm = nn.RMSNorm(D)

    def forward(self, ids):
        self.decoder_view = self.shared.t()
        try:
            x = torch.nn.functional.embedding(ids, self.shared)
            h, hs = torch.zeros_like(x[:, 0]), []
            for t in range(ids.shape[1]):
                h = torch.tanh(self.rnn_in(x[:, t]) + self.rnn_h(h))
                hs.append(h)
            y = self.norm(torch.stack(hs, 1) + x) * D**-0.5
            y = y * (ids != PAD).unsqueeze(-1)
            return torch.addmm(self.bias, y.flatten(0, 1), self.decoder_view).unflatten(0, ids.shape)
        finally:
            self.decoder_view = None


def make():
    return T5ish()
