"""What each cause means, and what mends it: a table, in the order in which a cause explains those behind it."""

from __future__ import annotations

from dataclasses import dataclass

GENERIC = "head.weight = embedding.weight"
"""The assignment that stands in a mend for the one of the model at hand."""


@dataclass(frozen=True)
class Cause:
    """What a cause means to somebody who has never heard of it, and what mends it."""

    expected: str
    mend: str


CAUSES: dict[str, Cause] = {
    "nondeterministic": Cause(
        "The same ids give the same logits in eval mode.",
        "Switch dropout and every random draw off in eval mode (self.training)",
    ),
    "wrong-table": Cause(
        "The output projection reads the table that the token ids index.",
        "Point the projection at the token table: head.weight = token_embedding.weight",
    ),
    "forced-tie": Cause(
        "The model is declared untied, so input and output have a matrix each.",
        "Drop the line that ties it (where it is built, in tie_weights, or after a load), so that the projection keeps a "
        "parameter of its own; or declare it tied: --declare tied",
    ),
    "stale-copy": Cause(
        "Both uses read the table itself. A kept copy agrees until the next update, then it is old.",
        "Read the parameter in every forward instead of keeping a copy: logits = F.linear(h, embedding.weight)",
    ),
    "equal-copy": Cause(
        "Both uses read one region of memory. Equal values in two places look tied until the first training step.",
        "Share the parameter instead of copying its values: head.weight = embedding.weight",
    ),
    "partial-tie": Cause(
        "The whole table is shared: every row and every column.",
        "Use the one V x D parameter for both, without parts of its own on one side: head.weight = embedding.weight",
    ),
    "two-matrices": Cause(
        "The lookup and the output projection read one matrix. Here they read two, which train apart.",
        "Tie them after building the model: head.weight = embedding.weight; or declare it untied: --declare untied",
    ),
    "adapter-on-one-use": Cause(
        "Whatever is added to the table (a low-rank adapter, a re-parametrization) is seen by both uses.",
        "Apply it to the shared parameter, so that both uses read the result; or untie, and declare it untied",
    ),
    "two-parameters-one-memory": Cause(
        "One parameter object holds the table. Two objects over one memory look tied, but each gets half of the gradient "
        "and its own optimizer state, so that Adam's step and weight decay act on the memory twice.",
        "Assign the parameter itself, not its data: head.weight = embedding.weight",
    ),
    "reduced-precision": Cause(
        "Both uses read the table in its own precision, or the whole forward runs in the narrower one.",
        "Drop the cast on the one use, or compute the whole forward in that dtype (autocast around all of it)",
    ),
    "not-transposed": Cause(
        "The projection is h times the transposed table; with V = D the missing transpose passes every shape check.",
        "Transpose it: logits = h @ E.T",
    ),
    "wrong-rows": Cause(
        "Token i reads row i, its logit comes from row i, and a forward pass leaves the table alone.",
        "Index with the ids as they are and project with the rows in their own order; drop max_norm if it is set",
    ),
    "wrong-columns": Cause(
        "Column d of the table meets component d of h.",
        "Drop the permutation of the table's columns: logits = h @ E.T",
    ),
    "undeclared-scale": Cause(
        "Rows and logits are not multiplied by anything that is not declared.",
        "Remove the factor, or declare it: --assume input_scale=... or --assume output_scale=...",
    ),
    "undeclared-bias": Cause(
        "Logits are h E^T alone; a bias is an addition to the tied map.",
        "Build the projection with bias=False, or declare it: --assume output_bias=true",
    ),
    "undeclared-softcap": Cause(
        "Logits are not squashed by anything that is not declared.",
        "Remove the tanh, or declare it: --assume logit_softcap=...",
    ),
    "undeclared-normalization": Cause(
        "The model returns logits.",
        "Return the values before log_softmax, or declare it: --assume log_probabilities=true",
    ),
    "undeclared-padding": Cause(
        "There is one finite logit for each row of the table.",
        "Make the sizes equal, or declare the number of legal tokens: --assume vocabulary=...",
    ),
    "undeclared-frozen": Cause(
        "The table is trained.",
        "Let it require gradients: embedding.weight.requires_grad_(True); or declare it: --assume frozen=true",
    ),
    "declared-but-absent": Cause(
        "What is declared is there.",
        "Drop it from the declaration, or put it into the model",
    ),
    "detached-projection": Cause(
        "The output projection gives every row of the table its share of the gradient.",
        "Use the parameter itself in the projection, without detach(), .data or no_grad()",
    ),
    "detached-lookup": Cause(
        "The lookup gives the rows that were read their share of the gradient.",
        "Use the parameter itself in the lookup, without detach(), .data or no_grad()",
    ),
    "missing-rows": Cause(
        "Every row gets its share of the gradient, padding rows apart where they are declared.",
        "Drop padding_idx or whatever masks those rows, or declare it: --assume padding_row=...",
    ),
    "gradient-scaled": Cause(
        "The gradient of the table is the sum of both shares, each with coefficient one.",
        "Remove the hook, the option (scale_grad_by_freq) or the custom backward that scales one share",
    ),
    "wrong-gradient": Cause(
        "The gradient of the table is the sum of both shares, row by row, and passes accumulate.",
        "Mend the custom backward or the hook: it must return the gradient of its own row and add to what is there",
    ),
    "listed-twice": Cause(
        "Every enumeration lists the shared table once; twice, an optimizer steps it twice.",
        "Drop duplicates by identity: list({id(p): p for p in parameters}.values())",
    ),
    "not-listed": Cause(
        "The table is a parameter that parameters() and the optimizer list.",
        "Register it (nn.Parameter as a module's attribute) and put it into one optimizer group",
    ),
    "miscounted": Cause(
        "The table is counted once, and nothing of its shape lies unused beside it.",
        "Count distinct parameters, and delete the head's own unused weight",
    ),
    # Switching modes is part of a training step, loading of a save: what a smaller thing loses, the larger loses too.
    "lost-on-train-mode": Cause(
        "train() and eval() change the mode and not the table.",
        "Do not copy, merge or rebuild weights on one side when the mode changes; tie again there: head.weight = embedding.weight",
    ),
    "lost-on-step": Cause(
        "An optimizer step leaves one table that both uses hold.",
        "Look for what replaces or copies the table while training (a hook, a cache, a second parameter), and share it again: "
        "head.weight = embedding.weight",
    ),
    "lost-on-deepcopy": Cause(
        "copy.deepcopy copies the shared table once, and both uses of the copy read it.",
        "Let nothing in the copy point at the original (a lambda or closure over self, a stored method, a __deepcopy__ of your "
        "own), or tie again after copying: copy.head.weight = copy.embedding.weight",
    ),
    "lost-on-load": Cause(
        "A state dict loads into a model without taking its tie apart.",
        "Let load_state_dict copy into the shared parameter, or tie again at its end: self.head.weight = self.embedding.weight",
    ),
    "lost-on-pickle": Cause(
        "pickle stores the shared table once, and both uses read it when it comes back.",
        "Tie again where the object is restored (__setstate__): self.head.weight = self.embedding.weight",
    ),
    "lost-on-save": Cause(
        "torch.save stores the shared table once, and both uses read it when it is loaded.",
        "Tie again where the object is restored (__setstate__), or after loading: head.weight = embedding.weight",
    ),
    "lost-on-cast": Cause(
        "A cast changes the dtype of the one table, and both uses read it.",
        "Keep the table a registered parameter, so that Module._apply casts it once; or tie again after the cast: "
        "head.weight = embedding.weight",
    ),
    "lost-on-move": Cause(
        "A move to another device moves the one table, and both uses read it.",
        "Keep the table a registered parameter, so that Module._apply moves it once; or tie again after the move: "
        "head.weight = embedding.weight",
    ),
    "lost-on-freeze": Cause(
        "requires_grad_ changes a flag of the one table and nothing else.",
        "Set the flag of the shared parameter instead of replacing it",
    ),
    "lost-on-load-partial": Cause(
        "A state dict with one of the table's two keys fills both uses.",
        "Tie before loading, so that both names hold one parameter: head.weight = embedding.weight; or store both keys",
    ),
    "lost-on-load-two-tables": Cause(
        "A state dict with two different tables ends in a tied model, or in an error or a warning that says so.",
        "Compare the two keys when loading and refuse what differs, then tie again: head.weight = embedding.weight",
    ),
    "lost-on-safetensors": Cause(
        "safetensors stores a shared table once, and a fresh model that is tied is filled by it in both uses.",
        "Tie in the constructor, before load_model fills the model: self.head.weight = self.embedding.weight",
    ),
    "lost-on-pretrained": Cause(
        "What from_pretrained gives is tied or untied as what save_pretrained stored.",
        "Store the flag with the config (tie_word_embeddings), and name the tied keys for the library (_tied_weights_keys); or tie "
        "again after loading: head.weight = embedding.weight",
    ),
    "lost-on-resize": Cause(
        "A vocabulary that changes its size changes the one table.",
        "Resize the shared parameter once and give it to both uses: head.weight = embedding.weight",
    ),
    "lost-on-optimizer-state": Cause(
        "A stored training goes on with one table and its own optimizer state.",
        "Tie before the optimizer is built, so that its parameters have the same numbers as when it was stored",
    ),
    "lost-on-averaged": Cause(
        "The average of a tied model is tied.",
        "Tie the averaged model again: averaged.module.head.weight = averaged.module.embedding.weight",
    ),
    "lost-on-checkpointing": Cause(
        "Gradient checkpointing gives the table the gradient that it gets without.",
        "Read the parameter inside the part that is computed again, without detach() or a copy that was made outside it",
    ),
    "lost-on-functional-call": Cause(
        "Called with other parameters, both uses read the table that was handed over.",
        "Read the parameter from its module in every forward, instead of keeping a reference to it elsewhere",
    ),
    "lost-on-compile": Cause(
        "The compiled model reads the table in every call.",
        "Read the parameter itself in forward; what is no parameter or buffer may be taken for a constant",
    ),
    "lost-on-export": Cause(
        "The exported graph reads one table in both uses.",
        "Register the table as a parameter of the model, so that both uses are lifted as one",
    ),
    # What torch itself loses on two names for one parameter.
    "lost-on-load-assign": Cause(
        "assign=True puts the tensors of the state dict in the place of the parameters, name by name, and torch does not tie "
        "again.",
        "Tie again after loading, before the optimizer is built: head.weight = embedding.weight",
    ),
    "lost-on-materialize": Cause(
        "to_empty gives every name memory of its own, so that one shared parameter becomes two.",
        "Tie again after to_empty and loading, before the optimizer is built: head.weight = embedding.weight",
    ),
    "lost-on-parametrize": Cause(
        "A parametrization is put on one module's weight; another module that shares the parameter goes on reading it bare.",
        "Register it for the module that holds the table and read the result there: logits = F.linear(h, embedding.weight)",
    ),
    "lost-on-weight-norm": Cause(
        "Weight norm stores direction and length for each module by itself.",
        "Put it on the embedding alone and read the result there: logits = F.linear(h, embedding.weight)",
    ),
    "lost-on-prune": Cause(
        "Pruning hides the parameter behind a mask of one module; another module that shares it keeps the whole table.",
        "Prune the embedding alone and read the result there: logits = F.linear(h, embedding.weight)",
    ),
    "lost-on-quantize": Cause(
        "Dynamic quantization packs the weights of Linear modules: such a head keeps a rounded copy of its own.",
        "Leave the head out of what is quantized, or read the embedding in the projection: logits = F.linear(h, embedding.weight)",
    ),
    "bad-initialization": Cause(
        "An untrained model guesses evenly, so that its loss is close to ln V. A table drawn with a standard deviation of one "
        "(the default of nn.Embedding) makes logits that are sqrt(D) times too large when it is the output matrix too.",
        "Draw the shared table small: nn.init.normal_(embedding.weight, std=0.02); weights that were trained already need nothing",
    ),
    "unknown": Cause(
        "Logits are h E^T, with what is declared put in.",
        "Compare the numbers below with what the model is meant to compute",
    ),
}

