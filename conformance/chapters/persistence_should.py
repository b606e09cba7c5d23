"""Chapter `persistence`, its SHOULDs: what libraries do, what torch itself loses, and what other packages add."""

from __future__ import annotations

from ..operations import added
from ..requirement import known_ids
from .persistence import operation

operation(
    "load-assign",
    level="SHOULD",
    statement="After load_state_dict(assign=True) the model is tied, or is tied again by the one who loads.",
    why="assign=True puts the tensors of the state dict in the place of the parameters, each name by itself. torch does not "
    "tie again: two names that held one parameter hold two. Where one name holds the table, nothing can be lost.",
    example="""
        from torch import nn
        def build():
            model = nn.ModuleList([nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)])
            model[1].weight = model[0].weight
            return model
        tied = lambda parts: parts[1].weight is parts[0].weight
        model, state = build(), build().state_dict()
        model.load_state_dict(state)
        print(tied(model))  # -> True
        # broken: each name takes a tensor of its own, and nobody ties again
        model.load_state_dict(state, assign=True)
        print(tied(model))  # -> False
    """,
)


operation(
    "load-partial",
    level="SHOULD",
    statement="A state dict that holds the table under one of its keys alone fills both uses of a fresh model.",
    why="Files often store a shared table once, under either name. Loaded with strict=False, what is missing is not told: one "
    "use then keeps its random start.",
    example="""
        import torch
        from torch import nn
        model = nn.ModuleList([nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)])
        model[1].weight = model[0].weight
        state = {"0.weight": torch.ones(4, 3)}
        model.load_state_dict(state, strict=False)
        print(model[1].weight.tolist()[0])  # -> [1.0, 1.0, 1.0]
        # broken: two parameters, of which one alone is filled
        model[1].weight = nn.Parameter(torch.zeros(4, 3))
        model.load_state_dict(state, strict=False)
        print(model[1].weight.tolist()[0])  # -> [0.0, 0.0, 0.0]
    """,
)


operation(
    "load-two-tables",
    level="SHOULD",
    statement="A state dict with two different tables under the two keys ends in a tied model, or in an error or a warning.",
    why="Such a file contradicts itself. Who loads it and silently ends with two tables trains another model than the one "
    "that was asked for.",
    example="""
        import torch
        from torch import nn
        model = nn.ModuleList([nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)])
        model[1].weight = model[0].weight
        state = {"0.weight": torch.ones(4, 3), "1.weight": torch.zeros(4, 3)}
        model.load_state_dict(state)
        print(torch.equal(model[0].weight, model[1].weight))  # -> True
        # broken: each key makes a parameter of its own, and nobody says so
        model.load_state_dict(state, assign=True)
        print(torch.equal(model[0].weight, model[1].weight))  # -> False
    """,
)


operation(
    "materialize",
    level="SHOULD",
    statement="A model that was built on the meta device, given memory by to_empty and filled from its state dict is tied.",
    why="Large models are built without memory first. to_empty gives every name memory of its own, so that one shared "
    "parameter becomes two; filled with equal values they look tied until the first training step.",
    example="""
        import torch
        from torch import nn
        with torch.device("meta"):
            model = nn.ModuleList([nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)])
        model[1].weight = model[0].weight
        tied = lambda parts: parts[1].weight is parts[0].weight
        # broken: every name gets memory of its own
        model.to_empty(device="cpu")
        print(tied(model))  # -> False
        # mended: tie again afterwards
        model[1].weight = model[0].weight
        print(tied(model))  # -> True
    """,
)


operation(
    "optimizer-state",
    level="SHOULD",
    statement="A training that is stored, model and optimizer, and taken up again with a fresh model goes on with one table.",
    why="The optimizer's state is stored by the number of the parameter. If the fresh model has one parameter more or fewer, "
    "the state is refused, or every parameter behind it gets another's.",
    example="""
        import torch
        from torch import nn
        def loads(tied):
            model = nn.ModuleList([nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)])
            if tied:
                model[1].weight = model[0].weight
            return torch.optim.AdamW(model.parameters())
        stored = loads(tied=True).state_dict()
        print(loads(tied=True).load_state_dict(stored))  # -> None
        numbers = lambda optimizer: len(optimizer.param_groups[0]["params"])
        # broken: the fresh model is not tied, so that its parameters have other numbers
        print(numbers(loads(tied=False)) - numbers(loads(tied=True)))  # -> 1
    """,
)


