"""What an architecture adds to the plain tie on purpose, as data that a user, a factory or a config can state."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_ROOT = re.compile(r"(?:(?P<over>[0-9.]+)\s*/\s*)?sqrt\(D\)")


@dataclass(frozen=True)
class Declaration:
    """What a model is declared to be; every field is checked both ways (there though undeclared, declared though absent).

    The law that is judged is, with E the V x D table, h the hidden state that the projection reads and b, s per token or
    scalar: lookup(i) = input_scale * e_i^T E, logits = cap(output_scale * h E^T + output_bias).

    Attributes:
        tied: one matrix for both uses; False owes the mirror image.
        input_scale: the number that multiplies the looked-up row, or ``"sqrt(D)"``.
        output_scale: the number that multiplies h, the weight or the logits; ``"sqrt(D)"``, ``"1/sqrt(D)"``; or the
            name of the parameter that holds one scale per token.
        input_gradient_scale: g, where the gradient is g dL/dE_in + dL/dE_out.
        output_bias: True, or the name of the parameter that holds one bias per token.
        logit_softcap: c, where logits are c tanh(logits / c).
        frozen: the table is not trained.
        padding_row: row or rows whose share from the lookup is masked out of the gradient.
        vocabulary: how many tokens are legal, where the table is padded to more rows.
        log_probabilities: the model returns log-softmax of its logits.
        table, head: parameter names that override what observation finds.
        parameter_count: the closed form of the number of trainable scalars.

    Raises:
        ValueError: a field has a value of the wrong kind; one sentence that says which.
    """

    tied: bool = True
    input_scale: float | str = 1.0
    output_scale: float | str = 1.0
    input_gradient_scale: float = 1.0
    output_bias: bool | str = False
    logit_softcap: float | None = None
    frozen: bool = False
    padding_row: int | tuple[int, ...] | None = None
    vocabulary: int | None = None
    log_probabilities: bool = False
    table: str | None = None
    head: str | None = None
    parameter_count: int | None = None

    def __post_init__(self) -> None:
        for name in ("tied", "frozen", "log_probabilities"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is true or false, not {getattr(self, name)!r}")
        for name in ("input_scale", "input_gradient_scale", "output_scale"):
            value = getattr(self, name)
            if isinstance(value, str) and name != "input_gradient_scale" and value.strip():
                if name == "input_scale" and not _ROOT.fullmatch(value.strip()):
                    raise ValueError(f"input_scale is a number or sqrt(D), not {value!r}")
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value == 0:
                raise ValueError(f"{name} is a finite number other than zero, not {value!r}")
        if not isinstance(self.output_bias, bool) and not (isinstance(self.output_bias, str) and self.output_bias):
            raise ValueError(f"output_bias is true, false or a parameter's name, not {self.output_bias!r}")
        cap = self.logit_softcap
        if cap is not None and (isinstance(cap, bool) or not isinstance(cap, int | float) or not 0 < cap < math.inf):
            raise ValueError(f"logit_softcap is a number above zero, not {cap!r}")
        if isinstance(self.padding_row, list):
            object.__setattr__(self, "padding_row", tuple(self.padding_row))
        for row in self.padding_rows:
            if isinstance(row, bool) or not isinstance(row, int) or row < 0:
                raise ValueError(f"padding_row is a row number from 0, or several, not {self.padding_row!r}")
        for name, least in (("vocabulary", 1), ("parameter_count", 0)):
            number = getattr(self, name)
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < least):
                raise ValueError(f"{name} is a whole number from {least}, not {number!r}")
        for name in ("table", "head"):
            word = getattr(self, name)
            if word is not None and not (isinstance(word, str) and word):
                raise ValueError(f"{name} is the name of a parameter, not {word!r}")

    @property
    def padding_rows(self) -> tuple[int, ...]:
        """The declared padding rows, none, one or several, as a tuple."""
        if self.padding_row is None:
            return ()
        return self.padding_row if isinstance(self.padding_row, tuple) else (self.padding_row,)

    @property
    def word(self) -> str:
        """``"tied"`` or ``"untied"``, as reports spell it."""
        return "tied" if self.tied else "untied"

    @property
    def scale_parameter(self) -> str | None:
        """The name of the parameter that holds one output scale per token, if that is how the scale is declared."""
        scale = self.output_scale
        return scale if isinstance(scale, str) and not _ROOT.fullmatch(scale.strip()) else None

    def input_factor(self, width: int) -> float:
        """The declared factor on the lookup for a table of ``width`` D columns."""
        return _number(self.input_scale, width)

    def output_factor(self, width: int) -> float:
        """The declared scalar factor on the projection; 1 where a parameter holds one factor per token."""
        return 1.0 if self.scale_parameter else _number(self.output_scale, width)


def _number(value: float | str, width: int) -> float:
    if isinstance(value, str):
        match = _ROOT.fullmatch(value.strip())
        assert match is not None
        over = match["over"]
        return math.sqrt(width) if over is None else float(over) / math.sqrt(width)
    return float(value)


def merged(base: Declaration, changes: Mapping[str, Any]) -> Declaration:
    """``base`` with some fields replaced; ValueError names an unknown field and the one that was probably meant."""
    known = [field.name for field in dataclasses.fields(Declaration)]
    for key in changes:
        if not isinstance(key, str):
            raise ValueError(f"what is declared has a name, not {key!r}")
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; the fields are {', '.join(known)}"
            raise ValueError(f"{key!r} is nothing that can be declared{hint}")
    return dataclasses.replace(base, **changes)


def parse_assumptions(items: Iterable[str]) -> dict[str, Any]:
    """``KEY=VALUE`` words of the command line as fields: VALUE is TOML or a bare word (``sqrt(D)``, a parameter's name)."""
    out: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        key, text = key.strip(), text.strip()
        if not equals or not key or not text:
            raise ValueError(f"an assumption is KEY=VALUE, not {item!r}")
        if key in out:
            raise ValueError(f"{key} is assumed twice")
        try:
            value = tomllib.loads(f"value = {text}")
            out[key] = value["value"] if len(value) == 1 else text
        except tomllib.TOMLDecodeError:
            out[key] = {"True": True, "False": False}.get(text, text)
    merged(Declaration(), out)  # a wrong key or kind is said here, before anything is loaded
    return out