# What a cause means to a framework that is not torch, where the words above are torch's.
_RETURNED = "What comes back is tied as what went in."
_AGAIN = f"Store with the model that it is tied, or tie again in what comes back: {GENERIC}"
ELSEWHERE: dict[str, Cause] = {
    "nondeterministic": Cause(
        "The same ids give the same logits in eval mode.", "Switch off every random draw (dropout) outside of training"
    ),
    "stale-copy": Cause(
        "Both uses read the table itself. A kept copy agrees until the next update, then it is old.",
        f"Read the table in every forward instead of keeping a copy: {GENERIC}",
    ),
    "two-parameters-one-memory": Cause(
        "One parameter holds the table. Two over one memory look tied, but each gets a part of the gradient and its own "
        "optimizer state, so that Adam's step and weight decay act on the memory twice.",
        f"Share the parameter itself, not its array: {GENERIC}",
    ),
    "reduced-precision": Cause(
        "Both uses read the table in its own precision, or the whole forward runs in the narrower one.",
        "Drop the cast on the one use, or compute the whole forward in that dtype",
    ),
    "wrong-rows": Cause(
        "Token i reads row i, its logit comes from row i, and a forward pass leaves the table alone.",
        "Index with the ids as they are and project with the rows in their own order",
    ),
    "undeclared-bias": Cause(
        "Logits are h E^T alone; a bias is an addition to the tied map.",
        "Leave the bias out, or declare it: --assume output_bias=true",
    ),
    "undeclared-frozen": Cause(
        "The table is trained.", "Give it to the optimizer; or declare it: --assume frozen=true"
    ),
    "detached-projection": Cause(
        "The output projection gives every row of the table its share of the gradient.",
        "Let the gradient of the projection reach the table: nothing on the way may stop it",
    ),
    "detached-lookup": Cause(
        "The lookup gives the rows that were read their share of the gradient.",
        "Let the gradient of the lookup reach the table: nothing on the way may stop it",
    ),
    "missing-rows": Cause(
        "Every row gets its share of the gradient, padding rows apart where they are declared.",
        "Drop whatever leaves those rows out, or declare it: --assume padding_row=...",
    ),
    "gradient-scaled": Cause(
        "The gradient of the table is the sum of both shares, each with coefficient one.",
        "Remove the factor: a custom gradient, a mean over uses where the sum belongs, or a weight by frequency",
    ),
    "wrong-gradient": Cause(
        "The gradient of the table is the sum of both shares, row by row, and passes accumulate.",
        "Mend the custom gradient: it must return the gradient of its own row and add to what is there",
    ),
    "listed-twice": Cause(
        "Every enumeration lists the shared table once; twice, an optimizer steps it twice.",
        "Drop duplicates by identity where the list is made that the optimizer goes through",
    ),
    "not-listed": Cause("The table is what the optimizer is given.", "Give it to the optimizer, once"),
    "lost-on-train-mode": Cause(
        "A change of mode leaves the table alone.",
        f"Do not copy, merge or rebuild weights on one side when the mode changes; or tie again there: {GENERIC}",
    ),
    **{f"lost-on-{word}": Cause(_RETURNED, _AGAIN) for word in ("deepcopy", "load", "pickle", "save", "cast", "move")},
    "lost-on-freeze": Cause(
        "Freezing the table changes nothing but whether it trains.", "Leave the arrays as they are there"
    ),
    "bad-initialization": Cause(
        "An untrained model guesses evenly, so that its loss is close to ln V. A table drawn with a standard deviation of one "
        "makes logits that are sqrt(D) times too large when it is the output matrix too.",
        "Draw the shared table small, with a standard deviation of 0.02; weights that were trained already need nothing",
    ),
}
# A step that is not its formula's leaves the tie whole: the table was moved as one, and wrongly.
MOVED = Cause(
    "One optimizer step moves the one table once, by its formula; decay and clipping see it once.",
    "Give the optimizer each parameter once, in its groups and in what names the weights to decay, too",
)
# Where the projection was tied by force, what lies unused is the matrix that it should read.
UNREAD = Cause(
    "A model that is declared untied reads a matrix of its own in each use, and none lies unused.",
    "Let the projection read it: then the model is untied, and nothing is left over",
)
MOVED_TITLE = "an optimizer step moves the table by something else than its formula"


def unlisted(cause: str) -> Cause:
    """What there is to say of an operation that another package has added."""
    word = cause.removeprefix("lost-on-")
    if word == cause:
        return CAUSES["unknown"]
    return Cause(f"After the operation {word} both uses read one table.", f"Tie again afterwards: {GENERIC}")
