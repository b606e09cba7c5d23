"""What a config claims about the tie, at every level, and which level the model class obeys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import facts
from .installed import FLAG

SPELLINGS = (FLAG, "tie_embeddings", "tied_embeddings", "weight_tying", "share_input_output_embed", "tie_lm_head")
TOP = "the top level"
# The class is put together of two others, and the tie is the decoder's own.
BY_DECODER = ("encoder-decoder", "vision-encoder-decoder", "speech-encoder-decoder")
_NO_HEAD = re.compile(
    r"(?<!LMHead)(?<!EncoderDecoder)(?<!DoubleHeads)Model$|For(Sequence|Token|Image|Audio|Video)\w*Classification$|"
    r"ForRetrieval$|ForQuestionAnswering$|ForMultipleChoice$|ForTextEncoding$|ForNextSentencePrediction$"
)


@dataclass(frozen=True)
class Level:
    """The flag at one level of a config."""

    path: str
    key: str
    value: Any


@dataclass(frozen=True)
class Claim:
    """What is claimed.

    Attributes:
        tied: None where nothing is claimed, or nothing that can be understood (``why`` says).
        says: where that is written, as the end of "tied: …".
        obeyed: which level counts, and how that is known.
        acts: whether the class ties at all where the flag is on.
        headless: the class has no head of a language model, so that none is owed.
        ends: what the class calls its two tables (`facts.ends`); ``idle``: why no flag could tie them (`facts.idle`).
        ties: which names the class ties to which; None where the class is unknown.
        missing: the flag stands at no level that counts: a default decided.
        taken: what the class of transformers makes of all that.
    """

    tied: bool | None
    says: str
    levels: tuple[Level, ...] = ()
    obeyed: str = ""
    acts: bool = True
    headless: bool = False
    ties: Mapping[str, str] | None = None
    missing: bool = False
    notes: tuple[str, ...] = ()
    taken: bool | None = None
    ends: tuple[str, str] | None = None
    idle: str = ""

    @property
    def tableless(self) -> bool:
        """The class has neither a lookup nor a head of a vocabulary."""
        return self.ends == ("", "")


def claimed(config: Mapping[str, Any] | None) -> Claim:
    """The claim of a config; of none where there is no config."""
    if config is None:
        return Claim(None, "there is no config.json beside it", missing=True)
    levels = tuple(_levels(config, ""))
    architecture = architecture_of(config)
    ties, source = facts.ties(architecture) if architecture else (None, "")
    ends = facts.ends(architecture)
    headless = bool(architecture and not ties and _NO_HEAD.search(architecture)) or (ends is not None and not ends[1])
    where = where_of(config)
    inner = config.get(where, {}) if where else config
    kind = type_of(inner)
    how, by = facts.reads(kind)
    tied, says, missing = _value(inner, levels, kind, where)
    within = facts.inner(architecture) is not None
    acts = ties is None or bool(where) or within or any("weight" in target for target in ties)
    notes = _notes(levels, tied)
    taken = tied
    if tied is not None and "always" in how:
        taken = facts.taken(kind, bare(inner))
        if taken is not tied:
            notes = (*notes, f"{kind} takes the flag for {str(taken).lower()}, whatever the config says ({by})")
    taken = bool(taken and acts) if tied is not None else None
    obeyed = _obeyed(architecture, source, ties, where or TOP, acts, how)
    if headless:
        what = "no head of a language model" if ends is None else "no projection over a vocabulary"
        what = "no table of a vocabulary" if ends == ("", "") else what
        obeyed = f"{architecture} has {what}: there is nothing to tie"
    idle = "" if acts else facts.idle(architecture)
    return Claim(tied, says, levels, obeyed, acts, headless, ties, missing, notes, taken, ends, idle)


def _levels(config: Mapping[str, Any], path: str) -> Iterator[Level]:
    for key in SPELLINGS:
        if key in config:
            yield Level(path or TOP, key, config[key])
    for name, inner in config.items():
        if isinstance(inner, Mapping):
            yield from _levels(inner, f"{path}.{name}".lstrip("."))


def architecture_of(config: Mapping[str, Any]) -> str:
    """The first class that a config names, where it is a word."""
    listed = config.get("architectures")
    first = listed[0] if isinstance(listed, list) and listed else ""
    return first if isinstance(first, str) and first.isidentifier() else ""


def where_of(config: Mapping[str, Any]) -> str:
    """The nested config whose flag counts; "" where it is the top level."""
    where = "decoder" if type_of(config) in BY_DECODER else facts.inner(architecture_of(config)) or ""
    return where if isinstance(config.get(where), Mapping) else ""


def type_of(config: Mapping[str, Any] | None) -> str:
    """The model type, where it is a word."""
    model_type = (config or {}).get("model_type")
    return model_type if isinstance(model_type, str) and len(model_type) < 100 else ""


def _value(
    config: Mapping[str, Any], levels: tuple[Level, ...], kind: str, where: str
) -> tuple[bool | None, str, bool]:
    """The value that counts, how it is known, and whether a default decided."""
    here = [level for level in levels if level.path == (where or TOP)]
    for level in here:
        if isinstance(level.value, bool):
            return _stated(config, level, levels, kind, where)
    if here:
        return None, f"config.json gives {here[0].key} a value that is neither true nor false", False
    value, source = facts.default(kind, bare(config))
    absent = facts.reads(kind)[0].get("absent", ())
    deciding = _nested(levels, where, absent, value)
    if value is not None and deciding:
        at = f"{deciding[0].path}, which {kind} obeys where the top level says nothing ({source})"
        return value, f"config.json says {deciding[0].key}: {str(value).lower()} at {at}", False
    if value is not None:
        types = {name: inner.get("model_type") for name, inner in bare(config).items() if name in absent}
        of = "".join(f" with a {name} of {inner}" for name, inner in types.items() if inner)
        told = f"the default of {kind}{of} is {str(value).lower()} ({source})"
        return value, f"config.json has no flag{_at(where)}, and {told}", True
    nested = {level.value for level in levels if isinstance(level.value, bool)}
    if len(nested) == 1 and not where:
        level = next(level for level in levels if isinstance(level.value, bool))
        return level.value, f"config.json says {level.key}: {str(level.value).lower()} at {level.path}", False
    of = f"the type {kind}" if kind else "a config without model_type"
    return None, f"config.json has no flag, and the default of {of} is not known here", True


def _stated(
    config: Mapping[str, Any], level: Level, levels: tuple[Level, ...], kind: str, where: str
) -> tuple[bool | None, str, bool]:
    """The flag that stands where it counts; where a class takes it from elsewhere as well, what comes of both."""
    says = f"config.json says {level.key}: {str(level.value).lower()}{_at(where)}"
    how, source = facts.reads(kind)
    value = facts.taken(kind, bare(config)) if level.key == FLAG and "nested" in how else level.value
    if value is None or value is level.value:
        return level.value, says, False
    deciding = _nested(levels, where, how["nested"], value)
    if deciding:
        told = f"{str(value).lower()} at {deciding[0].path}"
    else:
        told = f"a {' or '.join(how['nested'])} whose default is {str(value).lower()}"
    return value, f"{says} at the top level, but {told}, which {kind} obeys ({source})", False


def _nested(levels: tuple[Level, ...], where: str, parts: Iterable[str], value: bool | None) -> list[Level]:
    """The flags of those nested configs that say so."""
    paths = {f"{where}.{part}".lstrip(".") for part in parts}
    return [level for level in levels if level.path in paths and level.key == FLAG and level.value is value]


def _at(where: str) -> str:
    return f" at {where}" if where else ""


def bare(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config class is asked about: the flags at the top, and of the nested configs the type and the flag."""
    kept: dict[str, Any] = {name: value for name, value in config.items() if _is_flag(name, value)}
    for name, inner in config.items():
        if isinstance(inner, Mapping) and isinstance(inner.get("model_type"), str):
            kept[name] = {"model_type": inner["model_type"]}
            kept[name] |= {key: value for key, value in inner.items() if _is_flag(key, value)}
    return kept


