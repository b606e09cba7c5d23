"""The zoo's labels, shown by direct means: rows written, differences taken, least squares solved."""

from __future__ import annotations

import copy
import io
import math
import pickle
import warnings

import pytest
import torch
from torch import nn

from . import BROKEN, CORRECT, ENTRIES, Entry
from .truth import IDS, SEEN, UNSEEN, change, gap, logits, logits_of, parameters, residual

TIED = [e for e in CORRECT if e.tied]


@pytest.fixture(autouse=True)
def _quiet():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch.set_num_threads(threads)


def built(entry: Entry) -> nn.Module:
    return entry.build().eval()


def tolerance(model: nn.Module) -> float:
    small = {p.dtype for p in parameters(model)} & {torch.float16, torch.bfloat16}
    return 2e-2 if small else 1e-5


def plain(entry: Entry, model: nn.Module) -> torch.Tensor:
    """The logits with everything that is declared taken off."""
    out, said = logits(model).double(), entry.declared
    if said.get("logit_softcap"):
        cap = said["logit_softcap"]
        out = cap * torch.atanh((out / cap).clamp(-1 + 1e-12, 1 - 1e-12))
    bias = said.get("output_bias")
    if isinstance(bias, str):
        out = out - dict(model.named_parameters())[bias].detach().double()
    if said.get("log_probabilities"):
        out = out - out.mean(-1, keepdim=True)
    return out


def array(entry: Entry, model: nn.Module) -> torch.Tensor:
    if entry.effective is not None:
        return entry.effective(model).detach()
    rows = entry.table(model)
    return torch.stack([r.detach() for r in rows])


def assert_one_table(entry: Entry, model: nn.Module) -> None:
    """A write to an unseen row moves its own logit alone; a write to a seen row moves other logits too."""
    rows = entry.table(model)
    size = logits(model).abs().max().item()
    own, others = change(model, rows, UNSEEN)
    assert own > 1e-3 * size
    if not entry.declared.get("log_probabilities"):
        assert others <= 1e-5 * max(1.0, size)
    _, others = change(model, rows, 3)
    assert others > 1e-4 * size


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_runs(entry: Entry) -> None:
    model = built(entry)
    out = logits(model)
    assert out.dim() == 3 and out.shape[:2] == (2, 8) and torch.isfinite(out).all()
    assert out.abs().max() > 1e-3
    assert logits(model, IDS[:1, :1]).shape[:2] == (1, 1)
    assert logits(model, IDS.repeat(1, 2)).shape[:2] == (2, 16)
    again = logits(model)
    if entry.cause == "nondeterministic":
        assert not torch.equal(out, again)
    elif "max_norm" in entry.why or "second call" in entry.why:
        assert torch.allclose(out, again, atol=1e-4)
    else:
        assert torch.equal(out, again)
        assert torch.equal(out, logits(built(entry)))


@pytest.mark.parametrize("entry", TIED, ids=lambda e: e.name)
def test_writes_reach_both_uses(entry: Entry) -> None:
    assert_one_table(entry, built(entry))


@pytest.mark.parametrize("entry", TIED, ids=lambda e: e.name)
def test_gradient_is_the_sum_over_both_uses(entry: Entry) -> None:
    if entry.declared.get("frozen"):
        assert all(not p.requires_grad for p in table_parameters(entry, built(entry)))
        return
    if not entry.exact:
        model = built(entry)
        assert gap(model, entry.table, [UNSEEN], step=0.3, double=False) < 0.05
        return
    assert gap(built(entry), entry.table, [UNSEEN]) < 1e-5
    masked = entry.declared.get("padding_row", ())
    masked = {masked} if isinstance(masked, int) else set(masked)
    seen = gap(built(entry), entry.table, [r for r in SEEN if r not in masked])
    if entry.declared.get("input_gradient_scale", 1.0) == 1.0:
        assert seen < 1e-5
    else:
        assert seen > 1e-2
    for row in masked:
        assert gap(built(entry), entry.table, [row]) > 1e-3


def table_parameters(entry: Entry, model: nn.Module) -> list[nn.Parameter]:
    """The listed parameters whose memory the rows lie in."""
    spots = {r.untyped_storage().data_ptr() for r in entry.table(model)}
    return [p for p in parameters(model) if p.untyped_storage().data_ptr() in spots]


