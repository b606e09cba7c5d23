"""Chapter `count`: the table is one set of scalars, and whoever enumerates parameters meets it once."""

from __future__ import annotations

from ..evidence import Case
from ..requirement import Finding, Level, failed, passed, requirement, skipped


@requirement(
    "count.closed-form",
    statement="The number of trainable scalars is the declared architecture's closed form.",
    formula="sum of numel over distinct trainable parameters = parameter_count",
    source="Radford et al. 2018 and 2019: the published counts are of tied models",
    bug="bigscience-workshop/Megatron-DeepSpeed#99",
    why="A count that is one table too high tells that a second table was built. People plan memory and compare "
    "models by this number.",
    example="""
        V, T, D, layers = 50257, 1024, 768, 12  # GPT-2: tokens, positions, width, layers
        rest = T * D + layers * (12 * D * D + 13 * D) + 2 * D  # all but the table
        print(V * D + rest)  # -> 124439808
        # broken: the head has a table of its own
        print(2 * V * D + rest)  # -> 163037184
    """,
)
def closed_form(case: Case) -> Finding:
    declared = case.declared.parameter_count
    if declared is None:
        return skipped("no parameter count is declared")
    if case.holdings is None:
        return skipped(case.why("holdings", "what the subject holds is not known"))
    seen = case.holdings.trainable
    if seen != declared:
        size = case.first.table.size
        hint = f", V x D = {size} too many" if seen - declared == size else ""
        return failed(
            "miscounted", f"{seen} trainable scalars, declared {declared}{hint}", expected=declared, seen=seen
        )
    return passed(f"{seen} trainable scalars, as declared")


@requirement(
    "count.saves-one-table",
    statement="Tying saves exactly V D scalars against the same model untied.",
    formula="count(untied) - count(tied) = V D",
    source="Press and Wolf 2017, section 3",
    bug="facebookresearch/pytext#704",
    why="Tying is done to save a table. If the count does not fall by exactly one, then nothing was tied, or "
    "something else went with it.",
    example="""
        from torch import nn
        model = nn.ModuleList([nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)])
        count = lambda: sum(p.numel() for p in model.parameters())
        print(count())  # -> 80
        # broken: shares the memory, keeps both parameters
        model[1].weight.data = model[0].weight.data
        print(count())  # -> 80
        model[1].weight = model[0].weight  # shares the parameter: V D = 10 * 4 fewer
        print(count())  # -> 40
    """,
)
def saves_one_table(case: Case) -> Finding:
    if case.holdings is None or case.holdings.twin is None:
        return skipped("there is no twin with the flag turned to count")
    size = case.first.table.size
    saved = (case.holdings.twin - case.holdings.trainable) * (1 if case.declared.tied else -1)
    if case.declared.frozen:
        return skipped("the table is declared frozen: it is in no count")
    if saved != size:
        return failed("miscounted", f"tying saves {saved} scalars, not V D = {size}", expected=size, seen=saved)
    return passed(f"tying saves V D = {size}")


@requirement(
    "count.enumerated-once",
    statement="Every enumeration that a trainer uses lists the table exactly once.",
    formula="|{p in enumeration : p is E}| = 1, for parameters(), configure_optimizers() and an optimizer that is handed in",
    source="a parameter that is listed twice is stepped twice; one that is not listed is not trained",
    bug="karpathy/nanoGPT#21",
    why="A table that an optimizer is given twice is moved twice as far at every step. One that it is not given is "
    "never trained.",
    example="""
        import numpy as np
        def after_a_step(times):  # how often the optimizer lists the table
            E = np.ones(2)
            for table in [E] * times:
                table -= 0.1
            return E
        print(after_a_step(1))  # -> [0.9 0.9]
        # broken: listed twice, and not at all
        print(after_a_step(2))  # -> [0.8 0.8]
        print(after_a_step(0))  # -> [1. 1.]
    """,
)
def enumerated_once(case: Case) -> Finding:
    holdings = case.holdings
    if holdings is None:
        return skipped(case.why("holdings", "what the subject holds is not known"))
    if case.declared.frozen:
        return skipped("the table is declared frozen: no optimizer needs it")
    asked = []
    memory = {named.name: named.region.storage for named in holdings.named}
    for name, listing in holdings.lists.items():
        if not listing:
            continue
        asked.append(name)
        for parameter, times in listing:
            if times > 1:
                return failed(
                    "listed-twice",
                    f"{name} lists {parameter} {times} times",
                    enumeration=name,
                    parameter=parameter,
                    times=times,
                )
        # Of several names over one memory one listing is enough: that they are several is storage.one-parameter's.
        listed = {memory[parameter] for parameter, times in listing if times and parameter in memory}
        missing = [parameter for parameter, times in listing if not times and memory.get(parameter) not in listed]
        if missing:
            return failed(
                "not-listed", f"{name} does not list {', '.join(missing)}", enumeration=name, parameter=missing[0]
            )
    for name, why in holdings.stumbles.items():
        return failed(
            "listed-twice",
            f"{name} asks for the table under a second name, which named_parameters() does not list: it raised {why}",
            level="SHOULD",
            enumeration=name,
        )
    if not asked:
        return skipped(case.why("steps", "the table has no trainable parameter to list"))
    refused = "".join(
        f"; {name} was not asked: {why}" for name, why in holdings.refused.items() if name == "configure_optimizers"
    )
    return passed(f"listed once by {', '.join(asked)}{refused}")


