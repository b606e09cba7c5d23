"""Which tensors are the two tables: by the names that frameworks use, and by shape where a name is new."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from .tensors import FLOATS, Tensor

LOOKUPS = (
    "embed_tokens",
    "wte",
    "word_embeddings",
    "tok_embeddings",
    "token_embd",
    "embed_in",
    "shared",
    "token_embedding",
    "tokens_embed",
    "word_embedding",
    "embedding_projection",
    "tok_embedding",
    "token_emb",
    "embeddings",
    "embedding",
    "tok_emb",
    "embed",
    "w",
)
"""The last part of a lookup's name before ``weight``, the most telling first."""
HEADS = (
    "lm_head",
    "embed_out",
    "output",
    "output_layer",
    "output_projection",
    "unembedding_projection",
    "proj_out",
    "predictions.decoder",
    "lm_head.decoder",
    "lm_head.out_proj",
    "head.decoder",
    "generator_lm_head",
    "vocab_projector",
    "lm_loss",
    "pred_layer.proj",
    "to_logits",
    "unembed",
    "decoder",
    "head",
)
# A module of a layer, of another sense or of positions is none of the two.
_ELSEWHERE = re.compile(
    r"(^|\.)(layers?|blocks?|blk|h|mtp|vit)\.|"
    r"(^|[._])(vision\w*|visual\w*|image\w*|audio\w*|lora\w*|per_layer|patch\w*)[._]|"
    r"(^|[._/])(position\w*|pos|pos_?emb\w*|w?pe|segments?|seg|token_types?|type_emb\w*)([._/]|$)"
)
_SUFFIX = re.compile(r"\.(weight|qweight|embedding|kernel)$")
_PACKED = ("qweight", "scales", "weight_scale", "weight_scale_inv", "weight.absmax", "weight.quant_map", "SCB")


@dataclass(frozen=True)
class Table:
    """A tensor in its role, and how it was known: ``class`` (transformers ties these names), ``name``, ``shape``, ``graph``.

    ``turned``: it is stored as D x V, and ``tensor`` is its transpose.
    """

    role: Literal["embedding", "head"]
    tensor: Tensor
    by: str
    packed: bool = False
    turned: bool = False

    @property
    def stored(self) -> tuple[int, ...]:
        """The shape in the file."""
        return self.tensor.shape[::-1] if self.turned else self.tensor.shape


@dataclass(frozen=True)
class Tables:
    """The tables of a checkpoint; ``twins`` are further names of the embedding, ``why`` says what could not be told."""

    embedding: Table | None
    head: Table | None
    twins: tuple[Table, ...] = ()
    why: str = ""


def found(
    tensors: Mapping[str, Tensor],
    ties: Mapping[str, str] | None = None,
    sizes: tuple[int | None, int | None] = (None, None),
    ends: tuple[str, str] | None = None,
) -> Tables:
    """The two tables.

    Args:
        ties: which name the class of the config ties to which, where it is known.
            A head that the class names goes by no shape: a matrix of another name is none of its tables.
        sizes: vocabulary and width, where the config gives them.
        ends: what the class calls the two in a file, where that is known besides; "": it has no such table.
    """
    matrices = {name: t for name, t in tensors.items() if len(t.shape) == 2 and min(t.shape) > 0}
    lookups = [] if ends == ("", "") else _lookups(matrices, ties, ends)
    packed = {name.rpartition(".")[0] for name in tensors if name.endswith(_PACKED)}
    heads = [] if ends and not ends[1] else _heads(matrices, ties, lookups, ends)
    embedding = lookups[0] if lookups else None
    head = heads[0] if heads else None
    why = ""
    if ends is None and not any(is_head(target.strip("^$")) for target in ties or {}):
        if embedding is None or head is None:
            embedding, head, why = _by_shape(matrices, embedding, head, sizes)
    elif embedding is None and head is None and ends != ("", ""):
        why = "no tensor has a name that the class gives to a table"
    twins = tuple(Table("embedding", t.tensor, t.by) for t in lookups[1:])
    return Tables(_marked(embedding, packed), _marked(head, packed), twins, why)


def _marked(table: Table | None, packed: set[str]) -> Table | None:
    if table is None:
        return None
    stem = table.tensor.name.rpartition(".")[0]
    hidden = stem in packed or (table.tensor.dtype not in FLOATS and not table.tensor.quantized)
    return replace(table, packed=hidden)


def stem(name: str) -> str:
    """A tensor's module: its name without what stands for the weight itself."""
    return _SUFFIX.sub("", name)


def names_a_table(name: str) -> bool:
    """Whether frameworks call a lookup's table or a head so."""
    return not _ELSEWHERE.search(name) and (_ends(name, LOOKUPS) or _ends(name, HEADS)) is not None


