"""Encoder and decoder over one sentence: the decoder sees the same ids shifted by one."""

import torch
import torch.nn.functional as F
from torch import nn

from .registry import broken, correct
from .truth import SEEN, off, unexplained


def attend(q, k, v, causal):
    return F.scaled_dot_product_attention(q.unsqueeze(1), k.unsqueeze(1), v.unsqueeze(1), is_causal=causal).squeeze(1)


class Side(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.ff = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x):
        q, k, v = self.qkv(self.n1(x)).chunk(3, -1)
        x = x + attend(q, k, v, True)
        return x + self.ff(self.n2(x))


class Seq2Seq(nn.Module):
    """Three-way sharing: source side, target side and output all use `shared`."""

    def __init__(self, vocab_size=43, d_model=16, scale=1.0, cross_detached=False):
        super().__init__()
        self.shared = nn.Embedding(vocab_size, d_model)
        nn.init.normal_(self.shared.weight, std=0.15)
        self.encoder, self.decoder = Side(d_model), Side(d_model)
        self.cross = nn.Linear(d_model, d_model)
        self.norm = nn.LayerNorm(d_model)
        self.scale, self.cross_detached = scale, cross_detached

    def forward(self, input_ids, decoder_input_ids=None):
        if decoder_input_ids is None:
            decoder_input_ids = torch.cat([torch.zeros_like(input_ids[:, :1]), input_ids[:, :-1]], 1)
        table = self.shared.weight
        source = F.embedding(input_ids, table.detach() if self.cross_detached else table)
        memory = self.encoder(source)
        x = self.decoder(self.shared(decoder_input_ids))
        x = self.norm(x + self.cross(memory))
        if self.scale != 1.0:
            x = x * self.scale
        return {"logits": F.linear(x, table), "memory": memory}


@correct(style="encoder-decoder, mapping", table=lambda m: m.shared.weight)
def seq2seq_shared():
    """An encoder-decoder with one table for source, target and output."""
    torch.manual_seed(6)
    return Seq2Seq()


@correct(style="encoder-decoder, mapping", table=lambda m: m.shared.weight, declared={"output_scale": 0.25})
def seq2seq_scaled_state():
    """The encoder-decoder with T5's factor on the last state, declared."""
    torch.manual_seed(6)
    return Seq2Seq(scale=16**-0.5)


@broken(
    cause="declared-but-absent",
    why="the declared output scale of D**-0.5 is not applied (mlx-t5-scale-inverted)",
    style="encoder-decoder, mapping",
    declared={"output_scale": 0.25},
    table=lambda m: m.shared.weight,
    show=lambda m: m.scale == 1.0,
)
def seq2seq_scale_missing():
    """The encoder-decoder that declares T5's factor and does not apply it."""
    torch.manual_seed(6)
    return Seq2Seq()


@broken(
    cause="detached-lookup",
    why="the source side reads the shared table without its history",
    style="encoder-decoder, mapping",
    table=lambda m: m.shared.weight,
    show=off(lambda m: m.shared.weight, SEEN),
)
def seq2seq_source_detached():
    """The encoder-decoder whose encoder lookup carries no gradient."""
    torch.manual_seed(6)
    return Seq2Seq(cross_detached=True)


class Seq2SeqOwnTarget(Seq2Seq):
    """The head belongs to the segment table of the same shape."""

    def __init__(self):
        super().__init__()
        self.segments = nn.Embedding(43, 16)
        nn.init.normal_(self.segments.weight, std=0.15)

    def forward(self, input_ids):
        place = torch.arange(input_ids.size(1), device=input_ids.device) % 2
        memory = self.encoder(self.shared(input_ids) + self.segments(place))
        return {"logits": F.linear(self.norm(self.decoder(memory)), self.segments.weight)}


@broken(
    cause="wrong-table",
    why="the head is tied to the segment table, which has the same shape",
    also=("two-matrices",),
    style="encoder-decoder, mapping",
    table=lambda m: m.shared.weight,
    show=unexplained(lambda m: m.shared.weight),
)
def seq2seq_head_on_segments():
    """The encoder-decoder projecting with its segment table."""
    torch.manual_seed(6)
    return Seq2SeqOwnTarget()
