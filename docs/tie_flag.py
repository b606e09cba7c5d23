"""Writes the table of docs/tie-flag.md: every nested config of the installed transformers: ``python docs/tie_flag.py``.

It builds some hundred tiny models and takes a few minutes; nothing is downloaded.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

PAGE = Path(__file__).parent / "tie-flag.md"
BEGIN, END = "<!-- levels: written by docs/tie_flag.py -->", "<!-- end of levels -->"


def table() -> str:
    """One row for each model type whose config has the flag at more than one level."""
    import transformers
    from tiecheck.adapters import huggingface
    from tiecheck.adapters.huggingface_levels import flagged
    from tiecheck.adapters.huggingface_tiny import known_types, model_class, sentence

    logging.getLogger("transformers").setLevel(logging.ERROR)
    rows = [f"| transformers {transformers.__version__} | class | levels | what ties |", "| --- | --- | --- | --- |"]
    for kind in sorted(known_types()):
        try:
            names = tuple(flagged(huggingface.tiny_config(kind, False)))
            notes = huggingface.about_flag(kind, 0)
        except Exception as error:
            print(f"{kind}: {sentence(error)}", file=sys.stderr)
            continue
        if notes:
            told = "; ".join([notes[0].partition(": ")[2], *notes[1:]])
            rows.append(f"| {kind} | `{model_class(kind).__name__}` | {', '.join(names)} | {told} |")
    return "\n".join(rows)


if __name__ == "__main__":
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE.name} has no markers for the table")
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}")
