"""The words and letters of the specification, for somebody who meets them for the first time.

`words` and `legend` pick what occurs in a text. A meaning uses no word of this list that it does not need: what it uses
is explained as well.
"""

from __future__ import annotations

import re

WORDS = {
    "AdamW": "an optimizer that moves each number by about the learning rate, however large its gradient is",
    "adapter": "a few trained numbers that are added to a large matrix in its stead",
    "autocast": "torch's switch that runs products in a narrower dtype",
    "backward pass": "the run back through the model that computes gradients",
    "batch shape": "how many sequences are read at once, and how long they are",
    "batch": "several sequences that are read, or trained on, at once",
    "bias": "numbers that are added to the result, one for each token, whatever h is",
    "bit for bit": "exactly, without any allowance for rounding",
    "buffer": "an array of numbers that a model keeps and saves, but that is not trained",
    "cap": "a curve that keeps logits below a limit",
    "cast": "a change of dtype",
    "central difference": "the gradient by trial: move a number a little up and down, and see how the loss changes",
    "chain rule": "how the gradient of a function of a function follows from the gradients of both",
    "checkpoint": "a file that holds the numbers of a model",
    "clipping": "making all gradients smaller by one factor where their norm is above a limit",
    "closed form": "a formula that gives the number from the sizes alone, without building the model",
    "cotangent": "the gradient that arrives at a result and is handed on to what it was made from",
    "declared": "said by you: with --assume, by a Declaration, or by the model's config",
    "deepcopy": "Python's copy.deepcopy: the object and all that hangs on it are copied",
    "detached": "cut out of the graph: read with detach(), .data or no_grad(), so that no gradient comes back",
    "device": "what computes, and holds the numbers: a CPU or a GPU",
    "distillation": "training one model to give the outputs of another",
    "dropout": "setting numbers to zero at random while training",
    "dtype": "how a number is stored: float32 has 32 bits, float16 half of them",
    "embedding": "the part of a model that does the lookup; also the row that it returns",
    "enumeration": "a list of parameters that training code goes through",
    "eval mode": "how a model runs when it is used and not trained; in torch model.eval() sets it, model.train() ends it",
    "factory": "a function that builds the model",
    "forward pass": "one run of the model, from token ids to logits",
    "freeze": "to switch training off for a parameter: requires_grad_(False); to thaw is to switch it on again",
    "fused loss": "one function that computes logits and loss together, to save memory",
    "gradient": "how the loss changes with each number of an array; training goes against it",
    "graph": "torch's record of what was computed from what, along which gradients go back",
    "head": "the part of a model that does the projection",
    "hidden state": "what the model has computed at one position",
    "hook": "a function that torch calls in passing, and that can change what passes",
    "initialization": "the random numbers that a model has before training",
    "learning rate": "the factor that says how far one step goes",
    "load": "to put stored numbers into a model",
    "log-probabilities": "logits less one number per position, so that their exponentials add up to one",
    "logit": "the score of one token as the next one; the largest is the most likely",
    "lookup": "the way in: token i becomes row i of the table",
    "loss": "how wrong the predictions are, as one number; training makes it smaller",
    "low-rank": "made as the product of two thin matrices",
    "masked": "set to zero",
    "matrix": "numbers in rows and columns",
    "memory N": "a block of memory, by number: another number is another block",
    "meta device": "torch's device that knows shapes and holds no numbers",
    "module": "a torch.nn.Module: a part of a model that holds parameters",
    "moments": "running means of the gradient and of its square, which AdamW keeps for each parameter",
    "momentum": "a running sum of past gradients that an optimizer keeps for each parameter",
    "nat": "the unit of a loss that is a natural logarithm; ln V nats is a guess at random",
    "norm": "the length of a vector: the root of the sum of its squares",
    "offset": "how far into its memory an array begins, counted in numbers",
    "one-hot": "a vector of zeros with a single one",
    "optimizer": "what changes the parameters by their gradients at each step, and keeps notes for each parameter",
    "padded": "with rows that belong to no token, up to a round number",
    "padding row": "the row of a token that only fills up short sequences",
    "parameter": "an array of numbers that a model owns and that training changes",
    "pickle": "Python's way to turn an object into bytes and back",
    "pointer": "the address of memory",
    "position": "one place in a sequence of tokens",
    "projection": "the way out: what the model computed, h, becomes one logit for each token",
    "random generator": "what random numbers are drawn from",
    "re-parametrization": "computing a matrix from other parameters in every forward pass",
    "region": "the memory that an array covers: which block, from where on, how far",
    "scalar": "a single number",
    "scale": "a factor that everything is multiplied by",
    "SGD": "an optimizer that moves each number by the learning rate times its gradient",
    "share": "the part of the gradient that one use contributes",
    "softmax": "what turns logits into probabilities: exponentials, divided by their sum",
    "stale copy": "a copy made earlier, which does not follow what happens to the original",
    "state dict": "the numbers of a model by name, as model.state_dict() gives them",
    "step": "one change of all parameters by an optimizer",
    "storage": "a block of memory; several arrays can look into the same one",
    "table": "one row of numbers for each token",
    "tensor": "torch's array of numbers",
    "tied": "one table for the lookup and for the projection; untied: one for each",
    "token": "a word or a piece of one; the model knows it by its number, the token id",
    "train mode": "how a model runs while it is trained; model.train() sets it",
    "transposed": "with rows and columns exchanged",
    "velocity": "the running sum of past gradients that SGD with momentum keeps for each parameter",
    "view": "an array without numbers of its own: it looks into the memory of another",
    "vocabulary": "all tokens that a model knows",
    "weight decay": "pulling each number a little towards zero at every step",
    "weights": "the numbers of a model that are trained",
}

