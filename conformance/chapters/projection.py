"""Chapter `projection`: logits = h E^T, with what is declared put in."""

from __future__ import annotations

import numpy as np

from .. import tolerances
from ..algebra import Explained, log_sum_exp, not_transposed
from ..evidence import Array, Case, Pass, Writing
from ..requirement import Finding, failed, passed, requirement, skipped

SOURCE = "Radford et al. 2018, equation 2: P(u) = softmax(h_n W_e^T)"
_CAUSES = {
    "rows": "wrong-rows",
    "columns": "wrong-columns",
    "not-transposed": "not-transposed",
    "part": "partial-tie",
    "delta": "adapter-on-one-use",
    "narrow": "reduced-precision",
}
_WORDS = {
    "rows": "some logits are the products with other rows of the table",
    "columns": "h meets the columns of the table in another order",
    "not-transposed": "logits are h E, not h E^T (V = D hides it)",
    "part": "some logits are h E^T and some are not",
    "delta": "beside h E^T the logits have a map of h of lower rank, which the lookup does not see",
    "narrow": "the logits are h times the table rounded to fewer bits",
    "unknown": "the logits are no map of h E^T that can be declared",
}

# Operations after which logits that were not capped are not capped either: products, factors, sums, and what moves numbers.
LINEAR = {
    "mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "linear", "convolution", "mul", "div", "neg",
    "add", "sub", "sum", "view", "_unsafe_view", "reshape", "_reshape_alias", "expand", "alias", "detach",
    "as_strided", "t", "transpose", "permute", "movedim", "squeeze", "unsqueeze", "select", "slice", "narrow",
    "split", "unbind", "cat", "stack", "index", "index_select", "index_put", "index_copy", "index_add",
    "slice_scatter", "select_scatter", "copy", "clone", "_to_copy", "contiguous", "lift_fresh",
}  # fmt: skip


def _maps(case: Case) -> list[tuple[Pass, Explained]]:
    return [(seen, seen.explained) for seen in case.passes if seen.explained.asked]


def _unseen(case: Case) -> Finding:
    if any(seen.explained.asked for seen in case.passes):
        return skipped("no map from h to the logits was found (see projection.linear)")
    return skipped("h was not seen at the projection, and can neither be solved for (that needs D < V) nor read back")


@requirement(
    "projection.linear",
    statement="Every logit is the product of h with that token's row of the table, for every h that the passes showed and for chosen ones.",
    formula="logits = h E^T (with what is declared: cap(s_out h E^T + b))",
    source=SOURCE,
    bug="huggingface/transformers#48154",
    why="This is the promise of a tied model: the logit of a token says how well h fits its row. With anything else "
    "in between, the model predicts with another matrix than the one it reads with.",
    example="""
        import numpy as np
        E = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]])
        h = np.array([[2.0, 1.0]])
        print(h @ E.T)  # -> [[2. 2. 7.]]
        # broken: the rows of tokens 1 and 2 changed places
        swapped = E[[0, 2, 1]]
        print(h @ swapped.T)  # -> [[2. 7. 2.]]
    """,
)
def linear(case: Case) -> Finding:
    maps = _maps(case)
    for seen, form in maps:
        if not form.found:
            cause = _CAUSES.get(form.problem) or _guess(seen)
            return failed(
                cause,
                f"{_WORDS.get(form.problem, _WORDS['unknown'])}{_to(form)}; first seen at token {form.worst.get('token')}",
                mode=seen.probe.mode,
                where=_where(seen),
                **form.worst,
            )
    if not maps:
        return _unseen(case)
    extra = "" if maps[0][0].injected is None else f" and {maps[0][0].injected[0].shape[0]} chosen ones"
    how = {"solved": "solved for", "read back": "read back from unit vectors in the table"}.get(
        maps[0][1].origin, "seen"
    )
    return passed(
        f"{maps[0][1].hidden.shape[0] if maps[0][1].hidden is not None else 0} positions (h {how}){extra} agree within rounding"
    )


def _to(form: Explained) -> str:
    return f" ({form.worst['dtype']})" if "dtype" in form.worst else ""


