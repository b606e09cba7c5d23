"""Bad input, kind by kind: broken Python in every place of a target, what no factory should return, nonsense in every option."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

BASE = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self, vocabulary=11, width=6, tied=True):
        super().__init__()
        self.emb = nn.Embedding(vocabulary, width)
        self.mix = nn.Linear(width, width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.head.weight = self.emb.weight

    def forward(self, ids):
        x = self.emb(ids)
        return self.head(torch.tanh(self.mix(x)) + x.cumsum(1) / 3)

"""


@dataclass(frozen=True)
class Kind:
    """One bad input.

    Attributes:
        name: what is bad, in a few words.
        words: of the command line; "{folder}" is the folder in which it runs.
        files: beside it, by name: text, or bytes; None is a folder.
        statuses: that it may end with.
        noisy: the target prints by itself.
        says: words that the sentence must hold.
        seconds: it may take.
    """

    name: str
    words: tuple[str, ...]
    files: dict[str, str | bytes | None] = field(default_factory=dict)
    statuses: tuple[int, ...] = (2,)
    noisy: bool = False
    says: str = ""
    seconds: float = 30.0


def coded(name: str, code: str, factory: str = "make", *words: str, base: str = BASE, **more: object) -> Kind:
    """A target in a file ``m.py``, after the code of a right model."""
    quick = () if "--profile" in words else ("--profile", "quick")
    return Kind(
        name,
        ("run", f"m.py:{factory}", *quick, *words),
        {"m.py": base + textwrap.dedent(code)},
        **more,  # type: ignore[arg-type]
    )


def forward(name: str, body: str, *words: str, **more: object) -> Kind:
    """A model whose forward is broken; ``self.right(ids)`` is what a right one returns."""
    code = f"""
class M(Model):
    def right(self, ids):
        return super().forward(ids)
    def forward(self, ids):
{textwrap.indent(textwrap.dedent(body), " " * 8)}
"""
    return coded(name, code, "M", *words, **more)


def method(name: str, body: str, *words: str, **more: object) -> Kind:
    """A model with something more in its class."""
    return coded(name, f"class M(Model):\n{textwrap.indent(textwrap.dedent(body), ' ' * 4)}", "M", *words, **more)


ODD = """
class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")
class Wrong(Exception):
    def __str__(self):
        return 3
class Cruel(Exception):
    def __str__(self):
        raise SystemExit(0)
    __repr__ = __str__
class Base(BaseException):
    pass
class Text(str):
    def splitlines(self, *a):
        raise OSError("no lines")
    strip = __getitem__ = __iter__ = splitlines
class Sly(Exception):
    def __str__(self):
        return Text("sly")
class Meta(type):
    @property
    def __name__(cls):
        raise KeyError("no name")
class Nameless(Exception, metaclass=Meta):
    pass
"""

# An exception, as it is raised; what nobody should raise among them.
RAISED = {
    "ValueError": "ValueError('a\\nb')",
    "SystemExit": "SystemExit(0)",
    "SystemExit with a text": "SystemExit('bye')",
    "KeyboardInterrupt": "KeyboardInterrupt()",
    "GeneratorExit": "GeneratorExit()",
    "StopIteration": "StopIteration(3)",
    "a BaseException": "Base('base')",
    "one without text": "AssertionError()",
    "one whose str raises": "Mute()",
    "one whose str is no string": "Wrong()",
    "one whose str exits": "Cruel()",
    "one whose str is a sly string": "Sly()",
    "one without a name": "Nameless('x')",
    "one of steering text": "ValueError('\\x1b[31m\\x00\\u202e\\ud800[red]<b>\\r\\nTraceback (most recent call last):')",
    "one of megabytes": "ValueError('x' * 5_000_000)",
    "a group": "ExceptionGroup('two', [ValueError(1), KeyError(2)])",
    "MemoryError": "MemoryError()",
    "LookupError": "LookupError('nothing here')",
    "a warning": "UserWarning('mind')",
    "a skip of pytest": "__import__('pytest').skip.Exception('not here')",
    "what is no exception": "'a string'",
}


