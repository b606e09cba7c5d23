"""Performs every operation on four models and writes ``docs/operations.md``: ``python docs/operations.py``.

The four: a plain tie (two names for one parameter) and a functional tie (one name, which the projection reads where the
lookup does), in torch and in transformers.
"""

from __future__ import annotations

import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from tiecheck.adapters.pytorch.loading import LOADING
from tiecheck.adapters.pytorch.operations import OPERATIONS
from tiecheck.adapters.pytorch.wrapping import WRAPPING
from tiecheck.conformance import check
from tiecheck.conformance.causes import CAUSES
from tiecheck.conformance.report import Result
from tiecheck.conformance.requirement import requirements
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_outputs import CausalLMOutput

HERE = Path(__file__).parent
GENERIC = "head.weight = embedding.weight"


class Functional(nn.Module):
    """One name for the table."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(31, 12)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.mix = nn.Linear(12, 12)

    def hidden(self, ids: Tensor) -> Tensor:
        """h (B, T, D)."""
        return torch.tanh(self.mix(self.embedding(ids).cumsum(1)))

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        return F.linear(self.hidden(ids), self.embedding.weight)


class Plain(Functional):
    """Two names for the table."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 31, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        return self.head(self.hidden(ids))  # type: ignore[no-any-return]


CONFIG = {
    "vocab_size": 31,
    "n_positions": 32,
    "n_embd": 12,
    "n_layer": 1,
    "n_head": 2,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "loss_type": "ForCausalLM",
}


class GPT2(transformers.GPT2LMHeadModel):  # type: ignore[misc]
    """GPT-2 as it is, tiny."""

    def __init__(self, config: Any = None) -> None:
        super().__init__(config or transformers.GPT2Config(**CONFIG))


class FunctionalGPT2(GPT2):
    """The same with a projection that reads the embedding."""

    _tied_weights_keys = None

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        del self.lm_head

    def get_output_embeddings(self) -> None:
        """There is no module for it."""

    def forward(self, input_ids: Tensor, **more: Any) -> Any:
        """Logits (B, T, V)."""
        h = self.transformer(input_ids, use_cache=False).last_hidden_state
        return CausalLMOutput(logits=F.linear(h, self.transformer.wte.weight))


MODELS: dict[str, type[nn.Module]] = {
    "torch, plain": Plain,
    "torch, functional": Functional,
    "transformers, plain": GPT2,
    "transformers, functional": FunctionalGPT2,
}


def word_of(result: Result) -> str:
    """A result in a word."""
    if result.verdict == "skip":
        return "not asked"
    return {"pass": "keeps it", "fail": "**loses it**"}.get(result.verdict, result.verdict)


def judged() -> dict[str, dict[str, Result]]:
    """By model, its results by id."""
    out = {}
    for name, factory in MODELS.items():
        report = check(factory, select="persistence")
        out[name] = {r.id: r for r in report.results}
    return out


def page() -> str:
    """The whole page."""
    results = judged()
    spellings: dict[str, list[str]] = {}
    for operation in (*OPERATIONS, *LOADING, *WRAPPING):
        spellings.setdefault(operation.word, []).append(operation.spelling)
    lines = [HEAD.format(torch=version("torch"), transformers=version("transformers"), system=platform.system())]
    lines += [f"| operation | level | {' | '.join(MODELS)} |", f"| --- | --- |{' --- |' * len(MODELS)}"]
    items = [item for item in requirements() if item.id.removeprefix("persistence.") in spellings]
    for item in items:
        word = item.id.removeprefix("persistence.")
        cells = " | ".join(word_of(results[name][item.id]) for name in MODELS)
        lines.append(f"| [{word}](#{word}) | {item.level} | {cells} |")
    for item in items:
        lines += section(item.id.removeprefix("persistence."), item.statement, spellings, results)
    return "\n".join(lines) + "\n" + TAIL


def section(
    word: str, statement: str, spellings: dict[str, list[str]], results: dict[str, dict[str, Result]]
) -> list[str]:
    """What one operation is, what it did, and what mends it."""
    lines = [f"\n## {word}\n", statement + "\n"]
    lines += [f"    {spelling}" for spelling in spellings[word]]
    lines.append("")
    for name in MODELS:
        result = results[name][f"persistence.{word}"]
        if result.verdict != "pass":
            message = result.message.replace("|", r"\|").replace("<", "&lt;")
            lines.append(f"- {name}: {word_of(result).strip('*')}: {message}")
    lines.append(f"\nMend: {CAUSES[f'lost-on-{word}'].mend}.")
    return lines


def without_versions(text: str) -> str:
    """The page but for the versions that it was made with."""
    return re.sub(r" torch [^,]*, transformers [^,]*, [^,]*,", "", text)


HEAD = """# What each operation does to a tie

Made by `python docs/operations.py`, which performs each operation on four small models, trained a little, and judges what
comes back; a test holds this page against what it finds today. torch {torch}, transformers {transformers}, {system}, on the CPU.

A *plain* tie is two names for one parameter (`head.weight = embedding.weight`); a *functional* tie is one name, which the
projection reads where the lookup does (`F.linear(h, embedding.weight)`). What loses the plain tie mostly has nothing to lose
in the functional one.

A MUST that loses the tie fails the run. A SHOULD is shown and explained, and fails only under `--strict`: most of what stands
so below is what torch itself does to two names. A model that is handed in *after* such a loss fails a MUST.
"""

TAIL = """
## Two in a row

`tiecheck run TARGET --profile full` performs operations in a row: all ordered pairs of those that keep the tie alone, sequences
that are drawn and shrunk, a few long walks, each operation many times over, and every three kinds of MUST operations. What it finds it prints as lines
of Python that show it without tiecheck, and that it has run before.

## An operation of your own

A package adds operations through the entry-point group `tiecheck.operations`:

```toml
[project.entry-points."tiecheck.operations"]
ours = "ours.ties:OPERATIONS"
```

```python
from tiecheck.conformance.operations import Operation


def reshard(subject, fresh):  # from a subject to the subject that comes back; fresh() builds another model
    return subject.after(our_reshard(subject.module))


OPERATIONS = (
    Operation(
        "reshard",  # persistence.reshard, lost-on-reshard
        "ours.reshard(model)",  # as a user writes it
        reshard,
        here=lambda subject: "" if hasattr(subject, "module") else "it is no torch module",
        code="model = ours.reshard(model)",  # so that it may stand in a sequence
        statement="A resharded model is tied as before.",
    ),
)
```

Its requirement is a SHOULD. An adapter hands over its own operations in the same way, from `operations()` of its subject.
"""


if __name__ == "__main__":
    (HERE / "operations.md").write_text(page(), "utf-8")
