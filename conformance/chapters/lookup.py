"""Chapter `lookup`: embedding(i) = e_i^T E."""

from __future__ import annotations

import numpy as np

from .. import tolerances
from ..evidence import Case, Look, Pass
from ..requirement import Finding, failed, passed, requirement, skipped


@requirement(
    "lookup.one-hot",
    statement="Looking up token i reads row i of the table, in every batch shape.",
    formula="embedding(i) = e_i^T E, bit for bit",
    source="Radford et al. 2018, equation 2: h_0 = U W_e + W_p",
    why="If a token reads another row than its own, its row means one token on the way in and another on the way "
    "out, and training pulls it both ways.",
    example="""
        import numpy as np
        E = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]])
        one_hot = np.array([0.0, 0.0, 1.0])  # token 2
        print(one_hot @ E)  # -> [3. 1.]
        print(E[2])  # -> [3. 1.]
        # broken: token 2 reads its neighbour's row
        print(E[2 - 1])  # -> [0. 2.]
    """,
)
def one_hot(case: Case) -> Finding:
    asked = 0
    for seen in case.passes:
        if seen.look is None or seen.look.tokens.size == 0:
            continue
        asked += 1
        wrong = np.flatnonzero(seen.look.tokens != seen.look.rows)
        if wrong.size:
            token, row = int(seen.look.tokens[wrong[0]]), int(seen.look.rows[wrong[0]])
            return failed(
                "wrong-rows",
                f"token {token} reads row {row}",
                token=token,
                expected=token,
                seen=row,
                where=seen.look.table.where,
            )
        if not seen.look.lookup_exact:
            return failed(
                "wrong-rows", "the lookup gives other values than the table's rows", where=seen.look.table.where
            )
    if not asked:
        return skipped(case.why("look", "no lookup was seen; the table was found by writing rows"))
    rows = np.unique(case.first.lookup_rows).size
    return passed(f"{rows} rows were read, each by its own token")


@requirement(
    "lookup.reaches",
    statement="What the logits depend on is the row that was looked up: no token's lookup is thrown away for another's.",
    formula="ids = v everywhere, E[v] := random  =>  f(ids)_w changes for some w != v",
    source="a token that is read from a table of its own is not tied",
    bug="huggingface/peft#2399",
    why="Some tokens may be read from a table of their own, as new tokens of an adapter are. On the way in their "
    "row of the shared table is then dead, and training it changes nothing there.",
    example="""
        import numpy as np
        E, own = np.eye(3), {2: np.ones(3)}
        embedding = lambda v: own.get(v, E[v])  # token 2 is read from elsewhere
        print(embedding(1) @ E[0], embedding(2) @ E[0])  # -> 0.0 1.0
        E[1] = [4, 5, 6]
        print(embedding(1) @ E[0])  # -> 4.0
        # broken: the logit of token 0 stays what it was
        E[2] = [4, 5, 6]
        print(embedding(2) @ E[0])  # -> 1.0
    """,
)
def reaches(case: Case) -> Finding:
    if case.unreached is None:
        return skipped("not asked in this profile, or no row of the table can be written")
    if case.unreached and one_hot(case).verdict == "fail":
        return skipped("tokens read other rows than their own (see lookup.one-hot)")
    if case.unreached:
        row = case.unreached[0]
        if case.instead:
            others = " and ".join(f"row {other}" for other in case.instead)
            return failed(
                "wrong-rows",
                f"token {row} reads {others}, and not row {row}: where the ids are nothing but token {row}, writing row {row} moves the logit of no other",
                row=row,
                rows=list(case.unreached),
                seen=list(case.instead),
            )
        return failed(
            "partial-tie",
            f"row {row} is not what token {row} reads: where the ids are nothing but that token, writing the row moves the logit of no other",
            row=row,
            rows=list(case.unreached),
        )
    return passed("every row that was looked up reaches the logits")


