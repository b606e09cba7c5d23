"""What a lost tie looks like while training, and what happens on resume: ``python docs/resume.py``.

Trains a small model on Python's own documentation, writes ``docs/resume.md`` and ``docs/resume.svg``. What the page says
in words is asked of the numbers first (`claims`); where one does not hold, nothing is written.
"""

from __future__ import annotations

import collections
import functools
import io
import multiprocessing
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from pydoc_data import topics
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from tiecheck.conformance import TieLost, assert_tied, check
from tiecheck.reference import GPTConfig
from tiecheck.reference.gpt import Block
from torch import Tensor, nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
HEAD = "head.weight"
State = dict[str, Tensor]
Curve = list[tuple[int, float]]
"""Steps taken, and the loss on held-out text."""


@dataclass(frozen=True)
class Size:
    """How large the model is, and how long it trains."""

    model: GPTConfig = field(
        default_factory=lambda: GPTConfig(vocabulary=1000, context=32, width=48, layers=1, heads=4)
    )
    batch: int = 16
    steps: int = 300
    more: int = 100
    """Steps after the resume."""
    every: int = 20
    """Steps between two looks at the held-out text."""
    rate: float = 4e-3


# The text.


def text() -> str:
    """Python's documentation of its language, as ``help()`` shows it: on every machine that has Python."""
    return "\n".join(topics.topics[name] for name in sorted(topics.topics))


@functools.lru_cache
def windows(model: GPTConfig) -> tuple[Tensor, Tensor]:
    """Windows of T + 1 ids to train on, and every twentieth, held out. Id 0 is each piece that is too rare for a row."""
    pieces = re.findall(r" ?\w+|\s+|[^\w\s]", text())
    frequent = collections.Counter(pieces).most_common(model.vocabulary - 1)
    row = {piece: number for number, (piece, _) in enumerate(frequent, start=1)}
    ids = torch.tensor([row.get(piece, 0) for piece in pieces])
    width = model.context + 1
    cut = ids[: len(ids) // width * width].view(-1, width)
    held = torch.arange(len(cut)) % 20 == 19
    return cut[~held], cut[held]


# The model, and three ways to fill it with the same weights.


class Model(nn.Module):
    """A GPT whose head is a module of its own that shares the embedding's parameter, as in nanoGPT."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.context, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        if config.tied:
            self.head.weight = self.embedding.weight
        for part in (self.embedding, self.positions):
            nn.init.normal_(part.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        h = self.embedding(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            h = block(h)
        logits: Tensor = self.head(self.norm(h))
        return logits


def tied(config: GPTConfig, weights: State) -> Model:
    model = Model(config)
    model.load_state_dict(weights)
    return model


def emptied(config: GPTConfig, weights: State) -> Model:
    with torch.device("meta"):
        model = Model(config)
    model.to_empty(device="cpu")
    model.load_state_dict(weights)
    return model


def assigned(config: GPTConfig, weights: State) -> Model:
    model = Model(config)
    model.load_state_dict(weights, assign=True)
    return model


def moved(config: GPTConfig, weights: State) -> Model:
    """`assigned`, and then what a move to another device does, here by a cast: it needs no other device."""
    return assigned(config, weights).double().float()


CASES: dict[str, Callable[[GPTConfig, State], Model]] = {"tied": tied, "emptied": emptied, "assigned": assigned}


def initial(config: GPTConfig, seed: int) -> State:
    """The weights of a fresh tied model as a file gives them back: both names are there, and share their memory."""
    torch.manual_seed(seed)
    file = io.BytesIO()
    torch.save(Model(config).state_dict(), file)
    file.seek(0)
    weights: State = torch.load(file)
    return weights


# What can be asked of a model at a moment.


@dataclass(frozen=True)
class Look:
    """What a script sees that asks whether the two are one."""

    one: bool
    equal: bool
    memory: bool
    count: int


def look(model: Model) -> Look:
    table, head = model.embedding.weight, model.head.weight
    return Look(
        one=head is table,
        equal=torch.equal(head, table),
        memory=head.data_ptr() == table.data_ptr(),
        count=sum(parameter.numel() for parameter in model.parameters()),
    )


@dataclass(frozen=True)
class Verdict:
    """What tiecheck says of a model that no step was taken with; empty where it has nothing to say."""

    headline: str
    cause: str
    explanation: str
    fix: str
    lost: str


def verdict(model: nn.Module, ids: Tensor) -> Verdict:
    report = check(model, declare="tied", profile="quick")
    first = report.diagnosis[0] if report.diagnosis else None
    try:
        assert_tied(model, ids=ids)
        lost = ""
    except TieLost as error:
        lost = str(error)
    said = (first.cause, first.explanation, first.fix) if first else ("", "", "")
    return Verdict(*(_local(line) for line in (report.headline, *said, lost)))


def _local(line: str) -> str:
    """Without the folder that the repository lies in."""
    return line.replace(f"{HERE.parent}{os.sep}", "")


# Training, and the resume.


@torch.no_grad()
def held_out(model: nn.Module, ids: Tensor) -> float:
    return F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).item()


def train(
    model: Model, size: Size, steps: int, draw: torch.Generator, *, start: int = 0
) -> tuple[Curve, torch.optim.AdamW]:
    """A curve from before the first step on, and the optimizer. The rate rises for 20 steps, then stays."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=size.rate, betas=(0.9, 0.95), weight_decay=0.1)
    seen, held = windows(size.model)
    curve = [(start, held_out(model, held))]
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = size.rate * min(1.0, step / 20)
        batch = seen[torch.randint(len(seen), (size.batch,), generator=draw)]
        optimizer.zero_grad()
        F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten()).backward()
        optimizer.step()
        if step % size.every == 0:
            curve.append((start + step, held_out(model, held)))
    return curve, optimizer