@pytest.mark.parametrize("entry", TIED, ids=lambda e: e.name)
def test_logits_are_projections(entry: Entry) -> None:
    model = built(entry)
    names = dict(model.named_parameters())
    if entry.declared.get("output_bias") is True:
        for p in names.values():
            if p.shape == (logits(model).shape[-1],):
                assert not p.detach().abs().max() > 0, "name the bias in the declaration, so that it can be taken off"
    out = plain(entry, model)
    table = array(entry, model)[: out.shape[-1]].double()
    if entry.declared.get("log_probabilities"):
        table = table - table.mean(0)
        assert torch.allclose(logits(model).logsumexp(-1), torch.zeros(()), atol=1e-5)
    assert residual(out, table) < (tolerance(model) if entry.exact else 2e-2)


@pytest.mark.parametrize("entry", CORRECT, ids=lambda e: e.name)
def test_count(entry: Entry) -> None:
    model = built(entry)
    trainable = [p for p in parameters(model) if p.requires_grad]
    assert [id(p) for p in model.parameters()] == [id(p) for p in parameters(model)]
    spots = [(p.untyped_storage().data_ptr(), p.storage_offset(), p.numel()) for p in trainable]
    assert len(spots) == len(set(spots))
    if "parameter_count" in entry.declared:
        assert sum(p.numel() for p in trainable) == entry.declared["parameter_count"]


@pytest.mark.parametrize("entry", CORRECT, ids=lambda e: e.name)
def test_loss_at_initialization(entry: Entry) -> None:
    out = logits(built(entry)).float()
    size = math.log(out.shape[-1])
    loss = out.logsumexp(-1).mean() - out.mean()
    assert abs(loss.item() - size) < max(0.5, 0.1 * size)


def trained(entry: Entry, model: nn.Module) -> nn.Module:
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(params, lr=0.02, momentum=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        scores = logits_of(model(IDS)).float()
        (scores.logsumexp(-1) - scores[..., 2]).mean().backward()
        optimizer.step()
    return model


def _pickled(model: nn.Module) -> nn.Module:
    return pickle.loads(pickle.dumps(model))


def _saved(model: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def _frozen_and_thawed(model: nn.Module) -> nn.Module:
    flags = [p.requires_grad for p in model.parameters()]
    model.requires_grad_(False)
    for p, flag in zip(model.parameters(), flags, strict=True):
        p.requires_grad_(flag)
    return model


OPERATIONS = {
    "deepcopy": copy.deepcopy,
    "pickle": _pickled,
    "save": _saved,
    "double": lambda m: m.double().float(),
    "to-double": lambda m: m.to(torch.float64).to(torch.float32),
    "bfloat16": lambda m: m.bfloat16().float(),
    "load": lambda m: m,
    "modes": lambda m: m.train().eval(),
    "freeze": _frozen_and_thawed,
}
CASTS = ("double", "to-double", "bfloat16")


@pytest.mark.parametrize("entry", TIED, ids=lambda e: e.name)
def test_operations_keep_the_tie(entry: Entry) -> None:
    state = copy.deepcopy(trained(entry, entry.build()).state_dict())
    expected = None
    names = len(table_parameters(entry, entry.build()))
    for name, operation in OPERATIONS.items():
        model = entry.build().eval()
        model.load_state_dict(state)
        expected = logits(model) if expected is None else expected
        assert torch.equal(logits(model), expected), "load"
        if name in CASTS and any(p.dtype != torch.float32 for p in parameters(model)):
            continue
        try:
            model = operation(model)
        except Exception as refusal:
            assert name in ("deepcopy", "pickle", "save"), (name, refusal)
            continue
        assert torch.allclose(logits(model), expected, atol=1e-1 if name == "bfloat16" else 1e-6), name
        assert_one_table(entry, model)
        assert len(table_parameters(entry, model)) == names, name


@pytest.mark.parametrize("entry", [e for e in CORRECT if not e.tied], ids=lambda e: e.name)
def test_untied_is_untied(entry: Entry) -> None:
    model = built(entry)
    own, _ = change(model, entry.table(model), UNSEEN)
    assert own == 0.0


@pytest.mark.parametrize("entry", BROKEN, ids=lambda e: e.name)
def test_defect_is_there(entry: Entry) -> None:
    if entry.show is None:
        pytest.skip("nothing simple shows it")
    assert entry.show(built(entry))


def test_labels() -> None:
    assert all(e.cause and e.why for e in BROKEN)
    assert all(e.table for e in CORRECT)
