"""TRUTH: wrong. Mixture of two softmaxes over one table (log-probabilities declared): log sum_k pi_k softmax(h_k E^T) is no h E^T."""

import torch, torch.nn as nn

DECLARE = {"log_probabilities": True}
TRUTH = {
    "conforms": False,
    "cause": "unknown",
    "also": [
        "undeclared-normalization",
        "undeclared-softcap",
        "undeclared-scale",
        "undeclared-bias",
        "declared-but-absent",
        "wrong-table",
        "wrong-gradient",
    ],
}


class MoS(nn.Module):
    def __init__(self, ntoken=16, nhid=8, k=2):
        super().__init__()
        self.encoder = nn.Embedding(ntoken, nhid)
        self.rnn = nn.GRU(nhid, nhid, batch_first=True)
        self.k = k
        self.prior = nn.Linear(nhid, k, bias=False)
        self.latent = nn.Sequential(nn.Linear(nhid, k * nhid), nn.Tanh())
        self.decoder = nn.Linear(nhid, ntoken, bias=False)
        self.decoder.weight = self.encoder.weight

    def forward(self, ids):
        h = self.rnn(self.encoder(ids))[0]
        pi = self.prior(h).log_softmax(-1)
        z = self.decoder(self.latent(h).unflatten(-1, (self.k, -1))).log_softmax(-1)
        return torch.logsumexp(z + pi.unsqueeze(-1), dim=-2)


def make():
    return MoS()
