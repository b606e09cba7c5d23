"""What transformers does about a tie that is lost by hand: observed on a tiny model, for ``docs/resume.py``."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tiecheck.conformance import check
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig
from transformers.utils import logging as chatter

FAMILIES: dict[str, Any] = {
    "gpt2": lambda: GPT2Config(
        vocab_size=61, n_embd=16, n_layer=1, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0
    ),
    "llama": lambda: LlamaConfig(
        vocab_size=61, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    ),
}


@dataclass(frozen=True)
class Row:
    """One thing done, and what came of it."""

    done: str
    one: bool
    equal: bool
    extra: bool
    """Whether the count is one table larger than a tied model's."""
    stored: int
    """How many of the two tables the file holds; 0 where nothing was written."""
    said: str
    """All that was logged or warned."""
    cause: str
    """tiecheck's first cause; empty where the model conforms."""


@contextlib.contextmanager
def listening() -> Iterator[list[str]]:
    """All that transformers logs as a warning or worse, and all that Python warns of."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    # Some warnings are given once a process: here each is heard.
    for once in ("warning_once", "info_once"):
        getattr(getattr(logging.Logger, once, None), "cache_clear", lambda: None)()
    logger, listener = logging.getLogger("transformers"), Listener(logging.WARNING)
    handlers, level, logger.handlers = logger.handlers, logger.level, [listener]
    logger.setLevel(logging.WARNING)
    chatter.disable_progress_bar()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            yield said
        finally:
            logger.handlers = handlers
            logger.setLevel(level)
            said += [str(warning.message) for warning in warned]


def rows(family: str) -> list[Row]:
    """One family through the hands of a script that ties, empties, assigns, trains, saves and loads."""
    config = FAMILIES[family]()
    config.tie_word_embeddings = True
    torch.manual_seed(0)
    sound = AutoModelForCausalLM.from_config(config)
    whole = sound.state_dict()
    tied_count = sum(parameter.numel() for parameter in sound.parameters())
    found: list[Row] = []

    def note(done: str, model: Any, said: list[str], stored: int = 0) -> Any:
        head, table = model.get_output_embeddings().weight, model.get_input_embeddings().weight
        count = sum(parameter.numel() for parameter in model.parameters())
        report = check(model, declare="tied", profile="quick")
        cause = "" if report.conforms else report.diagnosis[0].cause
        extra = count == tied_count + table.numel()
        found.append(Row(done, head is table, torch.equal(head, table), extra, stored, " ".join(said), cause))
        return model

    with tempfile.TemporaryDirectory() as folder, listening():
        _saved_and_loaded("a tied model, `save_pretrained`, `from_pretrained`", sound, folder, note)
    with listening() as said:
        with torch.device("meta"):
            by_hand = AutoModelForCausalLM.from_config(config)
        by_hand.to_empty(device="cpu")
        by_hand.load_state_dict(whole)
        # No file holds Llama's rotary frequencies, and to_empty leaves them unfilled: the tie alone is to be lost here.
        for name, buffer in by_hand.named_buffers():
            buffer.copy_(sound.get_buffer(name))
    note("on meta, `to_empty`, `load_state_dict`, all by hand", by_hand, said)
    with listening() as said:
        other = AutoModelForCausalLM.from_config(config)
        other.load_state_dict(whole, assign=True)
    note("`load_state_dict(assign=True)` by hand", other, said)
    with listening() as said:
        other.tie_weights()
    note("that one, after `tie_weights()`", other, said)
    with tempfile.TemporaryDirectory() as folder:
        _saved_and_loaded("the emptied one, saved before step 1, `from_pretrained`", by_hand, folder, note)
    _three_steps(by_hand)
    with tempfile.TemporaryDirectory() as folder:
        _saved_and_loaded("the emptied one, saved after three steps, `from_pretrained`", by_hand, folder, note)
        file = Path(folder) / "model.safetensors"
        head = [name for name in load_file(file) if "head" in name]
        save_file({name: value for name, value in load_file(file).items() if name not in head}, file, {"format": "pt"})
        with listening() as said:
            dropped = AutoModelForCausalLM.from_pretrained(folder)
        note("the same file, its head dropped by a script, `from_pretrained`", dropped, said, _stored(folder))
    return found


def _saved_and_loaded(done: str, model: Any, folder: str, note: Any) -> None:
    with listening() as said:
        model.save_pretrained(folder)
        said[:] = [f"on saving: {line}" for line in said]
        loaded = AutoModelForCausalLM.from_pretrained(folder)
    note(done, loaded, [_nameless(line) for line in said], _stored(folder))


def _nameless(line: str) -> str:
    """The two tables have other names in each family; what is said of them is compared."""
    for name in ("model.embed_tokens.weight", "transformer.wte.weight"):
        line = line.replace(name, "TABLE")
    return line.replace("lm_head.weight", "HEAD")


def _stored(folder: str) -> int:
    return sum(
        name.endswith(("head.weight", "embed_tokens.weight", "wte.weight"))
        for name in load_file(Path(folder) / "model.safetensors")
    )


def _three_steps(model: Any) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    ids = torch.arange(20)[None]
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:]).backward()
        optimizer.step()


def claims(found: list[Row]) -> dict[str, bool]:
    """What the page says of these rows in words, and whether it is so."""
    sound, emptied, assigned, mended, early, late, dropped = found
    return {
        "transformers: its own way ends tied": sound.one and sound.stored == 1 and not sound.said,
        "transformers: by hand ends untied, and nothing is said": not (emptied.one or assigned.one)
        and not (emptied.said or assigned.said),
        "transformers: tie_weights() mends it": mended.one and not mended.cause,
        "transformers: equal tables are tied again": early.one and early.stored == 2 and not early.said,
        "transformers: different ones are kept, with a warning": not late.one
        and late.stored == 2
        and "will NOT tie" in late.said
        and "on saving" not in late.said,
        "transformers: a dropped head is not noticed": dropped.one and dropped.stored == 1 and not dropped.said,
        "tiecheck on transformers": [row.cause for row in found]
        == ["", "equal-copy", "two-parameters-one-memory", "", "", "two-matrices", ""],
    }
