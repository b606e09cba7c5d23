"""A sequence of operations as a script that shows, without tiecheck, how the tie is lost."""

from __future__ import annotations

import contextlib
import io
import itertools
import tempfile
import textwrap
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tiecheck.conformance.evidence import Chain
from tiecheck.conformance.foreign import foreign
from torch import nn

REPEATS = (1, 2, 4, 8, 16, 32)

_STEP = """
def step(model, optimizer):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(logits(model).flatten(0, -2), ids.flatten()).backward()
    optimizer.step()
"""
_LOGITS = """
def logits(model):
    output = model(ids)
    output = getattr(output, "logits", output)
    return output[0] if isinstance(output, tuple) else output
"""
_MOVED = """
table = {table}
model.train({train})
with torch.no_grad():
    before = logits(model)
    table[3] += 1  # no lookup reads this row
    print(torch.equal(logits(model), before))  # True: the projection does not read it, either
"""
_GRADIENT = """
table = {table}
model.train({train})
loss = logits(model).sum()
loss.backward()
with torch.no_grad():
    table[3] += 1  # no lookup reads this row, so that the loss is linear in it
    print(torch.allclose(logits(model).sum() - loss, table.grad[3].sum(), rtol=1e-2))  # False: its gradient is another
"""


@dataclass(frozen=True)
class Shown:
    """Lines that show a loss, and what they print where it is there."""

    lines: str
    printed: str


def script(building: str, chain: Chain, build: Callable[[], nn.Module]) -> str:
    """Python that builds the model, performs the operations and prints what is wrong.

    It is run before it is given away. To look at a model is to call it and to change its mode, so that what tiecheck found
    may take more of the same where nobody looks.

    Args:
        building: lines that define ``build()``.
        chain: what was found.
        build: what those lines define.
    """
    several = _shown(chain)
    for times, shown in itertools.product(REPEATS, several):
        text = _text(chain, times, shown.lines)
        if _prints(text, build, shown.printed):
            return f"{_imports(text)}\n{building}\n{text}"
    text = _text(chain, 1, several[0].lines if several else "")
    return f"{_imports(text)}\n{building}\n{text}# by itself this shows nothing: it takes further calls between the operations\n"


def _shown(chain: Chain) -> list[Shown]:
    """What may show a loss, the plainest first."""
    lookup, head = chain.ends
    out = []
    if lookup and head and lookup != head:
        out.append(Shown(f"print({_reached(head)} is {_reached(lookup)})  # False: two tables", "False"))
    if lookup:
        for form, printed in ((_MOVED, "True"), (_GRADIENT, "False")):
            for train in (False, True):
                out.append(Shown(form.format(table=_reached(lookup), train=train).strip(), printed))
    return out


def _imports(text: str) -> str:
    plain = [name for name in ("copy", "pickle") if f"{name}." in text]
    further = [name for name in ("safetensors.torch", "torch.optim.swa_utils") if name in text]
    return "\n".join(f"import {name}" for name in (*plain, "torch", *further))


def _text(chain: Chain, times: int, shown: str) -> str:
    body = "\n".join(chain.lines)
    if times > 1:
        body = f"for _ in range({times}):\n" + textwrap.indent(body, "    ")
    calls = "ids" in body or "logits(" in shown or "step(model" in body
    parts = ["ids = torch.tensor([[0, 1, 1]])"] if calls else []
    parts += [_LOGITS] if "logits(" in shown or "step(model" in body else []
    parts += [_STEP] if "step(model" in body else []
    parts += ["model = build()"]
    parts += ["optimizer = torch.optim.AdamW(model.parameters())"] if "optimizer.state_dict" in body else []
    parts += [body, f"# {chain.lost.id or 'seen'}: {chain.lost.message}".replace("\n", " "), shown]
    return "\n".join(part for part in parts if part) + "\n"


def _prints(text: str, build: Callable[[], nn.Module], expected: str) -> bool:
    """Whether the script, run as it stands, prints what it promises."""
    printed = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        try:
            with foreign(), _no_warnings():
                exec(compile(f"{_imports(text)}\n{text}", "<script>", "exec"), {"build": build})
        except Exception:
            return False
    return printed.getvalue().strip() == expected


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _reached(name: str) -> str:
    """How Python reaches a tensor by its dotted name."""
    return "model" + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in name.split("."))
