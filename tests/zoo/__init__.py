"""A zoo of tiny language models, right and wrong, each in a coding style of its own."""

import importlib
import pkgutil

from .registry import ENTRIES, Entry

for _module in pkgutil.iter_modules(__path__):
    if not _module.name.startswith("test_"):
        importlib.import_module(f"{__name__}.{_module.name}")

CORRECT = [entry for entry in ENTRIES if entry.verdict == "correct"]
BROKEN = [entry for entry in ENTRIES if entry.verdict == "broken"]

__all__ = ["BROKEN", "CORRECT", "ENTRIES", "Entry"]
