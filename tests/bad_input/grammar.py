"""A seeded grammar of odd targets: right and broken models, harmless oddities anywhere, hostile names, hopeless ends."""

from __future__ import annotations

import random
import textwrap

from bad_input.kinds import ODD, RAISED, Kind

HEAD = """
import atexit, builtins, contextlib, gc, io, logging, os, random, signal, subprocess, sys, tempfile, threading, time, warnings
import numpy as np
import torch
from torch import nn

FORKS = []
def fork():  # a few: in what recurses, each child would have as many again
    FORKS.append(1)
    return os.fork() if len(FORKS) < 4 else 1
"""

# What a target may do and still be judged, as lines of Python.
ODDITIES = {
    "prints": "with contextlib.suppress(ValueError): print('noise \\x1b[31m')",
    "prints megabytes": "with contextlib.suppress(ValueError, AttributeError): sys.stderr.write('x' * 2_000_000 + '\\n')",
    "writes below Python": "with contextlib.suppress(OSError): os.write(1, b'raw noise\\n')",
    "writes to what the interpreter began with": "with contextlib.suppress(OSError, ValueError): sys.__stdout__ and sys.__stdout__.write('behind the back\\n')",
    "takes standard output": "sys.stdout = io.StringIO()",
    "takes standard error": "sys.stderr = io.StringIO()",
    "takes both away": "sys.stdout = sys.stderr = None",
    "closes standard output": "sys.stdout is not None and sys.stdout.close()",
    "closes standard error": "sys.stderr is not None and sys.stderr.close()",
    "closes what the interpreter began with": "sys.__stderr__.close()",
    "closes descriptor 1": "with contextlib.suppress(OSError): os.close(1)",
    "closes descriptor 2": "with contextlib.suppress(OSError): os.close(2)",
    "closes standard input": "sys.stdin is not None and sys.stdin.close()",
    "sets the default dtype": "torch.set_default_dtype(torch.float64)",
    "sets a short default dtype": "torch.set_default_dtype(torch.bfloat16)",
    "sets the default device": "torch.set_default_device('cpu')",
    "seeds": "torch.manual_seed(5); random.seed(5); np.random.seed(5)",
    "sets threads": "torch.set_num_threads(2)",
    "turns gradients off": "torch.set_grad_enabled(False)",
    "wants determinism": "torch.use_deterministic_algorithms(True)",
    "sets precision": "torch.set_float32_matmul_precision('medium')",
    "hooks every module": "nn.modules.module.register_module_forward_hook(lambda m, i, o: None)",
    "leaves the folder": "os.chdir('/')",
    "leaves for a folder that goes": "with tempfile.TemporaryDirectory() as d: os.chdir(d)",
    "changes the path": "sys.path.insert(0, '/nowhere')",
    "changes the arguments": "sys.argv[:] = ['x']",
    "changes the environment": "os.environ['TIECHECK_ODD'] = 'x'; os.environ.pop('HOME', None)",
    "makes warnings errors": "warnings.simplefilter('error')",
    "silences warnings": "warnings.simplefilter('ignore')",
    "replaces the showing of warnings": "warnings.showwarning = lambda *a, **k: None",
    "makes NumPy raise": "np.seterr(all='raise')",
    "handles interrupts": "with contextlib.suppress(ValueError): signal.signal(signal.SIGINT, signal.SIG_IGN)",
    "handles terminations": "with contextlib.suppress(ValueError): signal.signal(signal.SIGTERM, lambda *a: None)",
    "sets an alarm": "with contextlib.suppress(ValueError): signal.signal(signal.SIGALRM, lambda *a: None); signal.alarm(60)",
    "stays at the exit": "atexit.register(lambda: None)",
    "starts a thread": "threading.Thread(target=time.sleep, args=(0.05,), daemon=True).start()",
    "starts a thread that stays": "threading.Thread(target=time.sleep, args=(1,)).start()",
    "forks a child that ends": "fork() or os._exit(7)",
    "forks a child that goes on": "fork()",
    "forks a child that raises": "if fork() == 0: raise SystemExit(5)",
    "starts a process": "subprocess.run(['echo', 'child'], check=False)",
    "sets hooks of the interpreter": "sys.excepthook = sys.displayhook = sys.unraisablehook = lambda *a: None",
    "sets a profile": "sys.setprofile(lambda *a: None)",
    "sets a trace": "sys.settrace(lambda *a: None)",
    "sets the recursion limit": "sys.setrecursionlimit(2500)",
    "stops collecting": "gc.disable()",
    "logs": "logging.basicConfig(); logging.getLogger().warning('logged')",
    "raises and catches": "\ntry: raise SystemExit(9)\nexcept BaseException: pass",
    "leaves rubbish": "rubbish = [[]]; rubbish[0].append(rubbish)",
}
GRADIENTS = "turns gradients off"  # in forward it is no oddity: nothing trains then
ONCE = ("forks a child that goes on", "forks a child that raises", "hooks every module", "prints megabytes", "sets a trace",
        "starts a thread that stays", "starts a process", "sets a profile", "logs")  # fmt: skip