def raised() -> list[Kind]:
    """Every exception, by a file, a factory, an ``__init__``, a forward and a property."""
    out = []
    for name, text in RAISED.items():
        out += [
            coded(f"the factory raises {name}", f"{ODD}\ndef make(): raise {text}"),
            forward(f"forward raises {name}", f"raise {text}", base=BASE + ODD),
        ]
    for name in ("SystemExit", "KeyboardInterrupt", "a BaseException", "one whose str raises", "StopIteration"):
        text = RAISED[name]
        out += [
            coded(f"the file raises {name}", f"{ODD}\nraise {text}\ndef make(): pass"),
            method(f"__init__ raises {name}", f"def __init__(self): raise {text}", base=BASE + ODD),
            forward(
                f"only the second call raises {name}",
                f"self.calls = getattr(self, 'calls', 0) + 1\nif self.calls > 1: raise {text}\nreturn self.right(ids)",
                base=BASE + ODD,
            ),
            method(
                f"__getattr__ raises {name}",
                f"def __getattr__(self, name): raise {text}",
                base=BASE + ODD,
            ),
            coded(
                f"the factory is a property that raises {name}",
                f"{ODD}\nclass K:\n    @property\n    def f(self): raise {text}\nk = K()",
                "k.f",
            ),
            coded(f"the module's __getattr__ raises {name}", f"{ODD}\ndef __getattr__(name): raise {text}", "nothing"),
        ]
    return out


FLAGGED = """
class Odd:
    __signature__ = 3
    def __call__(self): return Model()
class Exits:
    @property
    def __signature__(self): raise SystemExit(0)
    def __call__(self): return Model()
odd, exits, model = Odd(), Exits(), Model()
def one(tied): return Model(tied=tied)
def two(tied, config): return Model(tied=tied)
def place(tied=True, /): return Model(tied=tied)
def plain(): return Model()
def raises(tied=True): raise SystemExit(tied)
def junk(tied=True): return Model() if tied else None
def hopeless(tied=True):
    m = Model(tied=tied)
    if not tied: m.forward = lambda ids: exit(0)
    return m
"""


def flagged(spelling: str, *words: str, says: str = "") -> Kind:
    """The keyword of a factory, spelt wrongly, or one that cannot be built so."""
    return Kind(
        f"the flag {spelling} {' '.join(words)}",
        ("run", f"m.py:{spelling}", "--profile", "quick", *words, "--json", "r.json"),
        {"m.py": BASE + FLAGGED},
        says=says,
    )


KEYWORDS = [
    flagged("Model@", says="names no keyword behind the @"),
    flagged("@tied", says="named without a factory"),
    flagged("@", says="names no keyword behind the @"),
    flagged("Model@@tied", says="no keyword of a factory"),
    flagged("Model@tied@tied", says="no keyword of a factory"),
    flagged("Model@tied=False", says="no keyword of a factory"),
    flagged("Model@ tied", says="no keyword of a factory"),
    flagged("Model@-tied", says="no keyword of a factory"),
    flagged("Model@tied,width", says="no keyword of a factory"),
    flagged("Model@\x1b[31m", says="no keyword of a factory"),
    flagged("Model@" + "x" * 300, says="has no keyword"),
    flagged("Model@tide", says="did you mean 'tied'?"),
    flagged("Model@self", says="has no keyword 'self'"),
    flagged("nothing@tied", says="has no 'nothing'"),
    flagged("plain@tied", says="has no keyword 'tied'"),
    flagged("place@tied", says="by its position alone"),
    flagged("model@tied", says="no factory that takes 'tied'"),
    flagged("odd@tied", says="cannot be read"),
    flagged("exits@tied", says="cannot be read"),
    flagged("torch@tied", says="no factory that takes 'tied'"),
    flagged("Model@width", "--declare", "both", says="failed to build with width=True"),
    flagged("two", says="failed to build with tied=True"),
    flagged("two", "--declare", "both", says="failed to build with tied=True"),
    flagged("place", "--declare", "both", says="has no tie flag to turn"),
    flagged("plain", "--declare", "both", says="has no tie flag to turn"),
    flagged("model", "--declare", "both", says="has no tie flag to turn"),
    flagged("raises", "--declare", "both", says="failed to build with tied=True: SystemExit"),
    flagged("raises", "--declare", "untied", says="failed to build with tied=False: SystemExit"),
    flagged("junk", "--declare", "both", says="declared untied: what was built is a NoneType"),
    flagged("hopeless", "--declare", "both", says="declared untied: "),
    Kind("an @ in a module's target", ("run", "json:dumps@", "--json", "r.json"), says="names no keyword"),
    Kind("a keyword of a module's function", ("run", "json:dumps@idnent", "--json", "r.json"), statuses=(2,)),
]