def _guess(seen: Pass) -> str:
    look = seen.look
    unseen = seen.declared.tied and (look is None or look.head is None)
    if not unseen or seen.through is None or _moves(seen.through):
        return "unknown"
    return "wrong-rows" if np.any(seen.through.before != seen.through.after) else "two-matrices"


def _moves(writing: Writing) -> bool:
    return bool(np.any(writing.before[:, writing.rows[0]] != writing.after[:, writing.rows[0]]))


def _where(seen: Pass) -> str | None:
    return (seen.look.head_where or None) if seen.look is not None else None


@requirement(
    "projection.scale",
    statement="The projection is multiplied by the declared output scale, and by nothing undeclared.",
    formula="logits = s_out h E^T",
    source=SOURCE,
    bug="ml-explore/mlx-examples#591",
    why="A factor on the logits makes every prediction sharper or flatter. The same weights then give other "
    "probabilities and another loss.",
    example="""
        import numpy as np
        E, h = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([2.0, 1.5])
        softmax = lambda z: (np.exp(z) / np.exp(z).sum()).round(2)
        print(softmax(h @ E.T))  # -> [0.27 0.73]
        # broken: a factor that nobody declared
        print(softmax(0.5 * h @ E.T))  # -> [0.38 0.62]
    """,
)
def scale(case: Case) -> Finding:
    maps = [(s, f) for s, f in _maps(case) if f.found]
    if not maps:
        return _unseen(case)
    declared = case.declared
    for seen, form in maps:
        wanted = declared.output_factor(seen.table.shape[1])
        if declared.scale_parameter:
            if form.token_scale is None or float(np.abs(form.token_scale - 1).max()) < tolerances.NEAR:
                return failed(
                    "declared-but-absent",
                    f"{declared.output_scale} is declared to hold one scale per token, but none acts",
                    seen=form.scale,
                )
            continue
        if form.token_scale is not None:
            low, high = float(form.token_scale.min()), float(form.token_scale.max())
            return failed(
                "undeclared-scale",
                f"each token has a scale of its own, from {low:.4g} to {high:.4g}{_common(form)}",
                where=_where(seen),
                expected=wanted,
            )
        if form.origin != "seen" and wanted == 1.0:
            continue
        slack = tolerances.scale(seen.table_dtype, seen.dtype)
        if abs(form.scale - wanted) <= slack * abs(wanted):
            if wanted != 1.0 and form.origin != "seen" and seen.look is not None and not _factor_seen(seen, wanted):
                return failed(
                    "declared-but-absent",
                    f"an output scale of {wanted:.6g} is declared, but nothing is multiplied by it",
                    expected=wanted,
                )
            continue
        if abs(form.scale - 1) <= slack:
            if _factor_seen(seen, wanted) or seen.look is None:
                continue  # it acts on h, which is the network's business
            return failed(
                "declared-but-absent",
                f"an output scale of {wanted:.6g} is declared, but the logits are h E^T and h is not multiplied by it",
                expected=wanted,
                seen=1.0,
            )
        if form.origin == "seen":
            return failed(
                "undeclared-scale",
                f"the logits are {form.scale:.6g} h E^T, declared is {wanted:.6g}",
                expected=wanted,
                seen=form.scale,
                where=_where(seen),
            )
    return passed("scaled as declared")


def _common(form: Explained) -> str:
    return "" if form.origin == "seen" else " of their mean"


def _factor_seen(seen: Pass, wanted: float) -> bool:
    slack = tolerances.scale(seen.table_dtype)
    factors = seen.look.factors if seen.look is not None else ()
    products = set(factors) | {float(np.prod(factors[i:])) for i in range(len(factors))}
    return any(abs(abs(f) - abs(wanted)) <= slack * abs(wanted) for f in products)