@dataclass(frozen=True)
class Run:
    """One model's life: built, trained, saved without its head, resumed."""

    case: str
    seed: int
    built: Look
    trained: Look
    resumed: Look
    missing: list[str]
    """What ``load_state_dict`` says is missing in the file, on resume."""
    before: Curve
    after: Curve
    both: float
    """The loss of a tied build that is given both tables instead."""
    refused: str
    """What torch says when the optimizer's state is to be resumed, too."""

    @property
    def last(self) -> float:
        return self.before[-1][1]

    @property
    def gained(self) -> float:
        """How much lower the loss was for all of the training."""
        return self.before[0][1] - self.last

    @property
    def cliff(self) -> float:
        """How much higher the loss is directly after the resume."""
        return self.after[0][1] - self.last


def run(case: str, seed: int, size: Size) -> Run:
    """Deterministic: one thread, the same weights and the same batches for each case."""
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(seed)
    model = CASES[case](size.model, initial(size.model, seed))
    built = look(model)
    before, optimizer = train(model, size, size.steps, draw)
    trained = look(model)

    # The config says tied: so the head's table is the embedding's, and need not be stored.
    checkpoint = {name: value for name, value in model.state_dict().items() if name != HEAD}
    resumed = Model(size.model)
    missing = list(resumed.load_state_dict(checkpoint, strict=False).missing_keys)
    whole = tied(size.model, model.state_dict())
    refused = _refused(resumed, optimizer)
    after, _ = train(resumed, size, size.more, draw, start=size.steps)
    both = held_out(whole, windows(size.model)[1])
    return Run(case, seed, built, trained, look(resumed), missing, before, after, both, refused)


def _refused(model: Model, optimizer: torch.optim.AdamW) -> str:
    try:
        torch.optim.AdamW(model.parameters()).load_state_dict(optimizer.state_dict())
    except ValueError as error:
        return str(error)
    return ""