NAMES = [
    "plain", "with space", "new\nline", "re\rturn", "\x1b[31mred", "nul\x00", "\ud800", "\u202eback", "[red]bold[/red]", "[/]", "<b>x</b>",
    "<script>alert(1)</script>", "&amp;", "'quote\"", "`tick`", "$(x)", "%s %d", "{0}", "{{7*7}}", "\\", "|pipe|", "# head", "@octocat",
    "ü", "名前", "x" * 300, "-dash", "weight", "\u2028", "\ufffe", "]]>", "tab\t", "__class__x",
]  # fmt: skip
FILES = [
    "m",
    "with space",
    "ü",
    "[red]",
    "<b>",
    "a'b",
    "\x1b[31m",
    "new\nline",
    "a:b",
    "-dash",
    "numpy",
    "a.b.c",
    "%s",
    "名前",
]

HOPELESS = {
    "returns junk": "return {junk}",
    "raises": "raise {error}",
    "recurses": "return make()",
    "hangs": "while True: pass",
    "hangs and catches": "\nwhile True:\n    try:\n        while True: pass\n    except Exception: pass",
}
JUNK = [
    "None",
    "'text'",
    "3",
    "(1, 2)",
    "[]",
    "object()",
    "nn.Module",
    "iter([])",
    "Exception('x')",
    "lambda: 1",
    "nn.Linear(2, 2)",
]


def fuzzed(count: int, first: int = 0) -> list[Kind]:
    """So many targets; the number of one is its seed."""
    return [_target(number) for number in range(first, first + count)]


def _target(seed: int) -> Kind:
    rng = random.Random(seed)
    end = rng.choices(["right", "wrong", "factory", "forward", "file"], [45, 20, 15, 15, 5])[0]
    odd = rng.sample(sorted(ODDITIES), rng.choice([0, 1, 1, 2, 2, 3, 5]))
    places: dict[str, list[str]] = {"file": [], "factory": [], "init": [], "forward": [], "after": []}
    for name in odd:
        every = ("file", "factory", "init", "after", *(() if name in (*ONCE, GRADIENTS) else ("forward",)))
        places[rng.choice(every)].append(ODDITIES[name])
    text = repr(rng.choice(NAMES))
    error = rng.choice(
        [*RAISED.values(), f"ValueError({text})", f"OSError({text})", f"type({text}, (Exception,), {{}})()"]
    )
    error = "ValueError(1)" if error == "'a string'" else error
    hang = False
    last = {"factory": "", "forward": "", "file": ""}
    if end in last:
        way = rng.choices(sorted(HOPELESS), [2, 1, 10, 1, 6] if end == "factory" else [1, 1, 12, 0, 0])[0]
        hang = "hangs" in way
        last[end] = HOPELESS[way].format(junk=rng.choice(JUNK), error=error)
    code = HEAD + ODD + _written(rng, end, places, last)
    file = f"{rng.choice(FILES) if rng.random() < 0.3 else 'm'}.py"
    words = ["run", f"{file}:make", "--seed", str(rng.randrange(5))]
    if file.startswith("-"):
        words = [*words[:1], *words[2:], "--", words[1]]
    # What costs a while with each of the many builds of a whole run is asked of a short one.
    options = [] if rng.random() < 0.25 and not set(odd) & set(ONCE) else ["--profile", "quick"]
    options += ["--timeout", "1"] if hang else rng.choice([[], [], [], ["--timeout", "60"]])
    options += rng.choice(
        [[], [], ["--json", "r.json"], ["--html", "r.html"], ["--junit", "r.xml"], ["--markdown", "r.md"]]
    )
    words[1:1] = options
    statuses = {"right": (0,), "wrong": (1,)}.get(end, (2,))
    return Kind(f"{seed}: {end}: {', '.join(odd)}", tuple(words), {file: code}, statuses, noisy=True, seconds=25)


def _written(rng: random.Random, end: str, places: dict[str, list[str]], last: dict[str, str]) -> str:
    """The file: a model, and its factory."""
    table, mix, head, kind = (rng.choice(NAMES) if rng.random() < 0.5 else None for _ in range(4))
    names = {"table": table or "emb", "mix": f"{mix or 'mix'}_", "head": f"{head or 'head'}__"}
    lines = {
        "file": "\n".join([*places["file"], last["file"]]),
        "init": _at(places["init"], 8),
        "forward": _at([*places["forward"], last["forward"]], 8),
        "factory": _at([*places["factory"], last["factory"]], 4),
        "after": _at(places["after"], 4),
    }
    return f"""
{lines["file"]}
class Model(nn.Module):
    def __init__(self):
        super().__init__()
{lines["init"]}
        for name, part in (({names["table"]!r}, nn.Embedding(13, 6)), ({names["mix"]!r}, nn.Linear(6, 6)), ({names["head"]!r}, nn.Linear(6, 13, bias=False))):
            self.add_module(name, part)
        if {end != "wrong"}:
            self._modules[{names["head"]!r}].weight = self._modules[{names["table"]!r}].weight

    def forward(self, ids):
{lines["forward"]}
        x = self._modules[{names["table"]!r}](ids)
        return self._modules[{names["head"]!r}](torch.tanh(self._modules[{names["mix"]!r}](x)) + x.cumsum(1) / 3)

Model.__qualname__ = Model.__name__ = {kind or "Model"!r}.replace(chr(0), "0").encode("ascii", "replace").decode() if {kind is not None} else "Model"

def make():
{lines["factory"]}
    model = Model()
{lines["after"]}
    return model
"""


def _at(lines: list[str], spaces: int) -> str:
    return textwrap.indent("\n".join(line for line in lines if line), " " * spaces)