@requirement(
    "projection.bias",
    statement="No bias is added to the logits unless one is declared.",
    formula="logits = h E^T + b only with b declared",
    source=SOURCE,
    bug="vllm-project/vllm#46835",
    why="A bias decides about the next token apart from the table. Tools that copy only the table lose it, and a "
    "bias that starts at zero is seen only after training.",
    example="""
        import numpy as np
        E, h = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]]), np.array([2.0, 1.0])
        print(h @ E.T)  # -> [2. 2. 7.]
        # broken, unless b is declared
        b = np.array([0.0, 0.5, 0.0])
        print(h @ E.T + b)  # -> [2.  2.5 7. ]
    """,
)
def bias(case: Case) -> Finding:
    blank = next((seen for seen in case.passes if case.declared.output_bias and _blank(seen)), None)
    if blank is not None:
        return failed(
            "declared-but-absent",
            f"{_bias_of(blank)} is declared, but tokens whose rows are set to zero have logits of zero",
            expected="a bias",
            seen=0.0,
        )
    maps = [(s, f) for s, f in _maps(case) if f.found]
    if not maps:
        return _unseen(case)
    for seen, form in maps:
        if seen.bias is not None and form.bias is not None and form.origin != "seen" and _another(seen, form.bias):
            return failed("undeclared-bias", f"{_bias_of(seen)} is declared, but the bias that is added is another")
        size = 0.0 if form.bias is None else float(np.abs(form.bias).max())
        there = size > tolerances.bias(seen.legal[np.isfinite(seen.legal)], seen.dtype)
        if there and not case.declared.output_bias:
            assert form.bias is not None
            token = int(np.argmax(np.abs(form.bias)))
            return failed(
                "undeclared-bias",
                f"token {token} has a bias of {float(form.bias[token]):.4g} that does not come from h E^T",
                token=token,
                expected=0.0,
                seen=float(form.bias[token]),
                where=_where(seen),
            )
        absent = size <= tolerances.no_bias(seen.legal[np.isfinite(seen.legal)], seen.dtype)
        if absent and case.declared.output_bias and form.origin == "seen":
            return failed(
                "declared-but-absent",
                "an output bias is declared, but the logits have none",
                expected="a bias",
                seen=0.0,
            )
    return passed("as declared")


def _bias_of(seen: Pass) -> str:
    name = seen.declared.output_bias
    return f"an output bias in {name}" if isinstance(name, str) else "an output bias"


def _blank(seen: Pass) -> bool:
    """Whether every row that the pass does not read was set to zero, and its token's logit was nothing but zero."""
    if seen.blank is None or not _stirs(seen.blank):
        return False
    left = seen.blank.after[:, seen.blank.rows]
    if seen.declared.log_probabilities:
        left = left - left.mean(1, keepdims=True)
    return left.shape[1] > 1 and float(np.abs(left).max()) <= tolerances.zero_logit(seen.blank.before, seen.dtype)


def _stirs(writing: Writing) -> bool:
    return bool(np.any(writing.before[:, writing.rows] != writing.after[:, writing.rows]))


def _another(seen: Pass, found: Array) -> bool:
    assert seen.bias is not None
    named = seen.bias[: found.size]
    return float(np.abs(found - named).max()) > tolerances.bias(seen.legal[np.isfinite(seen.legal)], seen.dtype)


@requirement(
    "projection.softcap",
    statement="Logits are capped where a cap is declared, and nowhere else.",
    formula="logits = C tanh(h E^T / C) only with C declared",
    source="Gemma Team 2024, Gemma 2, section 2 (logit soft-capping)",
    why="A cap squeezes large logits. A model that was trained with it and runs without it, or the other way round, "
    "is too sure of itself, or not sure enough.",
    example="""
        import numpy as np
        E, h, C = np.array([[1.0], [20.0], [200.0]]), np.array([1.0]), 30.0
        print(h @ E.T)  # -> [  1.  20. 200.]
        # broken, unless the cap C is declared
        print((C * np.tanh(h @ E.T / C)).round(1))  # -> [ 1.  17.5 30. ]
    """,
)
def softcap(case: Case) -> Finding:
    maps = [(s, f) for s, f in _maps(case) if f.found]
    if not maps:
        return _unseen(case)
    wanted = case.declared.logit_softcap
    for seen, form in maps:
        if form.cap is not None and (wanted is None or abs(form.cap - wanted) > tolerances.NEAR * wanted):
            return failed(
                "undeclared-softcap",
                f"the logits are capped at {form.cap:.5g}" + ("" if wanted is None else f", declared is {wanted:.5g}"),
                expected=wanted,
                seen=form.cap,
                where=_where(seen),
            )
        if wanted is not None and form.cap is None:
            return failed(
                "declared-but-absent",
                f"a soft cap of {wanted:.5g} is declared, but the logits are not capped",
                expected=wanted,
            )
        if (
            wanted is not None
            and seen.injected is None
            and seen.look is not None
            and seen.look.trail
            and LINEAR.issuperset(seen.look.trail)
        ):
            return failed(
                "declared-but-absent",
                f"a soft cap of {wanted:.5g} is declared, but nothing acts on the logits that bends them",
                expected=wanted,
            )
    return passed("as declared")