PYTHON = [
    coded("a syntax error", "def make(:"),
    coded("a tab that does not fit", "def make():\n\tif 1:\n        pass"),
    coded("an import that is missing", "import no_such_package_at_all"),
    coded("a name that is missing from a package", "from torch import no_such_name"),
    coded("an import of itself", "import m\nm.make"),
    coded("recursion in the file", "def f(): f()\nf()"),
    coded("recursion in the factory", "def make(): return make()"),
    forward("recursion in forward", "return self.forward(ids)"),
    coded(
        "recursion in str of what is raised",
        "class E(Exception):\n    def __str__(self): return str(self)\ndef make(): raise E",
    ),
    coded("an assertion in the file", "assert False"),
    coded("an exit in the file", "import sys; sys.exit(0)"),
    coded("an empty file", "", base=""),
    coded("an f-string that is broken", "def make(): return f'{'"),
    coded("a factory with an argument", "def make(config): return Model()"),
    coded("a factory with a keyword", "def make(*, config): return Model()"),
    coded("a class with an argument", "class M(Model):\n    def __init__(self, config): pass", "M"),
    coded("an abstract class", "import abc\nclass M(abc.ABC):\n    @abc.abstractmethod\n    def f(self): ...", "M"),
    coded("a class whose __new__ gives another thing", "class M(Model):\n    def __new__(cls): return 3", "M"),
    coded("an attribute of a number", "make = 3", "make.real.no"),
    coded("an enum for a factory", "import enum\nclass make(enum.Enum):\n    a = 1"),
    coded(
        "a factory whose class lies",
        "class L:\n    @property\n    def __class__(self): raise SystemExit(3)\nmake = L()",
    ),
]

RETURNED = {
    "a class": "Model",
    "a string": "'a model'",
    "None": "None",
    "a number": "3.5",
    "a dict": "{'model': Model()}",
    "a list of models": "[Model(), Model()]",
    "a generator": "(Model() for _ in range(1))",
    "a lambda": "lambda: Model()",
    "an empty tuple": "()",
    "a model in a tuple": "(Model(),)",
    "a model and junk": "(Model(), 'tied, I think')",
    "a model and None": "(Model(), None)",
    "a model and a dict": "(Model(), {'tied': True})",
    "a declaration alone": "__import__('tiecheck.conformance', fromlist=['x']).Declaration()",
    "a model, a declaration and more": "(Model(), __import__('tiecheck.conformance', fromlist=['x']).Declaration(), 1)",
    "junk and a declaration": "('model', __import__('tiecheck.conformance', fromlist=['x']).Declaration())",
    "a wrong declaration": "(Model(), __import__('tiecheck.conformance', fromlist=['x']).Declaration(frozen=3))",
    "a tensor": "torch.zeros(3, 4)",
    "a parameter": "nn.Parameter(torch.zeros(3, 4))",
    "a state dict": "Model().state_dict()",
    "an optimizer": "torch.optim.SGD(Model().parameters(), lr=0.1)",
    "itself": "make",
    "a mock": "__import__('unittest.mock', fromlist=['x']).MagicMock()",
    "a module without forward": "nn.Module()",
    "an empty list of modules": "nn.ModuleList()",
    "an identity": "nn.Identity()",
    "an embedding alone": "nn.Embedding(5, 3).to('meta')",
    "a linear layer": "nn.Linear(4, 4)",
    "a model on meta": "Model().to('meta')",
    "a lazy layer": "nn.LazyLinear(5)",
    "a traced module of another input": "torch.jit.trace(nn.Linear(4, 4), torch.zeros(1, 4))",
    "a vocabulary of one": "Model(vocabulary=1)",
    "a vocabulary of none": "Model(vocabulary=0)",
    "a width of none": "Model(width=0)",
    "a loss": "nn.CrossEntropyLoss()",
    "a model made of halves that are NaN": "Model().apply(lambda m: [nn.init.constant_(p, float('nan')) for p in m.parameters()])",
}

