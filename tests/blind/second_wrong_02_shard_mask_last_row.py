"""Megatron-like masked lookup over two row shards held on one rank; the last shard's range end is one short (exclusive taken twice).
Wrong: the last token is looked up as a zero vector (and its row lacks the lookup's gradient); every other token is right."""

import torch, torch.nn as nn, torch.nn.functional as F

TRUTH = {"conforms": False, "cause": "wrong-rows", "also": ["missing-rows"]}


class ShardedEmbedding(nn.Module):
    def __init__(self, V, D, shards=2):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(V, D) * 0.2)
        per = -(-V // shards)
        self.ranges = [(r * per, min((r + 1) * per, V - 1)) for r in range(shards)]

    def forward(self, ids):
        out = 0
        for a, b in self.ranges:
            mask = (ids < a) | (ids >= b)
            local = torch.where(mask, 0, ids - a)
            out = out + F.embedding(local, self.weight[a:b]).masked_fill(mask.unsqueeze(-1), 0.0)
        return out


class Model(nn.Module):
    def __init__(self, V=51, D=16):
        super().__init__()
        self.word_embeddings = ShardedEmbedding(V, D)
        self.rnn = nn.GRU(D, D, batch_first=True)

    def forward(self, tokens):
        x = self.word_embeddings(tokens)
        return F.linear(x + self.rnn(x)[0], self.word_embeddings.weight)


def make():
    return Model()