@requirement(
    "projection.normalization",
    statement="The model returns logits, or log-probabilities where that is declared.",
    formula="log_softmax(h E^T) only where declared; then every relation reads up to one constant per position",
    source="log_softmax takes one number per position off the logits, and keeps their differences",
    why="Log-probabilities are the logits less one number per position. Whoever takes them for logits (a cap, "
    "distillation, a penalty on their size) works with other numbers.",
    example="""
        import numpy as np
        E, h = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]]), np.array([2.0, 1.0])
        z = h @ E.T
        print(z)  # -> [2. 2. 7.]
        # broken, unless it is declared
        log_probabilities = z - np.log(np.exp(z).sum())
        print(log_probabilities.round(2))  # -> [-5.01 -5.01 -0.01]
        print((z - log_probabilities).round(2))  # -> [7.01 7.01 7.01]
    """,
)
def normalization(case: Case) -> Finding:
    maps = [(s, f) for s, f in _maps(case) if f.found]
    if not maps:
        return _unseen(case)
    for seen, form in maps:
        if form.normalized and not case.declared.log_probabilities:
            return failed(
                "undeclared-normalization",
                "the outputs are log-probabilities: each position sums to one",
                where=_where(seen),
            )
        if case.declared.log_probabilities and not form.normalized:
            return failed("declared-but-absent", "log-probabilities are declared, but the outputs are plain logits")
        if case.declared.log_probabilities and not _sums_to_one(seen):
            return failed("declared-but-absent", "log-probabilities are declared, but the outputs do not sum to one")
    return passed("as declared")


def _sums_to_one(seen: Pass) -> bool:
    values = seen.logits[:, np.isfinite(seen.logits).all(0)]
    return bool(np.abs(log_sum_exp(values)).max() <= tolerances.log_probabilities(values, seen.dtype))


@requirement(
    "projection.vocabulary",
    statement="There is one logit for each row of the table, unless a padded vocabulary is declared.",
    formula="columns(logits) = V; with vocabulary n declared: n or V, and n < V",
    source="one token, one row, one logit: padding is declared, never guessed away",
    bug="NVIDIA/TensorRT-LLM#301",
    why="With more logits than rows, a token can be predicted that cannot be read: a generated text then breaks the "
    "model. With fewer, some tokens can never be predicted.",
    example="""
        import numpy as np
        E, h = np.ones((3, 2)), np.ones((1, 2))
        print((h @ E.T).shape)  # -> (1, 3)
        padded = np.vstack([E, np.zeros((1, 2))])  # 4 rows: a round number for the hardware
        print((h @ padded.T)[:, :3].shape)  # -> (1, 3)
        # broken, unless vocabulary=3 is declared
        print((h @ padded.T).shape)  # -> (1, 4)
    """,
)
def vocabulary(case: Case) -> Finding:
    seen = case.first
    rows, columns = seen.table.shape[0], seen.logits.shape[1]
    declared = case.declared.vocabulary
    finite: Array = np.asarray(np.isfinite(seen.logits).all(0))
    masked = int((~finite).sum())
    if declared is None:
        if columns != rows:
            return failed(
                "undeclared-padding",
                f"the table has {rows} rows, the logits {columns} columns",
                expected=rows,
                seen=columns,
            )
        if masked:
            return failed(
                "undeclared-padding",
                f"{masked} of {columns} columns are not finite",
                expected=columns,
                seen=columns - masked,
            )
        return passed(f"{columns} logits for {rows} rows")
    if declared >= rows and declared >= columns:
        return failed(
            "declared-but-absent",
            f"a vocabulary of {declared} in a padded table is declared, but the table has {rows} rows",
            expected=declared,
            seen=rows,
        )
    if columns not in (declared, rows) or not finite[:declared].all():
        return failed(
            "undeclared-padding",
            f"{columns} columns for a vocabulary of {declared} in {rows} rows",
            expected=declared,
            seen=columns,
        )
    return passed(f"{declared} legal tokens in a table of {rows} rows")