def _is_flag(name: Any, value: Any) -> bool:
    return isinstance(value, bool) and isinstance(name, str) and name.startswith(("tie_", "tied_"))


def _obeyed(
    architecture: str, source: str, ties: Mapping[str, str] | None, where: str, acts: bool, how: Mapping[str, Any]
) -> str:
    if not architecture:
        return f"the config names no class; {where} is taken to count"
    if ties is None:
        return f"{architecture} is not known here; {where} is taken to count"
    if not acts:
        return f"{architecture} obeys no level: it ties nothing, whatever the flag says ({source})"
    if "always" in how:
        does = "ties" if how["always"] else "ties nothing"
        return f"{architecture} obeys no level: it {does}, whatever the flag says ({source})"
    if how.get("nested"):
        words = [*([where] if how["top"] else []), *how["nested"]]
        more = ", true at either of which ties" if len(words) > 1 else ""
        return f"{architecture} obeys {' and '.join(words)}{more} ({source})"
    if how.get("absent"):
        return f"{architecture} obeys {where}, and {how['absent'][0]} where that says nothing ({source})"
    return f"{architecture} obeys {where} ({source})"


def _notes(levels: tuple[Level, ...], tied: bool | None) -> tuple[str, ...]:
    against = [lv for lv in levels if isinstance(lv.value, bool) and lv.value is not tied]
    if tied is None or not against:
        return ()
    told = ", ".join(f"{lv.key}: {str(lv.value).lower()} at {lv.path}" for lv in against)
    return (f"the levels of the config disagree: {told}, which a loader that reads that level obeys",)
