"""Chapter `persistence`: all of the above again after each operation that a user performs on a model trained a little."""

from __future__ import annotations

import functools
from collections.abc import Collection

from ..algebra import moved
from ..evidence import After, Case, Lost
from ..requirement import Finding, Level, failed, passed, requirement, requirements, skipped

SOURCE = "what a model owes, it owes again after each operation that a user performs on it"
FORMULA = "every MUST of storage, count, lookup, projection and gradient holds afterwards; f(ids) as before"
# What does not hang on precision: whose memory is read, and what is counted.
HALFWAY = (
    "storage.one-memory",
    "storage.one-parameter",
    "storage.whole-table",
    "count.closed-form",
    "count.enumerated-once",
    "count.own-count",
)
TIE = ("storage", "count", "lookup", "projection", "gradient")


def newly_failing(case: Case, before: Collection[str] = (), asked: Collection[str] | None = None) -> tuple[Lost, ...]:
    """Every MUST of the tie, or of the ids that are asked, that fails on a case and not among those before."""
    out = []
    for item in requirements():
        if (
            item.chapter not in TIE
            or (asked is not None and item.id not in asked)
            or item.level != "MUST"
            or item.id in before
        ):
            continue
        finding = item.judge(case)
        if finding.verdict == "fail" and finding.level != "SHOULD":
            out.append(Lost(item.id, finding.cause or "unknown", finding.message, finding.counterexample or {}))
    return tuple(out)


def _judged(case: Case, word: str) -> Finding:
    done = [a for a in case.after if a.word == word]
    if not done:
        otherwise = case.missing.get("afterwards", "not asked in this profile, or the time was up")
        return skipped(case.why(f"persistence.{word}", otherwise))
    told: list[str] = []
    for after in done:
        if after.broken:
            return failed(f"lost-on-{word}", after.broken + _on_copy(case), operation=after.spelling)
        if after.refused:
            continue
        if after.lost:
            return _lost(case, after, after.lost[0])
        gap = moved(after)
        if gap:
            message = f"after {after.spelling} the same ids give other logits (by up to {gap:.3g})"
            return failed(f"lost-on-{word}", message + _on_copy(case), operation=after.spelling, difference=gap)
        if not after.weak:
            told.append(after.spelling)
    if told:
        return passed(f"the tie holds after {'; '.join(told)}" + _on_copy(case))
    return skipped("; ".join(dict.fromkeys(a.refused for a in done if a.refused)) or "nothing that was done proves it")


def _lost(case: Case, after: After, lost: Lost) -> Finding:
    """An operation that ties an untied model by force has a word of its own."""
    cause = "forced-tie" if lost.cause == "forced-tie" else f"lost-on-{after.word}"
    message = f"after {after.spelling} {lost.id} fails: {lost.message}"
    facts = {**lost.counterexample, "operation": after.spelling, "fails": lost.id, "then": lost.cause}
    return failed(cause, message + _on_copy(case), **facts)


def _on_copy(case: Case) -> str:
    return " (on a deepcopy, for there is no factory)" if case.copied else ""


def operation(
    word: str, *, statement: str, why: str = "", example: str = "", level: Level = "MUST", bug: str = ""
) -> None:
    """The requirement of one operation: what is asked after it is the same for all."""
    stated = requirement(
        f"persistence.{word}",
        level=level,
        statement=statement,
        formula=FORMULA,
        source=SOURCE,
        bug=bug,
        why=why,
        example=example,
    )
    stated(functools.partial(_judged, word=word))


operation(
    "deepcopy",
    statement="A deepcopy is tied as the model is.",
    why="People copy models: for averaged weights, for a teacher, to keep the best one so far. A copy that is not "
    "tied trains two tables.",
    example="""
        import copy
        from torch import nn
        model = nn.ModuleList([nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)])
        model[1].weight = model[0].weight
        tied = lambda parts: parts[1].weight is parts[0].weight
        print(tied(copy.deepcopy(model)))  # -> True
        # broken: each part is copied by itself
        print(tied([copy.deepcopy(part) for part in model]))  # -> False
    """,
)


operation(
    "pickle",
    statement="A model that was pickled and read again is tied as before.",
    why="Pickle carries models to other processes: to workers, into queues, into caches. What comes out must be the "
    "model that went in.",
    example="""
        import pickle
        from torch import nn
        model = nn.ModuleList([nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)])
        model[1].weight = model[0].weight
        tied = lambda parts: parts[1].weight is parts[0].weight
        again = lambda thing: pickle.loads(pickle.dumps(thing))
        print(tied(again(model)))  # -> True
        # broken: each part takes the way by itself
        print(tied([again(part) for part in model]))  # -> False
    """,
)


operation(
    "cast",
    statement="A cast to another dtype, and the way back, in every spelling leave the tie whole.",
    why="Almost every model is cast, to 16 bits for speed. If each use makes a cast of its own, there are two "
    "tables afterwards.",
    example="""
        import torch
        from torch import nn
        model = nn.ModuleList([nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)])
        model[1].weight = model[0].weight
        tied = lambda parts: parts[1].weight is parts[0].weight
        print(tied(model.to(torch.float64)))  # -> True
        # broken: each use is cast by itself
        by_hand = [part.weight.to(torch.float16) for part in model]
        print(by_hand[1] is by_hand[0])  # -> False
    """,
)


