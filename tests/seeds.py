"""No luck: each of 40 models gets the same verdict and the same first cause for 20 seeds. Run by ``tox -e seeds``.

    python tests/seeds.py [--seeds 20] [--models 40] [--profile standard] [--processes 2]

Prints every model whose verdict hangs on the seed, with the seeds of each verdict, and exits with status 1 if there is one.
"""

from __future__ import annotations

import argparse
import collections
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor

from tiecheck.conformance import Declaration, NotJudged, check
from zoo import ENTRIES

# Half of them correct and half of them broken, spread over the zoo so that neighbours in style are not all of them.
CORRECT = [entry for entry in ENTRIES if entry.verdict == "correct"]
BROKEN = [entry for entry in ENTRIES if entry.verdict == "broken"]


def chosen(models: int) -> list[str]:
    """Names, evenly spread."""
    half = models // 2
    spread = [pool[i * len(pool) // half].name for pool in (CORRECT, BROKEN) for i in range(half)]
    return list(dict.fromkeys(spread))


def verdict(task: tuple[str, int, str]) -> tuple[str, int, str]:
    """What one model is judged with one seed."""
    name, seed, profile = task
    warnings.simplefilter("ignore")
    entry = next(entry for entry in ENTRIES if entry.name == name)
    try:
        report = check(entry.build, Declaration(**entry.declared), seed=seed, profile=profile)
    except NotJudged as error:
        return name, seed, f"not judged: {error}"
    if report.conforms:
        return name, seed, "conforms"
    return name, seed, report.diagnosis[0].cause


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--models", type=int, default=40)
    parser.add_argument("--profile", default="standard")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    names = chosen(options.models)
    tasks = [(name, seed, options.profile) for name in names for seed in range(options.seeds)]
    seen: dict[str, dict[str, list[int]]] = {name: collections.defaultdict(list) for name in names}
    with ProcessPoolExecutor(options.processes) as pool:
        for name, seed, word in pool.map(verdict, tasks, chunksize=options.seeds):
            seen[name][word].append(seed)
    lucky = {name: words for name, words in seen.items() if len(words) > 1}
    for name, words in lucky.items():
        print(f"{name}: " + "; ".join(f"{word} for seeds {seeds}" for word, seeds in words.items()))
    print(f"{len(names)} models, {options.seeds} seeds, {options.profile}: {len(lucky)} verdicts hang on the seed")
    return 1 if lucky else 0


if __name__ == "__main__":
    sys.exit(main())