LOGITS = {
    "None": "return None",
    "a string": "return 'logits'",
    "an array of NumPy": "return self.right(ids).detach().numpy()",
    "a list of numbers": "return self.right(ids).tolist()",
    "an empty tuple": "return ()",
    "an empty mapping": "return {}",
    "a mapping of other keys": "return {'\\x1b[31m[red]\\n<b>': self.right(ids), 3: 4}",
    "logits that are no tensor": "return {'logits': 3}",
    "a generator": "yield self.right(ids)",
    "a scalar": "return self.right(ids).sum()",
    "one dimension": "return self.right(ids).flatten()",
    "five dimensions": "return self.right(ids)[None, None]",
    "positions that are too many": "return self.right(torch.cat([ids, ids], 1))",
    "another batch": "return self.right(torch.cat([ids, ids]))[:, :1].expand(-1, 7, -1)",
    "no column": "return self.right(ids)[..., :0]",
    "one column": "return self.right(ids)[..., :1]",
    "whole numbers": "return self.right(ids).long()",
    "truths": "return self.right(ids) > 0",
    "complex numbers": "return self.right(ids).to(torch.complex64)",
    "NaN": "return self.right(ids) * float('nan')",
    "some NaN": "return self.right(ids).sqrt()",
    "infinities": "return self.right(ids) / 0.0",
    "zeros": "return self.right(ids) * 0",
    "constants": "return torch.ones(*ids.shape, 11)",
    "noise": "return torch.randn(*ids.shape, 11)",
    "its ids": "return ids",
    "a sparse tensor": "return self.right(ids).to_sparse()",
    "a tensor on meta": "return self.right(ids).to('meta')",
    "a tensor with a hostile attribute": "class O:\n    @property\n    def logits(self): raise SystemExit(0)\nreturn O()",
    "a mapping whose get raises": "class D(dict):\n    def get(self, *a): raise KeyboardInterrupt\nreturn D(logits=1)",
    "an object that answers everything": "return __import__('unittest.mock', fromlist=['x']).MagicMock()",
    "itself": "return self",
    "a quantized tensor": "return torch.quantize_per_tensor(self.right(ids), 0.1, 0, torch.qint8)",
    "a nested tensor": "return torch.nested.nested_tensor([self.right(ids)[0], self.right(ids)[0]])",
}

# torch itself says something about these.
WARNS = {"a vocabulary of none", "a width of none", "a quantized tensor", "a nested tensor"}

EXITS = "raise SystemExit(0)"