# --- relations that need no look inside ---------------------------------------------------------------------------


def _changes(seen: Pass, writing: Writing) -> tuple[Array, Array]:
    """Logits before and after a write; log-probabilities up to the constant of the position that the write moved."""
    before, after = writing.before, writing.after
    if seen.declared.log_probabilities or (seen.explained.found and seen.explained.normalized):
        others = np.setdiff1d(np.arange(before.shape[1]), writing.rows)
        after = after + (before[:, others] - after[:, others]).mean(1, keepdims=True)
    return before, after


def _writings(case: Case) -> list[tuple[Pass, Writing]]:
    """The writes that the projection saw; one that it did not see is storage.write-through's."""
    return [(s, s.writing) for s in case.passes if s.writing is not None and _moves(s.writing)]


def _follows(writing: Writing, token: int) -> bool:
    """Whether the token's logit is made of the row that was written; else nothing can be said of it by writing that row."""
    return bool(np.any(writing.before[:, token] != writing.after[:, token]) or not np.any(writing.after[:, token]))


_NO_WRITE = "no row can be written that the pass does not read (the table is computed, or every row is read)"
_UNMOVED = "a write to the table does not move the logits (see storage.write-through)"


def _no_write(case: Case, otherwise: str = "") -> str:
    """Why no relation by writing was asked: ``otherwise`` where writes were made that the projection saw."""
    if _writings(case):
        return otherwise
    return _UNMOVED if any(seen.writing is not None for seen in case.passes) else _NO_WRITE


@requirement(
    "projection.own-column",
    statement="Changing a row that no lookup of the pass reads changes exactly that token's logit.",
    formula="E[v] := x  =>  logit_w changes only for w = v",
    source="the column v of h E^T is h . E_v and nothing else",
    why="If a token's row moves the logits of other tokens, the tokens share something that the table does not "
    "show, and what is learnt about one changes the others.",
    example="""
        import numpy as np
        E, h = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]]), np.array([2.0, 1.0])
        changed = np.array([[1.0, 0.0], [0.0, 2.0], [9.0, 1.0]])  # another row for token 2
        print(h @ changed.T - h @ E.T)  # -> [ 0.  0. 12.]
        # broken: the mean row is taken off every row
        centred = lambda table: h @ (table - table.mean(0)).T
        print((centred(changed) - centred(E)).round(1))  # -> [-4. -4.  8.]
    """,
)
def own_column(case: Case) -> Finding:
    writings = _writings(case)
    for seen, writing in writings:
        before, after = _changes(seen, writing)
        others = np.setdiff1d(np.arange(before.shape[1]), writing.rows)
        finite: Array = np.asarray(np.isfinite(before[:, others]).all(0))
        others = others[finite]
        normalized = seen.declared.log_probabilities or (seen.explained.found and seen.explained.normalized)
        allowed = tolerances.bystanders(before[:, others], seen.dtype, writing.exact and not normalized)
        gap = np.abs(after[:, others] - before[:, others])
        if others.size and gap.max() > allowed:
            token = int(others[int(gap.max(0).argmax())])
            return failed(
                _coupled(seen, writing),
                f"rows {writing.rows.tolist()} were written and the logit of token {token} moved by {gap.max():.3g}",
                token=token,
                rows=writing.rows.tolist(),
            )
    return passed("only the written tokens' logits moved") if writings else skipped(_no_write(case))


def _coupled(seen: Pass, writing: Writing) -> str:
    form = seen.explained
    if not_transposed(seen.projected, writing, seen.dtype):
        return "not-transposed"
    if form.found:
        return "unknown"
    return _CAUSES.get(form.problem, "unknown")