@requirement(
    "count.own-count",
    statement="What the model says of its own size counts the table once.",
    formula="num_parameters() = distinct scalars (less position tables, where it says so)",
    source="a count of distinct scalars meets the table once",
    bug="pytorch/torchtitan#3225",
    why="Memory, speed and comparisons are planned with the number that the model gives. Counted twice, the table "
    "makes a small model look much larger than it is.",
    example="""
        from torch import nn
        model = nn.ModuleList([nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)])
        model[1].weight = model[0].weight
        print(sum(p.numel() for p in model.parameters()))  # -> 40
        # broken: a sum over names, of which the table has two
        print(sum(w.numel() for w in model.state_dict().values()))  # -> 80
    """,
)
def own_count(case: Case) -> Finding:
    holdings = case.holdings
    if holdings is None or not holdings.own_counts:
        refused = "; ".join(
            f"{n}: {w}" for n, w in (holdings.refused if holdings else {}).items() if n != "configure_optimizers"
        )
        return skipped(refused or "the model has no count of its own")
    size = case.first.table.size
    for name, number in holdings.own_counts.items():
        if number in holdings.explained_counts:
            continue
        honest = min(holdings.explained_counts, key=lambda n: abs(n - number))
        off = next((k for k in (1, -1, 2, -2) if number - k * size in holdings.explained_counts), None)
        hint = (
            "" if off is None else f": the table is counted {1 + off} times" if off > 0 else ": the table is left out"
        )
        return failed(
            "miscounted",
            f"{name}() says {number}, but there are {honest} distinct scalars{hint}",
            seen=number,
            expected=honest,
        )
    return passed(", ".join(f"{n}() = {c}" for n, c in holdings.own_counts.items()))


@requirement(
    "count.no-dead-table",
    level="SHOULD",
    statement="No trainable V x D parameter lies beside the table that neither a logit nor the model's own loss depends on.",
    formula="every trainable parameter of the table's shape reaches f",
    source="what nothing depends on is not of the architecture; a MUST where a parameter count is declared",
    bug="NVIDIA/Megatron-LM#7577",
    why="A head that is built and never used takes memory, lies in every checkpoint, and makes people and loaders "
    "believe that the model is untied.",
    example="""
        import torch
        embedding, unused = torch.nn.Embedding(10, 4), torch.nn.Linear(4, 10, bias=False)
        h = embedding(torch.tensor([[1, 2]]))
        logits = h @ embedding.weight.T
        logits.sum().backward()
        print(embedding.weight.grad is None)  # -> False
        # broken: nothing depends on this one
        print(unused.weight.grad is None)  # -> True
    """,
)
def no_dead_table(case: Case) -> Finding:
    if case.holdings is None:
        return skipped(case.why("holdings", "what the subject holds is not known"))
    level: Level = "MUST" if case.declared.parameter_count is not None else "SHOULD"
    dead = case.holdings.dead
    if dead:
        names = ", ".join(dead)
        return failed(
            "miscounted",
            f"{names} has the table's shape and is counted and saved, but nothing depends on it",
            level,
            names=list(dead),
        )
    return passed("nothing of the table's shape lies unused")