# Something of a module that the run calls, each broken so that no verdict can be had in the quick profile.
METHODS = [
    method("named_parameters raises", "def named_parameters(self, *a, **k): raise ValueError('names')"),
    method("named_parameters exits", f"def named_parameters(self, *a, **k): {EXITS}"),
    method("named_buffers exits", f"def named_buffers(self, *a, **k): {EXITS}"),
    method("named_modules raises", "def named_modules(self, *a, **k): raise ValueError('modules')"),
    method("modules exits", f"def modules(self): {EXITS}"),
    method("parameters exits", f"def parameters(self, *a, **k): {EXITS}"),
    method("parameters gives junk", "def parameters(self, *a, **k): return [1, 'two']", statuses=(1, 2)),
    method("named_parameters gives junk", "def named_parameters(self, *a, **k): return [('a', 3)]"),
    method("named_parameters gives no pairs", "def named_parameters(self, *a, **k): return [1]"),
    method("train raises", "def train(self, mode=True): raise ValueError('mode')"),
    method("train exits", f"def train(self, mode=True): {EXITS}"),
    method("eval and train interrupt", "def train(self, mode=True): raise KeyboardInterrupt\neval = train"),
    method("forward is no function", "forward = 3"),
    method("forward is a property that exits", f"@property\ndef forward(self): {EXITS}"),
    method("__call__ exits", f"def __call__(self, *a): {EXITS}"),
    method("__dir__ and __class__ raise", "@property\ndef __class__(self): raise ValueError('no class')"),
    method("its parameters are gone", "def __init__(self):\n    super().__init__()\n    del self._parameters"),
    method("its modules are gone", "def __init__(self):\n    super().__init__()\n    self._modules = None"),
    method("super().__init__ was forgotten", "def __init__(self): self.x = 1"),
    method(
        "a hook that exits",
        "def __init__(self):\n    super().__init__()\n    self.register_forward_hook(lambda *a: exit(0))",
    ),
    method(
        "a pre-hook that raises",
        "def __init__(self):\n    super().__init__()\n    def f(*a): raise KeyError('hook')\n    self.mix.register_forward_pre_hook(f)",
    ),
    method("a required image", "def forward(self, ids, image): return super().forward(ids)"),
    method("two required keywords", "def forward(self, *, left, right): return super().forward(left)"),
    coded(
        "a scripted module that exits",
        "class M(Model):\n    def forward(self, ids):\n        raise RuntimeError('script')\ndef make(): return torch.jit.script(M())",
    ),
]

# What breaks only when the model is trained, copied, stored or asked about itself: judged all the same, 0 or 1, or 2 where
# nothing is left to judge.
ASKED = {
    "deepcopy": "def __deepcopy__(self, memo): {}",
    "pickle": "def __reduce_ex__(self, protocol): {}",
    "state_dict": "def state_dict(self, *a, **k): {}",
    "load_state_dict": "def load_state_dict(self, *a, **k): {}",
    "zero_grad": "def zero_grad(self, *a, **k): {}",
    "requires_grad_": "def requires_grad_(self, *a, **k): {}",
    "_apply": "def _apply(self, *a, **k): {}",
    "to": "def to(self, *a, **k): {}",
    "double": "def double(self): {}",
    "configure_optimizers": "def configure_optimizers(self): {}",
    "num_parameters": "def num_parameters(self): {}",
    "get_num_params": "def get_num_params(self): {}",
    "get_submodule": "def get_submodule(self, name): {}",
    "the loss": "def forward(self, ids, labels=None):\n    if labels is not None: {}\n    return super().forward(ids)",
    "train mode": "def forward(self, ids):\n    if self.training: {}\n    return super().forward(ids)",
    "the forward with graph": "def forward(self, ids):\n    if torch.is_grad_enabled(): {}\n    return super().forward(ids)",
    "the forward without graph": "def forward(self, ids):\n    if not torch.is_grad_enabled(): {}\n    return super().forward(ids)",
    "backward": (
        "def forward(self, ids):\n    x = super().forward(ids)\n    def f(g): {}\n"
        "    x.requires_grad and x.register_hook(f)\n    return x"
    ),
    "a hook on the table": (
        "def __init__(self):\n    super().__init__()\n    def f(g): {}\n    self.emb.weight.register_hook(f)"
    ),
    "the fiftieth call": (
        "def forward(self, ids):\n    n = self.__dict__['n'] = self.__dict__.get('n', 0) + 1\n    if n > 50: {}\n"
        "    return super().forward(ids)"
    ),
    "the second build": "built = []\ndef __init__(self):\n    super().__init__()\n    self.built.append(1)\n    if len(self.built) > 1: {}",
    "the fifth build": "built = []\ndef __init__(self):\n    super().__init__()\n    self.built.append(1)\n    if len(self.built) > 4: {}",
    "its end": "def __del__(self): {}",
    "its comparison": "def __eq__(self, other): {}\n__hash__ = nn.Module.__hash__",
    "its truth": "def __bool__(self): {}",
    "its length": "def __len__(self): {}",
    "its representation": "def __repr__(self): {}\n__str__ = __repr__",
    "setting an attribute": (
        "def __setattr__(self, name, value):\n    if name in ('training', 'forward'): {}\n    super().__setattr__(name, value)"
    ),
}


