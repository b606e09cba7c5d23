"""`assert_tied`: that the two ends are still one table, by identity, in microseconds once it is known where they are."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from .errors import NotJudged

if TYPE_CHECKING:
    from .protocol import Ends

# By identity, because a module may define equality; a dead model's entry goes before its number can come again.
_known: dict[int, tuple[weakref.ref[Any], Ends]] = {}


def assert_tied(model: Any, optimizer: Any = None, ids: Any = None) -> None:
    """Raise unless both ends of ``model`` are one table, held by one parameter, and ``optimizer`` holds it once.

        model = build(); model.load_state_dict(state)
        optimizer = AdamW(model.parameters())
        assert_tied(model, optimizer)       # and again wherever a tie gets lost: after loading, wrapping, resizing

    The first call finds both ends in one watched forward pass (no backward) on a few small ids, in the mode that the
    model is in, and puts the model and the random generators back as they were; hooks run. Where parameters are sharded
    the pass is a collective, so that every rank has to make the call. Where no pass can be made, or none shows the ends,
    the framework's own accessors are believed. On the meta device the pass runs without values.

    Later calls on the same model run nothing: they compare identity, in at most 50 microseconds for GPT-2. What they
    compare is read from the model each time, so that a replaced module or parameter is noticed; then the ends are found
    again, by identity where each end's module holds its own parameter, else by another pass.

    It looks at identity, and therefore cannot see:

    - what is done with the table's values: a scale, a bias, a soft cap, rows that are masked or permuted, a cast to fewer
      bits, a lookup or a projection through ``detach()``, gradients that a hook or a fused kernel changes;
    - a use that the watched pass did not make: in the other mode, at longer inputs, from the second call on, or after
      ``forward`` itself was changed;
    - where it had to believe accessors: that forward really uses what they name;
    - the other end of the optimizer: state and master copies that it keeps by itself, and steps that skip the table;
    - the other ranks: each asks for itself, and whether their tables agree is another question.

    `check` sees these. Equal values are no tie, nor are two parameters over one memory.

    Args:
        model: a model of any installed backend that can say where its ends are; a ``torch.nn.Module``, wrapped or not.
        optimizer: one, or a list of several that share the parameters; what has ``param_groups``. It must hold the very
            parameter once in all, and no orphan of its shape beside it; a frozen table need not be held.
        ids: token ids (B, T) for the pass, for a model that refuses the default (tokens 0 and 1, at most 2 x 8).

    Raises:
        TieLost: an AssertionError that says where both ends are, what is wrong, and what mends it.
        NotJudged: a ValueError: the ends cannot be found, or ``optimizer`` is none.
    """
    ends = ends_of(model, ids)
    if optimizer is not None:
        ends.listed(model, optimizer)


def ends_of(model: Any, ids: Any = None) -> Ends:
    """Both ends of a tied model, remembered as long as they are unchanged. Raises as `assert_tied` does."""
    entry = _known.get(id(model))
    before = entry[1] if entry is not None and entry[0]() is model else None
    if before is not None and before.unchanged(model):
        return before
    return _find(model, ids, before)


def _find(model: Any, ids: Any, before: Ends | None) -> Ends:
    from .targets import adapter_for

    adapter = adapter_for(model)
    find = getattr(adapter, "ends_of", None)
    if find is None:
        raise NotJudged(f"its backend cannot say where the two ends of a {type(model).__name__} are")
    key = id(model)
    _known.pop(key, None)  # where the tie is lost, the next call finds out afresh
    ends: Ends = find(model, ids, before)
    _known[key] = weakref.ref(model, lambda _: _known.pop(key, None)), ends
    return ends