operation(
    "move",
    statement="A move to another device and back leaves the tie whole.",
    why="A model is built on one device and trained on another. If each use is moved by itself, there are two "
    "tables on arrival.",
    example="""
        import torch
        E = torch.zeros(4, 3)
        move = lambda table: table.to("cpu", copy=True)  # stands for .to("cuda")
        lookup = projection = move(E)
        lookup += 1
        print(projection[0].tolist())  # -> [1.0, 1.0, 1.0]
        # broken: each use is moved by itself
        lookup, projection = move(E), move(E)
        lookup += 1
        print(projection[0].tolist())  # -> [0.0, 0.0, 0.0]
    """,
)


operation(
    "train-mode",
    statement="Switching between train and eval mode leaves the tie whole, with calls in between and without.",
    why="train() and eval() are called around every evaluation. A model that merges or copies weights there comes "
    "back with two tables, and trains on with them.",
    example="""
        from torch import nn
        def tied_after(head):
            embedding = nn.Embedding(4, 3)
            head.weight = embedding.weight
            return head.eval().train().weight is embedding.weight
        print(tied_after(nn.Linear(3, 4, bias=False)))  # -> True
        # broken: every change of the mode puts a copy in the table's place
        class Copying(nn.Linear):
            def train(self, mode=True):
                self.weight = nn.Parameter(self.weight.detach().clone())
                return super().train(mode)
        print(tied_after(Copying(3, 4, bias=False)))  # -> False
    """,
)


operation(
    "freeze",
    statement="Freezing all parameters and thawing them leaves the tie whole.",
    why="Fine-tuning starts with freezing and often ends with thawing. Both are a switch on the table; who replaces "
    "the table by a frozen copy cuts the tie.",
    example="""
        from torch import nn
        model = nn.ModuleList([nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)])
        model[1].weight = model[0].weight
        tied = lambda parts: parts[1].weight is parts[0].weight
        print(tied(model.requires_grad_(False).requires_grad_(True)))  # -> True
        # broken: one use is frozen as a copy
        model[0].weight = nn.Parameter(model[0].weight.detach().clone())
        print(tied(model.requires_grad_(True)))  # -> False
    """,
)


operation(
    "load",
    statement="The state dict of the model loads into a fresh model, and into itself, and the result is tied.",
    why="After loading, training goes on. If loading gives one of the two uses a tensor of its own, two tables "
    "train from there, and the next save stores both.",
    example="""
        from torch import nn
        def build():
            model = nn.ModuleList([nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)])
            model[1].weight = model[0].weight
            return model
        tied = lambda parts: parts[1].weight is parts[0].weight
        fresh, stored = build(), build().state_dict()
        fresh.load_state_dict(stored)
        print(tied(fresh))  # -> True
        # broken: each name gets a parameter of its own
        fresh.load_state_dict(stored, assign=True)
        print(tied(fresh))  # -> False
    """,
)


operation(
    "save",
    statement="What torch.save stored, the module or its state dict, comes back tied.",
    why="A model outlives its process only as a file. What stores each use by itself stores two tables, and whoever "
    "reads the file gets two.",
    example="""
        import io
        import torch
        from torch import nn
        model = nn.ModuleList([nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)])
        model[1].weight = model[0].weight
        tied = lambda parts: parts[1].weight is parts[0].weight
        def again(thing):
            torch.save(thing, file := io.BytesIO())
            return torch.load(io.BytesIO(file.getvalue()), weights_only=False)
        print(tied(again(model)))  # -> True
        # broken: each part takes the way by itself
        print(tied([again(part) for part in model]))  # -> False
    """,
)


@requirement(
    "persistence.sequence",
    statement="Operations in a row, with training steps between them, lose no tie that each of them keeps.",
    formula=FORMULA,
    source="a sequence of MUST operations and training steps is a MUST; one with a SHOULD operation in it is a SHOULD",
    why="A tie is most often lost by two things in a row: a copy is made by the first and becomes a table of its own by the "
    "second. Each alone looks harmless.",
    example="""
        from torch import nn
        embedding, head = nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)
        head.weight, loaded = embedding.weight, []
        def load(): loaded.append(True)
        def thaw():  # whoever was loaded makes the head anew
            if loaded: head.weight = nn.Parameter(embedding.weight.detach().clone())
        thaw(), load()
        print(head.weight is embedding.weight)  # -> True
        # broken: the same in another order
        thaw()
        print(head.weight is embedding.weight)  # -> False
    """,
)
def sequence(case: Case) -> Finding:
    """The first sequence that lost something, as short as it could be made; MUST ones before others."""
    seen = case.sequences
    if seen is None:
        return skipped(case.why("sequences", "sequences are tried in the profile full alone"))
    lost = seen.lost
    told = (
        f"{seen.pairs} of {seen.of} ordered pairs, {seen.drawn} drawn sequences, {seen.walks} long walks and "
        f"{seen.triples} triples were tried"
    )
    if lost is None:
        if not seen.pairs:
            return skipped(f"{told}: nothing that was done proves it")
        return passed(f"the tie holds after all of them: {told}, the longest of {seen.longest} operations")
    way = ", then ".join(lost.spellings)
    fails = f"{lost.lost.id} fails: {lost.lost.message}" if lost.lost.id else lost.lost.message
    alone = "; each of them alone keeps it" if len(lost.words) > 1 else ""
    cause = "forced-tie" if lost.lost.cause == "forced-tie" else f"lost-on-{lost.words[-1]}"
    return failed(
        cause,
        f"after {way} {fails}{alone} ({told} until then)" + _on_copy(case),
        level="SHOULD" if lost.should else None,
        **{**lost.lost.counterexample, "sequence": list(lost.spellings), "fails": lost.lost.id, "code": lost.code},
    )