def asked() -> list[Kind]:
    """Each of them raising, ending the process, interrupting, giving junk, and for some of them never returning."""
    ends = {
        "raises": "raise ValueError('a\\nb')",
        "exits": EXITS,
        "interrupts": "raise KeyboardInterrupt",
        "gives junk": "return 3",
    }
    out = []
    for place, body in ASKED.items():
        for end, code in ends.items():
            if end == "interrupts" and place not in ("deepcopy", "train mode", "backward", "the second build"):
                continue
            out.append(
                method(
                    f"{place} {end}",
                    body.format(code),
                    "--profile",
                    "standard",
                    statuses=(0, 1, 2),
                    noisy=place == "its end",
                )
            )
    for place in (
        "deepcopy",
        "load_state_dict",
        "configure_optimizers",
        "train mode",
        "backward",
        "double",
        "pickle",
        "the fiftieth call",
    ):
        body = ASKED[place].format("\n    while True: pass" if place[0] != "t" else "\n        while True: pass")
        if place == "backward":
            body = ASKED[place].format("\n        while True: pass")
        out.append(
            method(
                f"{place} never returns",
                body,
                "--profile",
                "standard",
                "--timeout",
                "2.5",
                statuses=(0, 1, 2),
                seconds=6,
            )
        )
    return out


TOML = '[[expected]]\nid = "storage.one-memory"\nreason = "known"\n'


def expecting(name: str, content: str | bytes | None, **more: object) -> Kind:
    """A right model, and a file of expected failures that cannot be understood."""
    words = ("run", "m.py:Model", "--profile", "quick", "--expected-failures", "e.toml", "--json", "r.json")
    return Kind(f"expected failures: {name}", words, {"m.py": BASE, "e.toml": content}, **more)  # type: ignore[arg-type]


EXPECTATIONS = [
    expecting("a folder", None),
    expecting("cut", TOML[:-9]),
    expecting("cut in a word", TOML[:20]),
    expecting("no TOML", "these are expected to fail"),
    expecting("JSON", '{"expected": []}'),
    expecting("binary", bytes(range(256))),
    expecting("UTF-16", TOML.encode("utf-16")),
    expecting("Latin-1", TOML.replace("known", "größer").encode("latin-1")),
    expecting("a key misspelt", TOML.replace("reason", "raeson")),
    expecting("a table misspelt", TOML.replace("expected", "expect")),
    expecting("one pair of brackets", TOML.replace("[[", "[").replace("]]", "]")),
    expecting("a number for an id", TOML.replace('"storage.one-memory"', "3")),
    expecting("a list of reasons", TOML.replace('"known"', '["known"]')),
    expecting("a device that is none", TOML + 'device = "tpu"\n'),
    expecting("a key twice", TOML + 'reason = "again"\n'),
    expecting("nested without end", "a = " + "[" * 100_000),
    expecting("a number without end", "a = " + "9" * 100_000),
    expecting("steering", '"\\u001b[31m\\u202e" = 1\n'),
    expecting("huge", TOML * 40_000),
    expecting("full of zeros", b"\0" * 100_000),
    expecting("an entry that names nothing", TOML.replace("storage", "stowage"), statuses=(1,)),
    expecting("an entry twice", TOML + TOML, statuses=(1,)),
    expecting("an entry without reason", TOML.replace("known", " "), statuses=(1,)),
    expecting("an entry that passes", TOML, statuses=(1,)),
    expecting(
        "thousands that name nothing", "".join(f'[[expected]]\nid = "x{i}"\n' for i in range(9000)), statuses=(1,)
    ),
]


def option(*words: str, files: dict[str, str | bytes | None] | None = None, says: str = "", **more: object) -> Kind:
    """A right model under nonsense."""
    return Kind(
        f"options: {' '.join(words)[:70]}",
        ("run", "m.py:Model", "--profile", "quick", *words),
        {"m.py": BASE, **(files or {})},
        says=says,
        **more,  # type: ignore[arg-type]
    )