_FORMS = {
    "AdamW": r"Adam(?:W)?",
    "backward pass": r"backward pass(?:es)?",
    "batch": r"batch(?:es)?",
    "bias": r"bias(?:es)?",
    "cap": r"caps?|capped|soft-capping",
    "cast": r"casts?",
    "central difference": r"central differences?|difference quotients?|differences(?= measure)",
    "clipping": r"clip(?:ping|ped|s)?",
    "declared": r"undeclared|declared?|declares|declaration",
    "detached": r"detach(?:ed)?",
    "enumeration": r"enumerat(?:ions?|es?|ed)",
    "eval mode": r"eval mode|mode eval|eval\(\)|evaluation",
    "forward pass": r"forward(?: pass(?:es)?)?",
    "freeze": r"freez(?:es?|ing)|frozen|thaw(?:ed|ing|s)?",
    "fused loss": r"fused loss(?:es)?",
    "hidden state": r"hidden states?",
    "load": r"load(?:s|ed|ing|ers?)?",
    "log-probabilities": r"log-probabilit(?:y|ies)",
    "lookup": r"lookups?|look(?:s|ed|ing)?(?: a token| tokens?)? up",
    "loss": r"loss(?:es)?",
    "matrix": r"matri(?:x|ces)",
    "memory N": r"memory \d+",
    "moments": r"moments",
    "optimizer": r"optimi[sz]ers?",
    "padded": r"padd?ed|padding(?! row)",
    "pickle": r"pickl(?:e[ds]?|ing)",
    "projection": r"projections?|projects",
    "random generator": r"random generators?",
    "re-parametrization": r"(?:re-)?parametri[sz](?:ations?|ed)",
    "share": r"(?:a|its|their|no|both|own|s|this) shares?|shares? of",
    "stale copy": r"stale cop(?:y|ies)",
    "tied": r"un(?:ties?|tied)|tie[sd]?|tying",
    "token": r"tokens?(?: ids?)?",
    "train mode": r"train mode|mode train|train\(\)",
    "transposed": r"transposed?",
    "vocabulary": r"vocabular(?:y|ies)",
    "weight decay": r"weight decay|decays?",
}
"""How a word is met where that is not the word itself with an s or without."""

