"""What a config claims about the tie, at every level, and which level the model class obeys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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
    r"ForQuestionAnswering$|ForMultipleChoice$|ForTextEncoding$|ForNextSentencePrediction$"
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
        ties: which names the class ties to which; None where the class is unknown.
        missing: the flag stands at no level that counts: a default decided.
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


def claimed(config: Mapping[str, Any] | None) -> Claim:
    """The claim of a config; of none where there is no config."""
    if config is None:
        return Claim(None, "there is no config.json beside it", missing=True)
    levels = tuple(_levels(config, ""))
    architecture, model_type = _words(config)
    ties, source = facts.ties(architecture) if architecture else (None, "")
    headless = bool(architecture and not ties and _NO_HEAD.search(architecture))
    where = "decoder" if model_type in BY_DECODER else ""
    tied, says, missing = _value(config, levels, model_type, where)
    acts = ties is None or bool(where) or any("weight" in target for target in ties)
    obeyed = _obeyed(architecture, source, ties, where or TOP, acts)
    if headless:
        obeyed = f"{architecture} has no head of a language model: there is nothing to tie"
    return Claim(tied, says, levels, obeyed, acts, headless, ties, missing, _notes(levels, where or TOP, tied))


def _levels(config: Mapping[str, Any], path: str) -> Iterator[Level]:
    for key in SPELLINGS:
        if key in config:
            yield Level(path or TOP, key, config[key])
    for name, inner in config.items():
        if isinstance(inner, Mapping):
            yield from _levels(inner, f"{path}.{name}".lstrip("."))


def _words(config: Mapping[str, Any]) -> tuple[str, str]:
    """The first architecture and the type, where they are words."""
    listed = config.get("architectures")
    first = listed[0] if isinstance(listed, list) and listed else ""
    model_type = config.get("model_type")
    kept = (word if isinstance(word, str) and word.isidentifier() else "" for word in (first,))
    return next(kept), model_type if isinstance(model_type, str) and len(model_type) < 100 else ""


def _value(
    config: Mapping[str, Any], levels: tuple[Level, ...], model_type: str, where: str
) -> tuple[bool | None, str, bool]:
    """The value that counts, how it is known, and whether a default decided."""
    here = [level for level in levels if level.path == (where or TOP)]
    for level in here:
        if isinstance(level.value, bool):
            return level.value, f"config.json says {level.key}: {str(level.value).lower()}{_at(where)}", False
    if here and here[0].value is not None:
        return None, f"config.json gives {here[0].key} a value that is neither true nor false", False
    inner = config.get(where) if where else config
    kind = model_type if not where else (inner.get("model_type") if isinstance(inner, Mapping) else "")
    value, source = facts.default(
        kind if isinstance(kind, str) else "", _bare(inner if isinstance(inner, Mapping) else {})
    )
    if value is not None:
        return (
            value,
            f"config.json has no flag{_at(where)}, and the default of {kind} is {str(value).lower()} ({source})",
            True,
        )
    nested = {level.value for level in levels if isinstance(level.value, bool)}
    if len(nested) == 1 and not where:
        level = next(level for level in levels if isinstance(level.value, bool))
        return level.value, f"config.json says {level.key}: {str(level.value).lower()} at {level.path}", False
    of = f"the type {model_type}" if model_type else "a config without model_type"
    return None, f"config.json has no flag, and the default of {of} is not known here", True


def _at(where: str) -> str:
    return f" at {where}" if where else ""


def _bare(config: Mapping[str, Any]) -> dict[str, Any]:
    """The nested configs with nothing but their type and the flag."""
    kept = {}
    for name, inner in config.items():
        if isinstance(inner, Mapping) and isinstance(inner.get("model_type"), str):
            kept[name] = {"model_type": inner["model_type"]}
            if isinstance(inner.get(FLAG), bool):
                kept[name][FLAG] = inner[FLAG]
    return kept


def _obeyed(architecture: str, source: str, ties: Mapping[str, str] | None, where: str, acts: bool) -> str:
    if not architecture:
        return f"the config names no class; {where} is taken to count"
    if ties is None:
        return f"{architecture} is not known here; {where} is taken to count"
    if not acts:
        return f"{architecture} obeys no level: it ties nothing, whatever the flag says ({source})"
    return f"{architecture} obeys {where} ({source})"


def _notes(levels: tuple[Level, ...], where: str, tied: bool | None) -> tuple[str, ...]:
    against = [lv for lv in levels if lv.path != where and isinstance(lv.value, bool) and lv.value is not tied]
    if tied is None or not against:
        return ()
    told = ", ".join(f"{lv.key}: {str(lv.value).lower()} at {lv.path}" for lv in against)
    return (f"the levels of the config disagree: {told}, which a loader that reads that level obeys",)
