"""Keras-like layers with build()/call(); ReversibleEmbedding.call(x, reverse=True) is the head; Dense layers are lazily built.
Right: one weight `embeddings` (12 x 3), gathered by index_select, read transposed in reverse."""

import torch, torch.nn as nn

TRUTH = {"conforms": True, "cause": None, "also": []}


class Layer(nn.Module):
    def forward(self, *a, **k):
        return self.call(*a, **k)


class ReversibleEmbedding(Layer):
    def __init__(self, input_dim, output_dim, tie_weights=True):
        super().__init__()
        self.input_dim, self.output_dim, self.tie_weights = input_dim, output_dim, tie_weights
        self.embeddings = nn.Parameter(torch.rand(input_dim, output_dim) - 0.5)
        if not tie_weights:
            self.reverse_embeddings = nn.Parameter(torch.rand(output_dim, input_dim) - 0.5)

    def call(self, inputs, reverse=False):
        if reverse:
            kernel = self.embeddings.transpose(0, 1) if self.tie_weights else self.reverse_embeddings
            return torch.matmul(inputs, kernel)
        flat = torch.index_select(self.embeddings, 0, inputs.reshape(-1))
        return flat.reshape(*inputs.shape, self.output_dim)


class Dense(Layer):
    def __init__(self, units, activation=None):
        super().__init__()
        self.kernel = nn.LazyLinear(units)
        self.activation = activation

    def call(self, x):
        x = self.kernel(x)
        return torch.tanh(x) if self.activation == "tanh" else x


class CausalMean(Layer):
    def call(self, x):
        n = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=x.dtype).view(1, -1, 1)
        return x.cumsum(1) / n


class Functional(Layer):
    def __init__(self):
        super().__init__()
        self.token_embedding = ReversibleEmbedding(12, 3)
        self.pool = CausalMean()
        self.hidden = Dense(10, "tanh")
        self.out = Dense(3)

    def call(self, x, training=None):
        e = self.token_embedding(x)
        h = self.hidden(torch.cat([e, self.pool(e)], dim=-1))
        return self.token_embedding(self.out(h), reverse=True)


def make():
    return Functional()