_ANY = r"[A-Za-z](?:_[a-z]+)?(?![A-Za-z])"
LETTERS = {
    "E": ("the table: one row of numbers for each token", r"E(?!['\[])"),
    "E_in": ("the table as the lookup reads it", r"E_in"),
    "E_out": ("the table as the projection reads it", r"E_out"),
    "E[v]": ("the row of token v; E_v is the same", r"E\[v\]|E_v"),
    "E[w]": ("the row of token w", r"E\[w\]"),
    "E[ids]": ("the rows of the tokens that are read", r"E\[ids\]"),
    "E'": ("the table after the step", r"E'"),
    "V": ("the number of tokens, which is the number of rows of the table", r"V"),
    "D": ("the width: how many numbers a row has", r"D"),
    "h": ("what the projection reads: one row of numbers for each position", r"h"),
    "^T": ("rows and columns exchanged", r"\^T"),
    "e_i": ("the vector with a one at place i and zeros elsewhere", r"e_i"),
    "i": ("a token, by its number", r"(?<=\()i(?=\))"),
    "v": ("a token, by its number", r"v"),
    "w": ("another token", r"w"),
    "x": ("any other row of numbers", r"x"),
    "ids": ("the numbers of the tokens that the model reads", r"ids(?!\])"),
    "f(ids)": ("what the model computes for these tokens: the logits", r"f\(ids\)(?!_)|f(?!\()"),
    "f(ids)_w": ("the logits of token w", r"f\(ids\)_w"),
    "logits": ("the scores of all tokens as the next one, a row of them for each position", r"logits"),
    "logit_v": ("the logit of token v", r"logit_v"),
    "logit_w": ("the logit of token w", r"logit_w"),
    "embedding(i)": ("what the lookup returns for token i", r"embedding\(i\)"),
    "s_in": ("the declared input scale; 1 where none is declared", r"s_in"),
    "s_out": ("the declared output scale; 1 where none is declared", r"s_out"),
    "b": ("the declared bias, one number for each token; 0 where none is declared", r"b"),
    "b_v": ("the declared bias of token v", r"b_v"),
    "cap(z)": ("z, squeezed below a limit where one is declared", r"cap(?=\()"),
    "C": ("the limit that a cap keeps logits below", r"C"),
    "tanh": ("a curve that is nearly a straight line around 0 and ends at -1 and 1", r"tanh"),
    "softmax": ("turns logits into probabilities: exponentials, divided by their sum", r"softmax"),
    "log_softmax": ("turns logits into log-probabilities", r"log_softmax"),
    "ln": ("the natural logarithm", r"ln"),
    "log": ("the natural logarithm", r"log"),
    "n": ("the declared number of tokens; the table has more rows than that", r"n"),
    "L": ("the loss: the number that training makes smaller", r"L"),
    "R": ("chosen numbers, one for each logit", r"R"),
    "<R, logits>": ("the sum of R times logits, number by number", r"<R, logits>"),
    "loss(ids, targets)": ("the loss that the model itself returns when it is given targets", r"loss(?=\()"),
    "targets": ("the tokens that it ought to predict", r"targets"),
    "dL/dE": ("the gradient: how the loss L changes with each number of the table; [v] is its row v", r"dL/dE"),
    "dL/dE_in": ("the part of the gradient that the lookup contributes", r"dL/dE_in"),
    "R^T h": (
        "the part that the projection contributes: its row v is the sum of R times h over all positions",
        r"R\^T h",
    ),
    "J_in": ("how the lookup's table is made from the parameters; J_in^T sends a gradient back to them", r"J_in"),
    "J_out": ("the same for the projection's table", r"J_out"),
    "G": ("any gradient that arrives at the table", r"G"),
    "graph_k": ("torch's record of call number k", r"graph_k"),
    "k": ("the number of the call", r"k"),
    "edges(a -> b)": ("the places in a where b is used", r"edges(?=\()"),
    "p": ("a parameter, by its name", r"p"),
    "r": ("the learning rate", r"r"),
    "d": ("the weight decay", r"d"),
    "g": ("the gradient of the table", r"g"),
    "c": ("the factor by which clipping makes gradients smaller", r"c"),
    "limit": ("the largest norm that clipping lets through", r"limit"),
    "norm": ("the root of the sum of the squares of all gradients", r"norm"),
    "eps": ("a tiny number against division by zero", r"eps"),
    "min(a, b)": ("the smaller one", r"min(?=\()"),
    "max(a, b)": ("the larger one", r"max(?=\()"),
    "count(m)": ("how many numbers of model m are trained", r"count(?=\()"),
    "numel": ("how many numbers a parameter has", r"numel"),
    "parameter_count": ("the number that is declared", r"parameter_count"),
    "num_parameters()": ("what the model says, by this or another method of its own", r"num_parameters(?=\()"),
    "parameters()": ("torch's list of a model's parameters", r"(?<!_)parameters(?=\()"),
    "configure_optimizers()": ("the model's own way to build its optimizer", r"configure_optimizers(?=\()"),
    "columns(m)": ("how many columns the matrix m has", r"columns(?=\()"),
    "region(t)": ("the memory that t covers: which block, from where on, how far, as which dtype", r"region(?=\()"),
    "dtype(t)": ("how the numbers of t are stored", r"dtype(?=\()"),
    "requires_grad(t)": ("t is trained", r"requires_grad(?=\()"),
    "|{p : ...}|": ("how many p there are of which that is true", r"\|\{"),
    "|...|": ("the size of a number, without its sign", r"\|(?![{=])(?<!\}\|)"),
    "a b": (
        "letters side by side are multiplied",
        rf"(?<![A-Za-z_])(?:[VDCRhrcd]|s_in|s_out|{_ANY}\^T) (?:{_ANY}|tanh)",
    ),
    ":=": ("is overwritten with", r":="),
    "=>": ("and then", r"=>"),
}
"""What a formula may use: as it is shown, its meaning, and how it is met."""

