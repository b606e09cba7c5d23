"""Ten checkpoints as they turn up, and what `tiecheck audit` says of them: the table of `docs/audit.md`.

python docs/audit_ten.py FOLDER     write them there, and audit them
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

PAGE = Path(__file__).parent / "audit.md"
MARKS = re.compile(r"(<!-- ten: .*? -->\n).*?(<!-- end of ten -->)", re.DOTALL)


def model(kind: str, tied: bool) -> Any:
    """A tiny random model."""
    torch.manual_seed(0)
    sizes = (
        {"n_embd": 16, "n_layer": 1, "n_head": 2} if kind == "gpt2" else {"hidden_size": 16, "num_attention_heads": 2}
    )
    more = {} if kind == "gpt2" else {"num_hidden_layers": 1, "num_key_value_heads": 2, "intermediate_size": 32}
    config = AutoConfig.for_model(kind, vocab_size=96, **sizes, **more)
    config.tie_word_embeddings = tied
    return AutoModelForCausalLM.from_config(config)


def saved(kind: str, tied: bool, **claims: Any) -> Callable[[Path], None]:
    """As save_pretrained wrote it, the config changed afterwards; None takes a key away."""

    def write(folder: Path) -> None:
        model(kind, tied).save_pretrained(folder)
        _claim(folder, **claims)

    return write


def _claim(folder: Path, **claims: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config = {key: value for key, value in {**config, **claims}.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))


def with_head(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    """A tied model in whose file somebody wrote a head."""

    def write(folder: Path) -> None:
        saved("llama", True)(folder)
        held = load_file(folder / "model.safetensors")
        held["lm_head.weight"] = change(held["model.embed_tokens.weight"].clone())
        save_file(held, folder / "model.safetensors", {"format": "pt"})

    return write


def trained(table: torch.Tensor) -> torch.Tensor:
    """A few rows moved, as a head that was trained by itself has."""
    table[10:14] += 0.01
    return table


def as_bin(folder: Path) -> None:
    """torch.save of the state dict, and a flag that was turned afterwards."""
    made = model("llama", True)
    made.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(made.state_dict(), folder / "pytorch_model.bin")
    _claim(folder, tie_word_embeddings=False)


def trained_on(folder: Path) -> None:
    """New weights in one format, the old ones left in the other."""
    made = model("llama", True)
    made.save_pretrained(folder)
    with torch.no_grad():
        made.get_input_embeddings().weight += 0.01
    torch.save(made.state_dict(), folder / "pytorch_model.bin")


TEN: dict[str, Callable[[Path], None]] = {
    "tied": saved("llama", True),
    "untied": saved("llama", False),
    "merged": with_head(lambda table: table),
    "finetuned-head": with_head(trained),
    "padded": with_head(lambda table: torch.cat([table, torch.zeros(32, 16)])),
    "half-head": with_head(lambda table: table.bfloat16()),
    "flag-lost": saved("llama", True, tie_word_embeddings=None),
    "flag-not-needed": saved("gpt2", True, tie_word_embeddings=None),
    "turned-bin": as_bin,
    "two-formats": trained_on,
}


def audited(folder: Path) -> str:
    """Write the ten, and run the command on them."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for name, write in TEN.items():
        write(folder / name)
    words = [sys.executable, "-m", "tiecheck.conformance.cli", "audit", *TEN]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"})
    return done.stdout.strip()


def main() -> int:
    """Write the ten into the folder that is named, and the table into the page."""
    table = audited(Path(sys.argv[1]))
    block = f"```text\n$ tiecheck audit {' '.join(TEN)}\n{table}\n```\n"
    PAGE.write_text(
        MARKS.sub(lambda match: f"{match[1]}{block}{match[2]}", PAGE.read_text(encoding="utf-8")), encoding="utf-8"
    )
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