def same_training(size: Size) -> bool:
    """Whether a model that was assigned and moved trains as one that was emptied does, bit for bit, for 20 steps."""
    after = []
    for case in (emptied, moved):
        model = case(size.model, initial(size.model, 0))
        train(model, size, 20, torch.Generator().manual_seed(0))
        after.append(model.state_dict())
    return all(torch.equal(after[0][name], after[1][name]) for name in after[0])


# What the page says.


def claims(
    runs: list[Run], verdicts: dict[str, Verdict], looks: dict[str, Look], *, table: int, same: bool
) -> dict[str, bool]:
    """Each sentence of the page that hangs on the numbers, and whether they bear it."""
    of = {case: [run for run in runs if run.case == case] for case in CASES}
    untied = of["emptied"] + of["assigned"]
    by_seed = {run.seed: run for run in of["tied"]}
    return {
        "all start from the same loss": len({(run.seed, run.before[0][1]) for run in runs}) == len(by_seed),
        "the untied runs look better": all(run.last < by_seed[run.seed].last for run in untied),
        "the emptied one falls off a cliff": all(run.cliff > run.gained / 2 for run in of["emptied"]),
        "it does not get back in the steps shown": all(run.after[-1][1] > run.last for run in of["emptied"]),
        "the tied and the assigned one do not": all(run.cliff == 0 for run in of["tied"] + of["assigned"]),
        "values are equal when built": all(run.built.equal for run in runs),
        "values differ later, if emptied": not any(run.trained.equal for run in of["emptied"]),
        "values stay equal, if assigned": all(run.trained.equal and run.trained.memory for run in of["assigned"]),
        "the count sees it": {run.built.count - run.resumed.count for run in untied} == {table}
        and all(run.trained.count == run.built.count for run in runs),
        "`is` sees it": all(run.built.one == (run.case == "tied") == run.trained.one for run in runs),
        "the resumed model is tied": all(run.resumed.one for run in runs),
        "the same key is missing": all(run.missing == [HEAD] for run in runs),
        "both tables load, and the loss is worse": all(run.both > run.last for run in of["emptied"]),
        "the optimizer's state is refused": all(bool(run.refused) == (run.case != "tied") for run in runs),
        "moved is two memories": looks["moved"].equal and not looks["moved"].memory and same,
        "tiecheck says so before step 1": [verdicts[case].cause for case in (*CASES, "moved")]
        == ["", "equal-copy", "two-parameters-one-memory", "equal-copy"],
        "assert_tied says so before step 1": [bool(verdicts[case].lost) for case in (*CASES, "moved")]
        == [False, True, True, True],
    }


# The picture.

LEFT, RIGHT, TOP, BOTTOM = 64, 744, 56, 372