@requirement(
    "projection.zero-row",
    statement="The logit of a zero row is zero.",
    formula="E[v] := 0  =>  logit_v = 0 (b_v with a declared bias)",
    source="h . 0 = 0: what is left is a bias",
    bug="huggingface/peft#3651",
    why="What a row of zeros still scores does not come from the table: it is a bias, or a second matrix.",
    example="""
        import numpy as np
        E, h = np.array([[1.0, 0.0], [0.0, 0.0], [3.0, 1.0]]), np.array([2.0, 1.0])
        print(h @ E.T)  # -> [2. 0. 7.]
        # broken: something is added behind the table's back
        hidden_bias = np.array([0.0, 0.5, 0.0])
        print(h @ E.T + hidden_bias)  # -> [2.  0.5 7. ]
    """,
)
def zero_row(case: Case) -> Finding:
    asked = False
    for seen, writing in _writings(case):
        if "zero" not in writing.roles or case.declared.output_bias or case.declared.log_probabilities:
            continue
        form = seen.explained
        if form.problem == "weak" or (form.found and (form.bias is not None or form.normalized)):
            continue  # found out and named by projection.bias or projection.normalization
        if form.asked and not form.found:
            continue  # no map was found at all: projection.linear
        token = int(writing.rows[writing.roles.index("zero")])
        if not _follows(writing, token):
            continue
        asked = True
        value = float(np.abs(writing.after[:, token]).max())
        if value > tolerances.zero_logit(writing.before, seen.dtype):
            return failed(
                "undeclared-bias",
                f"the row of token {token} was set to zero and its logit is {value:.4g}",
                token=token,
                expected=0.0,
                seen=value,
            )
    return (
        passed("a zero row gives a zero logit")
        if asked
        else skipped(
            _no_write(case, "a bias or a normalization stands in the way, no map was found, or the row is not read")
        )
    )


@requirement(
    "projection.equal-rows",
    statement="Two tokens with equal rows have equal logits.",
    formula="E[v] := E[w]  =>  logit_v = logit_w",
    source="logits depend on a token through its row alone",
    why="Two tokens with the same row are one token to the model. If their logits differ, something other than the "
    "table tells them apart.",
    example="""
        import numpy as np
        E, h = np.array([[1.0, 0.0], [3.0, 1.0], [3.0, 1.0]]), np.array([2.0, 1.0])
        print(h @ E.T)  # -> [2. 7. 7.]
        # broken: a factor for each token
        factor = np.array([1.0, 1.0, 2.0])
        print(factor * (h @ E.T))  # -> [ 2.  7. 14.]
    """,
)
def equal_rows(case: Case) -> Finding:
    asked = False
    why = "a bias or scale per token stands in the way"
    for seen, writing in _writings(case):
        if "copy" not in writing.roles or case.declared.output_bias or case.declared.scale_parameter:
            continue
        form = seen.explained
        if form.problem == "weak" or (form.found and form.bias is not None):
            continue
        token = int(writing.rows[writing.roles.index("copy")])
        if not _follows(writing, token):
            why = _UNMOVED
            continue
        one, other = writing.after[:, token], writing.after[:, writing.source]
        gap = float(np.abs(one - other).max())
        magnitude = np.abs(np.stack([one, other])).max() + np.abs(writing.before).max()
        allowed = tolerances.equal_logits(magnitude, seen.dtype, seen.table_dtype)
        if gap <= allowed:
            asked = True
            continue
        cause, words = "undeclared-scale", f"logits that differ by {gap:.4g}"
        if form.asked and not form.found:
            cause, words = _between(one, other, allowed)
            if not cause:
                why = "equal rows have other logits, and no map from h to them was found (see projection.linear)"
                continue
        return failed(
            cause,
            f"tokens {token} and {writing.source} have equal rows and {words}",
            token=token,
            other=writing.source,
        )
    return passed("equal rows give equal logits") if asked else skipped(_no_write(case, why))


def _between(one: Array, other: Array, allowed: float) -> tuple[str, str]:
    """What stands between the logits (N,) of two tokens with equal rows, "" where it is neither a factor nor a constant."""
    if min(np.ptp(one), np.ptp(other)) <= tolerances.FITTED * allowed:
        return "", ""
    factor = float((one * other).sum() / (other * other).sum())
    if np.abs(one - factor * other).max() <= tolerances.FITTED * allowed:
        return "undeclared-scale", f"logits of which one is {factor:.4g} times the other"
    constant = float((one - other).mean())
    if np.abs(one - other - constant).max() <= tolerances.FITTED * allowed:
        return "undeclared-bias", f"logits that differ by {abs(constant):.4g} at every position"
    return "", ""