_IN_PROSE = frozenset({"E", "V", "D", "h", "^T", "R", "R^T h", "ln"})

# A name with a dot, a dash or an underscore (`head.weight`) is somebody's name and not a word.
_START, _END = r"(?<![\w.\-/])", r"(?![\w\-/]|\.\w)"
_MET = {word: re.compile(f"{_START}(?:{_FORMS.get(word, f'{re.escape(word)}s?')}){_END}", re.I) for word in WORDS}
_SEEN = {
    letter: re.compile(form if form[0] in "\\(" else rf"(?<![A-Za-z_])(?:{form})(?![A-Za-z_])")
    for letter, (_, form) in LETTERS.items()
}


def words(text: str) -> dict[str, str]:
    """The words of the glossary that a text uses, and those that their meanings use, each with its meaning."""
    found: set[str] = set()
    while text:
        new = {word for word, form in _MET.items() if word not in found and form.search(text)}
        found |= new
        text = " ".join(WORDS[word] for word in new)
    return {word: meaning for word, meaning in WORDS.items() if word in found}


def legend(formula: str) -> dict[str, str]:
    """The letters and signs that a formula uses, each with its meaning."""
    return {letter: meaning for letter, (meaning, _) in LETTERS.items() if _SEEN[letter].search(formula)}


def prose_legend(text: str) -> dict[str, str]:
    """The letters that sentences use, too; whatever has a dot or a slash in it is somebody's name."""
    plain = " ".join(part for part in text.split() if not re.search(r"[./_]\w", part))
    return {letter: meaning for letter, meaning in legend(plain).items() if letter in _IN_PROSE}