@requirement(
    "lookup.scale",
    statement="The looked-up row is multiplied by the declared input scale, and by nothing undeclared.",
    formula="embedding(i) = s_in e_i^T E",
    source="Vaswani et al. 2017, section 3.4 (sqrt(d_model)); declared, never guessed",
    bug="TensorAuto/OpenTau#179",
    why="Some architectures multiply on the way in: Gemma by sqrt(D). A factor that nobody meant, or that was "
    "forgotten when the model was ported, gives the same weights another meaning.",
    example="""
        import numpy as np
        E = np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 0.0, 1.0]])
        s_in = np.sqrt(4)  # declared: input_scale = sqrt(D)
        print(s_in * E[0])  # -> [2. 4. 6. 8.]
        # broken: the factor was forgotten
        print(E[0])  # -> [1. 2. 3. 4.]
    """,
)
def scale(case: Case) -> Finding:
    asked = False
    for seen in case.passes:
        look = seen.look
        if look is None:
            continue
        seen_scales = set(look.input_scales)
        ratio = _table_ratio(seen, look)
        if ratio is not None:
            seen_scales = {s * ratio for s in seen_scales} or {ratio}
        if not seen_scales:
            continue
        asked = True
        wanted = case.declared.input_factor(seen.table.shape[1])
        slack = tolerances.scale(seen.table_dtype)
        # Parts of one lookup may be scaled apart and added again: g x + (1 - g) x.detach().
        if any(abs(s - wanted) <= slack * abs(wanted) for s in (*seen_scales, *look.input_sums)):
            continue
        got = ", ".join(f"{s:.6g}" for s in sorted(seen_scales))
        if seen_scales == {1.0}:
            return failed(
                "declared-but-absent",
                f"an input scale of {wanted:.6g} is declared, but the rows are used as they are",
                expected=wanted,
                seen=1.0,
            )
        return failed(
            "undeclared-scale",
            f"the looked-up rows are multiplied by {got}, declared is {wanted:.6g}",
            expected=wanted,
            seen=sorted(seen_scales),
            where=look.table.where,
        )
    return (
        passed("the rows are scaled as declared")
        if asked
        else skipped(case.why("look", "what follows the lookup was not seen"))
    )


def _table_ratio(seen: Pass, look: Look) -> float | None:
    """The factor between the array that the lookup reads and the one that the projection reads, made from the same tensors."""
    if look.head is None or set(look.head.leaves) != set(look.table.leaves) or look.table.region is not None:
        return None
    rows = min(look.table.values.shape[0], look.head.values.shape[0])
    one, other = look.head.values[:rows].astype(np.float64), look.table.values[:rows].astype(np.float64)
    if one.shape != other.shape or look.head.region is None:
        return None
    ratio = tolerances.proportional(one, other, look.table.dtype)
    return float(ratio.item()) or None if ratio is not None else None


@requirement(
    "lookup.reads-only",
    statement="A forward pass writes nothing into the table.",
    formula="E after f(ids) = E before",
    source="a function does not change its argument; torch.nn.Embedding does with max_norm",
    why="A forward pass that writes into the table changes the weights without an optimizer. torch.nn.Embedding "
    "does it when max_norm is set, and then the logits change as well.",
    example="""
        import torch
        def after_a_lookup(**options):
            embedding = torch.nn.Embedding(2, 2, **options)
            embedding.weight.data.fill_(3.0)
            embedding(torch.tensor([0]))
            return embedding.weight[0].norm().round().item()
        print(after_a_lookup())  # -> 4.0
        # broken: the lookup shortens the row that it reads
        print(after_a_lookup(max_norm=1.0))  # -> 1.0
    """,
)
def reads_only(case: Case) -> Finding:
    asked = False
    for seen in case.passes:
        look = seen.look
        if look is None or look.table.region is None:
            continue
        asked = True
        if look.table.region.owner in look.written and not look.table.refilled:
            return failed(
                "wrong-rows",
                f"the forward pass writes into {look.table.region.owner}",
                owner=look.table.region.owner,
                where=look.table.where,
            )
    return (
        passed("the pass wrote nothing into it")
        if asked
        else skipped(case.why("look", "the table is computed in each pass"))
    )