operation(
    "safetensors",
    level="SHOULD",
    statement="What safetensors stored with save_model comes back into a fresh model with load_model, tied.",
    why="safetensors stores no shared memory: save_model leaves one of two names out, and load_model fills it from the other "
    "only where the fresh model is tied.",
    example="""
        import torch
        E = torch.ones(4, 3)
        stored = {"lookup": E}  # the second name of the same memory is left out
        fresh = dict.fromkeys(("lookup", "projection"), torch.zeros(4, 3))  # one tensor
        fresh["lookup"].copy_(stored["lookup"])
        print(float(fresh["projection"].sum()))  # -> 12.0
        # broken: the fresh model has two
        fresh = {name: torch.zeros(4, 3) for name in ("lookup", "projection")}
        fresh["lookup"].copy_(stored["lookup"])
        print(float(fresh["projection"].sum()))  # -> 0.0
    """,
)


operation(
    "pretrained",
    level="SHOULD",
    statement="What save_pretrained wrote comes back from from_pretrained as it was, tied or untied, in one file and in several.",
    why="A checkpoint goes through these two calls before it is shared. If the config and the file disagree, the head that "
    "comes back is random, or another one.",
    example="""
        import torch
        stored = {"embedding": torch.ones(4, 3)}  # the head is left out: it is tied
        def from_pretrained(config):
            lookup = stored["embedding"]
            return lookup, lookup if config["tie_word_embeddings"] else torch.zeros(4, 3)
        lookup, head = from_pretrained({"tie_word_embeddings": True})
        print(head is lookup)  # -> True
        # broken: the config that was stored says something else
        lookup, head = from_pretrained({"tie_word_embeddings": False})
        print(head is lookup)  # -> False
    """,
)


operation(
    "resize",
    level="SHOULD",
    statement="A vocabulary that grows, shrinks, or is padded leaves the model tied if it was, untied if it was not.",
    why="New special tokens are added before fine-tuning. A resize makes a new table; where each use gets one of its own, or the "
    "head keeps the old one, new tokens cannot be predicted or two tables train.",
    example="""
        import torch
        from torch import nn
        def grown(both):
            model = nn.ModuleList([nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)])
            model[1].weight = model[0].weight
            model[0].weight = nn.Parameter(torch.cat([model[0].weight, torch.zeros(2, 3)]))
            if both:
                model[1].weight = model[0].weight
            return model[1].weight.shape[0]
        print(grown(both=True))  # -> 6
        # broken: the lookup alone is resized
        print(grown(both=False))  # -> 4
    """,
)


operation(
    "averaged",
    level="SHOULD",
    statement="Averaged weights are those of a model that is tied as the one that is averaged.",
    why="The average is what is evaluated and published in the end. A copy with two tables averages two, and whoever loads it "
    "into a tied model keeps one of them.",
    example="""
        from torch import nn
        def build():
            model = nn.ModuleList([nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)])
            model[1].weight = model[0].weight
            return model
        tied = lambda parts: parts[1].weight is parts[0].weight
        import torch.optim.swa_utils as swa
        averaged = swa.AveragedModel(build()).module
        print(tied(averaged))  # -> True
        # broken: the average is kept by name, duplicates included
        kept = [nn.Linear(3, 4, bias=False) for _ in averaged.state_dict()]
        print(tied(kept))  # -> False
    """,
)


operation(
    "checkpointing",
    level="SHOULD",
    statement="With gradient checkpointing the table gets the same gradient as without.",
    why="Activations are forgotten and computed again in the backward pass, to save memory. What is not in the part that is "
    "computed again, or only there, misses its share.",
    example="""
        import torch
        from torch.utils.checkpoint import checkpoint
        E = torch.ones(4, 3, requires_grad=True)
        logits = lambda ids: E[ids] @ E.T
        ids = torch.tensor([1, 2])
        checkpoint(logits, ids, use_reentrant=False).sum().backward()
        print(E.grad.sum(1).tolist())  # -> [6.0, 18.0, 18.0, 6.0]
        # broken: what is computed again is cut off
        E.grad = None
        (checkpoint(lambda ids: E.detach()[ids], ids, use_reentrant=False) @ E.T).sum().backward()
        print(E.grad.sum(1).tolist())  # -> [6.0, 6.0, 6.0, 6.0]
    """,
)


operation(
    "functional-call",
    level="SHOULD",
    statement="Called with other parameters by torch.func.functional_call, both uses read the table that was handed over.",
    why="Ensembles, meta-learning and per-sample gradients call a model with parameters from outside. A use that remembers the "
    "model's own table answers with that one.",
    example="""
        import torch
        from torch.func import functional_call
        class Model(torch.nn.Embedding):
            def forward(self, ids):
                table = getattr(self, "remembered", self.weight)
                return super().forward(ids) @ table.T
        model, ids = Model(4, 3), torch.tensor([1])
        other = {"weight": torch.ones(4, 3)}
        print(functional_call(model, other, (ids,)).tolist())  # -> [[3.0, 3.0, 3.0, 3.0]]
        # broken: the projection remembers the model's own table
        model.__dict__["remembered"] = torch.zeros(4, 3)
        print(functional_call(model, other, (ids,)).tolist())  # -> [[0.0, 0.0, 0.0, 0.0]]
    """,
)


