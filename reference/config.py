"""What a GPT is made of, in numbers. Imports neither torch nor NumPy: a configuration must cost nothing to read."""

from __future__ import annotations

from dataclasses import dataclass

EPSILON = 1e-5
"""Added to the variance in every layer norm, as in the released code of both papers."""


@dataclass(frozen=True)
class GPTConfig:
    """The sizes of a GPT and its two choices: where the norms stand, and whether the two tables are one.

    `pre_norm=False` is GPT (Radford et al. 2018): each norm after the residual sum, none at the end.
    `pre_norm=True` is GPT-2 (Radford et al. 2019): each norm before its sub-layer, and one more at the end.
    `dataclasses.replace(config, tied=False)` is the same network with a second table for the output.

    Raises ValueError where a size is no whole number that is large enough, or `heads` does not divide `width`.
    """

    vocabulary: int
    """V: the number of tokens, and of rows in the table E."""
    context: int
    """The longest sequence; the number of rows in the position table P."""
    width: int
    """D: the length of a row of E, and of the hidden state h at every position."""
    layers: int
    """How many blocks stand between lookup and projection; 0 leaves only the two ends."""
    heads: int
    """How many ways attention splits the width."""
    pre_norm: bool = True
    inner: int | None = None
    """F: the width inside the MLP; None is 4 D, as in both papers."""
    tied: bool = True

    def __post_init__(self) -> None:
        least = {"vocabulary": 1, "context": 1, "width": 1, "layers": 0, "heads": 1, "inner": 1}
        for name, smallest in least.items():
            size = getattr(self, name)
            if name == "inner" and size is None:
                continue
            if not isinstance(size, int) or isinstance(size, bool) or size < smallest:
                raise ValueError(f"GPTConfig.{name} must be a whole number of at least {smallest}, not {size!r}.")
        for name in ("pre_norm", "tied"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"GPTConfig.{name} must be True or False, not {getattr(self, name)!r}.")
        if self.width % self.heads:
            raise ValueError(f"GPTConfig.heads must divide the width, but {self.heads} does not divide {self.width}.")

    @property
    def inner_width(self) -> int:
        """F, with the default of 4 D put in."""
        return 4 * self.width if self.inner is None else self.inner


PRESETS: dict[str, GPTConfig] = {
    "gpt": GPTConfig(vocabulary=40478, context=512, width=768, layers=12, heads=12, pre_norm=False),
    "gpt2": GPTConfig(vocabulary=50257, context=1024, width=768, layers=12, heads=12),
    "gpt2-medium": GPTConfig(vocabulary=50257, context=1024, width=1024, layers=24, heads=16),
    "gpt2-large": GPTConfig(vocabulary=50257, context=1024, width=1280, layers=36, heads=20),
    "gpt2-xl": GPTConfig(vocabulary=50257, context=1024, width=1600, layers=48, heads=25),
}
"""The five released sizes, all tied: that is the only reading under which their parameter counts come out."""