ASSUMED = [
    "", "=", "frozen", "=1", "frozen=", "frozzen=true", "frozen=maybe", "frozen=1", "frozen=[true]", "tied=perhaps", "tied=0",
    "input_scale=0", "input_scale=nan", "input_scale=inf", "input_scale=sqrt(V)", "input_scale=true", "input_scale={a=1}",
    "input_scale=1/sqrt(D", "input_scale=[[[[", "input_scale=" + "9" * 5000, "input_gradient_scale=sqrt(D)", "output_scale=0",
    "output_scale=-inf", "output_bias=3", "output_bias=[]", "logit_softcap=-1", "logit_softcap=true", "logit_softcap=x",
    "padding_row=-1", "padding_row=1.5", "padding_row=[0, -1]", "padding_row=true", "padding_row=99999", "vocabulary=0", "vocabulary=-3",
    "vocabulary=1e3", "parameter_count=-1", "parameter_count=many", "table=", "table=3", "table=no.such.name", "head=no.such.name",
    "head=[]", "table=\x1b[31m", "__class__=x", "word=tied", "padding_rows=1", "tied=true\x00", "input_scale=1979-05-27", "\ud800=1",
]  # fmt: skip

OPTIONS = [
    *(option("--assume", text) for text in ASSUMED),
    option("--assume", "frozen=true", "--assume", "frozen=false"),
    option("--declare", "neither"),
    option("--declare", ""),
    option("--declare", "Both"),
    option("--declare", "\x1b[31m"),
    option("--device", "tpu"),
    option("--device", "cuda:99"),
    option("--device", "cuda:"),
    option("--device", "cpu:0"),
    option("--device", "cuda:-1"),
    option("--device", "mps"),
    option("--device", "meta"),
    option("--device", ""),
    option("--device", "cuda:1\n"),
    option("--device", "cuda:١"),
    option("--dtype", "float"),
    option("--dtype", "int64"),
    option("--dtype", "torch.float32"),
    option("--dtype", ""),
    option("--select", "nope"),
    option("--select", ""),
    option("--select", "storage.nope"),
    option("--select", "storage,count"),
    option("--select", "STORAGE"),
    option("--select", "persistence"),
    option("--deselect", "nope"),
    option("--select", "storage", "--deselect", "storage"),
    option("--seed", "one"),
    option("--seed", "-1"),
    option("--seed", "1.5"),
    option("--seed", str(2**32)),
    option("--seed", "9" * 5000),
    option("--seed", "nan"),
    option("--seed", ""),
    option("--timeout", "0"),
    option("--timeout", "-1"),
    option("--timeout", "nan"),
    option("--timeout", "inf"),
    option("--timeout", "soon"),
    option("--timeout", "1e-9"),
    option("--timeout", "1e999"),
    option("--profile", "whole"),
    option("--expected-failures", ""),
    option("--expected-failures", "nothing.toml"),
    option("--expected-failures", "no/such/folder.toml"),
    option("--expected-failures", "/dev/zero"),
    option("--expected-failures", "/dev/null/x"),
    option("--expected-failures", "x" * 300),
    option("--expected-failures", "a\x00b"),
    option("--expected-failures", "."),
    *(option(f"--{view}", "{folder}") for view in ("json", "junit", "html", "markdown")),
    *(option(f"--{view}", "no/such/r") for view in ("json", "junit", "html", "markdown")),
    *(option(f"--{view}", "") for view in ("json", "junit", "html", "markdown")),
    *(option(f"--{view}", "/dev/full") for view in ("json", "junit", "html", "markdown")),
    option("--json", "/proc/r.json"),
    option("--json", "/proc/self/mem/r"),
    option("--json", "r" * 300),
    option("--json", "a\x00b"),
    option("--json", "m.py"),
    option("--json", "./m.py"),
    option("--json", "e.toml", "--expected-failures", "e.toml", files={"e.toml": ""}),
    option("--json", "r", "--html", "r"),
    option("--json", "r", "--html", "./r"),
    option("--junit", "r", "--markdown", "{folder}/r"),
    option("--json", "good.json", "--html", "/dev/full"),
    option("--json", "old.json", "--html", "/dev/full", files={"old.json": "old"}),
    option("--json", "file/r.json", files={"file": "text"}),
    option("--no-such-option"),
    option("--json"),
    option("one", "too", "many"),
    option("--strict=yes"),
    option("--quiet=1"),
]