def _ends(name: str, words: Iterable[str]) -> str | None:
    """The word that a name ends with, at a dot or an underscore."""
    base = stem(name)
    return next((word for word in words if base == word or base.endswith((f".{word}", f"/{word}"))), None)


def of_class(matrices: Mapping[str, Tensor], keys: Iterable[str]) -> list[str]:
    """The tensors that a class calls so: as they are, or with a prefix more or less."""
    hits = []
    for key in keys:
        key = key.strip("^$")
        short = key.partition(".")[2]
        hits += [n for n in matrices if n == key or n.endswith(f".{key}") or (short.count(".") and n == short)]
    return hits


def _lookups(
    matrices: Mapping[str, Tensor], ties: Mapping[str, str] | None, ends: tuple[str, str] | None
) -> list[Table]:
    """Every name of the lookup's table, the one that the head would read first."""
    pairs = {target: source for target, source in (ties or {}).items() if is_head(target)}
    told = list(dict.fromkeys(of_class(matrices, [*pairs.values(), *(ends or ())[:1]])))
    named = [n for n in matrices if not _ELSEWHERE.search(n) and _ends(n, LOOKUPS) and n not in told and not is_head(n)]
    named.sort(key=lambda n: (_rank(n), LOOKUPS.index(_ends(n, LOOKUPS) or "w"), len(n)))
    best = _ends(named[0], LOOKUPS) if named else None
    near = [n for n in named if _ends(n, LOOKUPS) in (best, "embed_tokens", "shared")]
    return [Table("embedding", matrices[n], "class") for n in told[:1]] + [
        Table("embedding", matrices[n], "name")
        for n in [*told[1:], *near]
        if not told or matrices[n].shape == matrices[told[0]].shape
    ]


def is_head(name: str) -> bool:
    return _ends(name, HEADS) is not None and _ends(name, LOOKUPS) is None


def _rank(name: str) -> int:
    """Of an encoder and a decoder, the head reads the decoder's table."""
    return {"decoder": 0, "shared": 1}.get(next((p for p in name.split(".") if p in ("decoder", "shared")), ""), 2) + (
        2 if ".encoder." in f".{name}" else 0
    )


def _heads(
    matrices: Mapping[str, Tensor],
    ties: Mapping[str, str] | None,
    lookups: list[Table],
    ends: tuple[str, str] | None,
) -> list[Table]:
    width = lookups[0].tensor.shape[1] if lookups else None
    taken = {table.tensor.name for table in lookups}
    known = of_class(matrices, (ends or ())[1:])
    told = [n for n in [*of_class(matrices, filter(is_head, ties or {})), *known] if n not in taken]
    named = [n for n in matrices if n not in taken and n not in told and not _ELSEWHERE.search(n) and is_head(n)]
    named.sort(key=lambda n: (HEADS.index(_ends(n, HEADS) or "head"), len(n)))
    out = []
    for name in [*told, *named]:
        tensor = matrices[name]
        upright = _upright(tensor, width) or (tensor if name in known else None)  # a class may have a wider head
        if upright is not None:
            out.append(Table("head", upright, "class" if name in told else "name", turned=upright is not tensor))
    return out


def _upright(tensor: Tensor, width: int | None) -> Tensor | None:
    """The head as V x D, where it lies transposed; None where it is no table of that width."""
    rows, columns = tensor.shape
    if width is None or columns == width or tensor.dtype not in FLOATS or tensor.quantized:
        return tensor
    return tensor.turned if rows == width and columns > rows else None


def _by_shape(
    matrices: Mapping[str, Tensor], embedding: Table | None, head: Table | None, sizes: tuple[int | None, int | None]
) -> tuple[Table | None, Table | None, str]:
    """What the names left open, by the shape V x D."""
    known = embedding or head
    shape = known.tensor.shape if known else sizes
    taken = {known.tensor.name} if known else set()
    rest = [n for n in matrices if n not in taken and not _ELSEWHERE.search(n) and matrices[n].shape == shape]
    rest = [n for n in rest if not (known and known is embedding and _ends(n, LOOKUPS))]
    names = ", ".join(sorted(rest)[:6])
    if known is None and len(rest) == 2:
        first, second = (matrices[n] for n in rest)
        return Table("embedding", first, "shape"), Table("head", second, "shape"), ""
    if known is None and len(rest) == 1:
        return Table("embedding", matrices[rest[0]], "shape"), None, ""
    if not rest:
        return embedding, head, "" if known else "no tensor has the name or the shape of a table"
    if len(rest) == 1 and embedding is not None:
        return embedding, Table("head", matrices[rest[0]], "shape"), ""
    if len(rest) == 1:
        return Table("embedding", matrices[rest[0]], "shape"), head, ""
    what = "the table" if known is None else "the other table"
    return embedding, head, f"{len(rest)} tensors have the shape of {what}, under names that say nothing: {names}"