operation(
    "parametrize",
    level="SHOULD",
    statement="A parametrization that is registered on the table is seen by both uses.",
    why="A parametrization (a low-rank delta, a constraint) computes a module's weight from another. Registered on one of two "
    "modules that share a parameter, the other goes on reading the bare parameter.",
    example="""
        import torch
        from torch import nn
        from torch.nn.utils.parametrize import register_parametrization
        model = nn.ModuleList([nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)])
        model[1].weight = model[0].weight
        # broken: one of the two modules gets it
        register_parametrization(model[0], "weight", nn.Softmax(dim=1))
        print(torch.equal(model[1].weight, model[0].weight))  # -> False
        # mended: the other gets the same
        register_parametrization(model[1], "weight", nn.Softmax(dim=1))
        print(torch.equal(model[1].weight, model[0].weight))  # -> True
    """,
)


operation(
    "weight-norm",
    level="SHOULD",
    statement="Weight norm that is put on the table is seen by both uses.",
    why="Weight norm stores direction and length in place of the weight. On one of two modules, or on each by itself, there are "
    "two tables afterwards.",
    example="""
        from torch import nn
        from torch.nn.utils.parametrizations import weight_norm
        model = nn.ModuleList([nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)])
        model[1].weight = model[0].weight
        tables = lambda module: sum(p.numel() == 12 for p in module.parameters())
        # one module computes the table, and the projection reads it there
        print(tables(weight_norm(nn.Embedding(4, 3))))  # -> 1
        # broken: each of two modules computes its own
        weight_norm(model[0])
        weight_norm(model[1])
        print(tables(model))  # -> 2
    """,
)


operation(
    "prune",
    level="SHOULD",
    statement="What is pruned from the table is gone from both uses.",
    why="Pruning hides the parameter behind a mask of the module. On one of two modules, the other goes on with the whole table.",
    example="""
        import torch
        from torch import nn
        from torch.nn.utils import prune
        model = nn.ModuleList([nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)])
        model[1].weight = model[0].weight
        # broken: one of the two modules gets the mask
        prune.l1_unstructured(model[0], "weight", amount=0.5)
        print(torch.equal(model[1].weight, model[0].weight))  # -> False
        # mended: the other gets the same
        prune.custom_from_mask(model[1], "weight", model[0].weight_mask)
        print(torch.equal(model[1].weight, model[0].weight))  # -> True
    """,
)


operation(
    "compile",
    level="SHOULD",
    statement="What torch.compile made of the model is tied as the model is.",
    why="Most training runs compile the model. What was a constant while it was traced stays one: a copy of the table that the "
    "compiler saw once is not seen to change.",
    example="""
        import torch
        E = torch.zeros(4, 3)
        def traced(constant):
            table = E.clone() if constant else E  # what the compiler keeps
            return lambda: float(table.sum())
        head, stale = traced(constant=False), traced(constant=True)
        E += 1
        print(head())  # -> 12.0
        # broken: a constant that was taken while tracing
        print(stale())  # -> 0.0
    """,
)


operation(
    "export",
    level="SHOULD",
    statement="The graph that torch.export made reads one table in both uses, if the model does.",
    why="Exported graphs are what is served, quantized and converted. A table that is lifted twice is stored twice, and the two "
    "go different ways in the next tool.",
    example="""
        import torch
        from torch import nn
        model = nn.ModuleList([nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)])
        model[1].weight = model[0].weight
        state = model.state_dict(keep_vars=True)
        print(len({id(value) for value in state.values()}))  # -> 1
        # broken: each name is lifted by itself
        lifted = [value.detach().clone() for value in state.values()]
        print(len({id(value) for value in lifted}))  # -> 2
    """,
)


operation(
    "quantize",
    level="SHOULD",
    statement="torch's own quantization leaves both uses one table.",
    why="Dynamic quantization packs the weights of Linear modules and leaves the embedding as it is. Where the head is such a "
    "module, it answers with a rounded copy of its own from then on.",
    example="""
        import torch
        E = torch.tensor([[0.1], [1.0]])
        packed = (127 * E).round().to(torch.int8)  # what a quantized head keeps
        read = lambda: packed / 127
        E[0, 0] = 0.5
        packed[0, 0] = 63  # both uses read the packed table, so that a write is seen by both
        print(round(float(read()[0, 0]), 1))  # -> 0.5
        # broken: the embedding is written, and the head keeps what it packed
        E[0, 0] = 0.9
        print(round(float(read()[0, 0]), 1) == 0.9)  # -> False
    """,
)


for _added in added():
    if f"persistence.{_added.word}" not in known_ids():
        operation(
            _added.word,
            level="SHOULD",
            statement=_added.statement or f"The tie holds after {_added.spelling}.",
        )
