"""Writes `conformance/audit/transformers.json`: what the installed transformers makes of the tie flag, by type and by class.

    python docs/audit_facts.py [--check]

A class's ``_tied_weights_keys`` says which names it ties where the flag is on; a config class's default says what a
missing flag means. No model is built.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tiecheck.conformance.audit.installed import surveyed

FILE = Path(__file__).parents[1] / "conformance" / "audit" / "transformers.json"


def main() -> int:
    """Write the file, or with ``--check`` say whether it is current (exit status 1 where it is not)."""
    text = json.dumps(surveyed(), indent=0, sort_keys=True) + "\n"
    if "--check" in sys.argv[1:]:
        return int(FILE.read_text(encoding="utf-8") != text)
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