def picture(runs: list[Run], size: Size) -> str:
    """Each run thin, the mean of its case thick; the resume is a line from top to bottom."""
    losses = [loss for run in runs for _, loss in run.before + run.after]
    low, high = int(min(losses) * 2) / 2, int(max(losses) * 2 + 1) / 2
    end = size.steps + size.more

    def at(step: float, loss: float) -> tuple[float, float]:
        x = LEFT + (RIGHT - LEFT) * step / end
        return round(x, 1), round(BOTTOM - (BOTTOM - TOP) * (loss - low) / (high - low), 1)

    def path(curve: Curve) -> str:
        return "M" + " L".join("{:g} {:g}".format(*at(*point)) for point in curve)

    cases = []
    for case in CASES:
        mine = [run for run in runs if run.case == case]
        thin = [path(run.before + run.after) for run in mine]
        cases.append({"name": case, "thin": thin, "mean": path(mean(runs, case, 0) + mean(runs, case, 1))})
    cliff = statistics.mean(run.cliff for run in runs if run.case == "emptied")
    ticks = [(value / 2, at(0, value / 2)[1]) for value in range(int(low * 2), int(high * 2) + 1)]
    return (
        _environment()
        .get_template("resume.svg.jinja")
        .render(
            cases=cases,
            ticks=ticks,
            steps=[(step, at(step, low)[0]) for step in range(0, end + 1, max(1, end // 8))],
            resume=at(size.steps, low)[0],
            peak=(f"+{cliff:.2f}", at(size.steps, mean(runs, "emptied", 1)[0][1])[1]),
            seeds=len({run.seed for run in runs}),
            frame=(LEFT, RIGHT, TOP, BOTTOM),
        )
    )


def mean(runs: list[Run], case: str, part: int) -> Curve:
    """The mean curve of a case, before (0) or after (1) the resume."""
    curves = [(run.before, run.after)[part] for run in runs if run.case == case]
    return [(points[0][0], statistics.mean(loss for _, loss in points)) for points in zip(*curves, strict=True)]


def _environment() -> Environment:
    return Environment(loader=FileSystemLoader(HERE), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


# All of it.


def main(size: Size, seeds: int = 3) -> None:
    import resume_transformers  # here, for the processes that train have no use for it

    began = time.monotonic()
    context = multiprocessing.get_context("spawn")
    jobs = [(case, seed, size) for seed in range(seeds) for case in CASES]
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        runs = list(pool.map(run, *zip(*jobs, strict=True)))
    torch.set_num_threads(1)
    built = {name: case(size.model, initial(size.model, 0)) for name, case in {**CASES, "moved": moved}.items()}
    ids = windows(size.model)[1][:1, :-1]
    verdicts = {name: verdict(model, ids) for name, model in built.items()}
    looks = {name: look(model) for name, model in built.items()}
    table = size.model.vocabulary * size.model.width
    held = claims(runs, verdicts, looks, table=table, same=same_training(size))
    rows = resume_transformers.rows("gpt2")
    held["Llama does as GPT-2 does"] = rows == resume_transformers.rows("llama")
    held |= resume_transformers.claims(rows)
    if wrong := [claim for claim, holds in held.items() if not holds]:
        sys.exit("nothing was written, for the numbers do not bear these out: " + "; ".join(wrong))
    facts = _facts(size, runs, time.monotonic() - began)
    page = (
        _environment()
        .get_template("resume.md.jinja")
        .render(runs=runs, verdicts=verdicts, looks=looks, rows=rows, cases=list(CASES), table=table, **facts)
    )
    (HERE / "resume.svg").write_text(picture(runs, size) + "\n")
    (HERE / "resume.md").write_text(page + "\n")
    print(f"docs/resume.md, docs/resume.svg: {len(runs)} runs, {time.monotonic() - began:.0f} s")


def _facts(size: Size, runs: list[Run], seconds: float) -> dict[str, Any]:
    """What the page quotes: sizes, versions, and the mean of each case."""
    import transformers

    seen, held = windows(size.model)
    return {
        "size": size,
        "seeds": len({run.seed for run in runs}),
        "tokens": (seen.numel(), held.numel()),
        "covered": 1 - float((torch.cat([seen, held]) == 0).double().mean()),
        "letters": len(text()),
        "digest": sha256(text().encode()).hexdigest()[:12],
        "last": {case: mean(runs, case, 0)[-1][1] for case in CASES},
        "first": {case: mean(runs, case, 1)[0][1] for case in CASES},
        "end": {case: mean(runs, case, 1)[-1][1] for case in CASES},
        "both": statistics.mean(run.both for run in runs if run.case == "emptied"),
        "as_early": _as_early(mean(runs, "emptied", 0), mean(runs, "emptied", 1)[-1][1]),
        "refused": next(run.refused for run in runs if run.refused),
        "minutes": seconds / 60,
        "processor": sum(os.times()[:4]),
        "versions": {
            "Python": platform.python_version(),
            "torch": torch.__version__.partition("+")[0],
            "transformers": transformers.__version__,
        },
    }


def _as_early(curve: Curve, loss: float) -> int:
    """The step, of those that were looked at, at which the curve first was as low as ``loss``."""
    return next(step for step, value in curve if value <= loss)


if __name__ == "__main__":
    main(Size())