TARGETS = [
    "", " ", "nothing", "nofile.py:make", "nofile.py", "m.py:", "m.py", ":make", ":", "::", "folder.py:make", "m.py:nothing",
    "m.py:Model()", "m.py:Model.forward", "m.py:Model.nothing.more", "m.py:..", "m.py: Model", "m.py:__name__", "m.py:torch",
    "m.py:\x1b[31m[red]\n<b>", "m.py:Mo\x00del", "m.py:\ud800", "\x1b[31m.py:make", "a\x00b.py:make", "\ud800.py:make",
    "x" * 300 + ".py:make", "/dev/null.py:make", "binary.py:make", "cookie.py:make", "utf16.py:make", "zeros.py:make", "../m.py:make",
    "no.such.module:make", "json:no_such_name", "json:dumps", "os:abort.nothing", "class:def", "..:make", "m.n:make", "sys:exit",
    "demo:", "demo:no-such-demo", "demo:\x1b[31m", "numpy:no-such-network", "numpy:", "pytorch:", "pytorch:anything", "reference:x",
    "hf:", "hf:no-such-model-type", "hf:./no-such-folder", "hf:./folder.py", "hf:/dev/null", "hf:\x1b[31m", "hf:../..", "hf:a\x00b",
    "hf:broken", "hf:./broken", "hf:./wrong", "hf:owner/name/more",
]  # fmt: skip

BESIDE: dict[str, str | bytes | None] = {
    "m.py": BASE,
    "folder.py": None,
    "binary.py": b"\x00\xff\xfe\x00",
    "cookie.py": b"# -*- coding: no-such-encoding -*-\n",
    "utf16.py": "make = 1\n".encode("utf-16"),
    "zeros.py": b"\0" * 1000,
    "broken/config.json": '{"model_type": "gpt2", ',
    "wrong/config.json": '{"model_type": "\\u001b[31m", "vocab_size": "many"}',
}

HANGS = {
    "the file": "while True: pass\ndef make(): return Model()",
    "the file, deaf to exceptions": "while True:\n    try:\n        while True: pass\n    except BaseException: break\nraise ValueError\n",
    "the factory": "def make():\n    while True: pass",
    "a factory that sleeps": "import time\ndef make(): time.sleep(20)",
    "a factory that waits for a lock": "import threading\ndef make():\n    l = threading.Lock()\n    l.acquire()\n    l.acquire(timeout=20)",
    "forward": "class make(Model):\n    def forward(self, ids):\n        while True: pass",
    "the second call": (
        "class make(Model):\n    n = 0\n    def forward(self, ids):\n        self.n += 1\n        while self.n > 1: pass\n"
        "        return super().forward(ids)"
    ),
    "named_parameters": "class make(Model):\n    def named_parameters(self, *a, **k):\n        while True: pass",
}


def kinds() -> list[Kind]:
    """All of them."""
    out = [*PYTHON, *KEYWORDS, *raised()]
    out += [
        coded(f"a factory that returns {name}", f"def make(): return {text}", noisy=name in WARNS)
        for name, text in RETURNED.items()
    ]
    out += [coded("an async factory", "async def make(): return Model()")]
    out += [coded("a factory that yields", "def make(): yield Model()")]
    out += [forward(f"forward returns {name}", text, noisy=name in WARNS) for name, text in LOGITS.items()]
    out += [*METHODS, *asked(), *EXPECTATIONS, *OPTIONS]
    out += [Kind(f"the target {text[:60]!r}", ("run", text, "--json", "r.json"), BESIDE) for text in TARGETS]
    out += [coded(f"{name} hangs", code, "make", "--timeout", "1.5") for name, code in HANGS.items()]
    return out
