"""What else speaks against a checkpoint once its tables are compared, and which mends ``--write`` leaves to their reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from . import facts
from .along import alone, depends
from .checkpoint import Checkpoint
from .claims import Claim, architecture_of
from .compare import Comparison, compared
from .decisions import DROP
from .facts import State
from .flags import turned
from .rows import Action, Verdict
from .shapes import misfits, sizes
from .tables import HEADS, Table, Tables
from .wrapped import foreign, within

_OWNER = "which of them is meant, only its owner knows"


class Finding(NamedTuple):
    """The verdict as far as it is known."""

    verdict: Verdict
    message: str
    action: Action = ""
    mend: str = ""
    unwritten: str = ""


@dataclass(frozen=True)
class Case:
    """What there is to judge; ``apart``: what an adapter left in the file does to one use alone."""

    checkpoint: Checkpoint
    claim: Claim
    tied: bool | None
    tables: Tables
    comparison: Comparison | None
    state: State
    apart: str = ""

    @property
    def says(self) -> str:
        return f"{'tied' if self.tied else 'untied'}: {self.claim.says}"

    @property
    def ends(self) -> tuple[Table, ...]:
        return tuple(filter(None, (self.tables.embedding, self.tables.head)))

    @cached_property
    def twins(self) -> tuple[Table, ...]:
        """Further names of the lookup's table that the class ties."""
        names = {*(self.claim.ties or {}), *(self.claim.ties or {}).values()}
        return tuple(t for t in self.tables.twins if t.tensor.name in names)

    @cached_property
    def _off(self) -> tuple[Table, Comparison] | None:
        """The first of them that is another table than the lookup's."""
        one = self.tables.embedding
        against = ((twin, compared(one.tensor, twin.tensor)) for twin in self.twins) if one else ()
        return next(((twin, found) for twin, found in against if found.result == "different"), None)

    @property
    def loose(self) -> str:
        """Its name."""
        return self._off[0].tensor.name if self._off else ""

    @property
    def off(self) -> str:
        """The sentence of it."""
        if self._off is None or self.tables.embedding is None:
            return ""
        names = f"{self.tables.embedding.tensor.name} and {self.loose}"
        return f"tied: {self.claim.says}, but {names} are different tables: {self._off[1].detail}"

    @cached_property
    def misfit(self) -> str:
        """Tables of another size than the config's, where a loader takes the files at all."""
        return "" if self.unlisted or not self.loads else misfits(self.checkpoint.config, self.ends)

    @property
    def turned(self) -> str:
        """What is wrong with a head that lies transposed where the class, a known one, projects by nn.Linear."""
        head = self.tables.head
        if head is None or not head.turned or self.claim.ties is None or self.claim.headless:
            return ""
        lies, wants = (" x ".join(map(str, shape)) for shape in (head.stored, head.tensor.shape))
        return f"{head.tensor.name} is stored transposed, {lies}, where the class takes {wants}, and is refused"

    @property
    def hidden(self) -> str:
        """A table's name that is a wrapper's."""
        known = self.claim.ties is not None
        return next((t.tensor.name for t in self.ends if known and foreign(t.tensor.name)), "")

    @property
    def seen(self) -> State:
        """What a loader finds that knows no name of a wrapper."""
        roles = [t.role for t in self.ends if not foreign(t.tensor.name)]
        return self.state if len(roles) == 2 else f"{roles[0]} only" if roles else "unknown"  # type: ignore[return-value]

    @cached_property
    def alone(self) -> Mapping[str, str]:
        """What would be lost beside the tables with the flag false, in files that transformers loads by itself."""
        if not self.loads or self.hidden:
            return {}
        return alone(self.checkpoint.tensors, self.tables, self.checkpoint.config)

    @cached_property
    def another(self) -> str:
        """The config's class, where not one name in the files is of it, with its base model's prefix or without."""
        name = architecture_of(self.checkpoint.config or {})
        roots, held = facts.roots(name), self.checkpoint.tensors
        if not roots or not self.loads or self.unlisted or self.apart or any(map(foreign, held)):
            return ""
        words = [n.split(".") for n in held]
        if len({first for first, *_ in words}) == 1:  # a trainer's prefix, maybe
            words += [rest for _, *rest in words]
        return "" if any(word and word[0] in roots for word in words) else name

    @property
    def loads(self) -> bool:
        """Whether the files are of the formats that transformers loads by itself: an adapter may well resize its base."""
        return self.checkpoint.format in ("safetensors", "torch")

    @cached_property
    def unlisted(self) -> bool:
        """Whether transformers finds none of the files under the names that it looks for."""
        path, kind = self.checkpoint.path, self.checkpoint.format
        folder = path if path.is_dir() else path.parent
        first = {"safetensors": "model.safetensors", "torch": "pytorch_model.bin"}.get(kind)
        if first is None:
            return False
        names = {file.name for file in self.checkpoint.files}
        return first not in names and not (folder / f"{first}.index.json").exists()

    @property
    def refused(self) -> str:
        """Why transformers does not load it; "" where it does."""
        if self.unlisted:
            return "loads model.safetensors or pytorch_model.bin, and finds neither"
        other = self.comparison is not None and self.comparison.kind == "rows" and not self.claim.idle
        return "a table has not the size that the config gives" if other or self.turned or self.misfit else ""


def doubted(case: Case, finding: Finding) -> Finding:
    """The verdict after all that can be held against it."""
    if finding.verdict == "not decidable":
        return finding
    if case.checkpoint.apart and case.tied:
        message = f"{case.says}, but {case.checkpoint.apart}"
        mend = "train both uses or neither, or set ensure_weight_tying in the adapter's config and train again"
        finding = Finding("contradiction", message, "", mend)
    if case.off and case.tied and finding.verdict == "agreement":
        finding = Finding("contradiction", case.off, "", "write one table under all of these names", _OWNER)
    if case.tied is not None:
        for doubt in (_alone, _unsized, _transposed, _still_wrapped, _of_another):
            finding = doubt(case, finding)
    return _planned(case, finding)


def _alone(case: Case, finding: Finding) -> Finding:
    """Two tables, as the flag says; but of what the flag ties beside them, one name is stored."""
    two = case.tables.embedding is not None and case.tables.head is not None
    if finding.verdict != "agreement" or not two or case.tied is not False or case.claim.taken is not False:
        return finding
    if not case.alone or case.claim.headless or case.unlisted:
        return finding
    names = ", ".join(case.alone)
    message = f"{case.says}, but {names} is not stored, which the class ties by the flag alone, and starts afresh"
    return Finding("contradiction", message, "set flag false", "leave the flag false")


def _unsized(case: Case, finding: Finding) -> Finding:
    if not case.misfit:
        return finding
    if finding.action == "drop head" and not misfits(case.checkpoint.config, (case.tables.embedding,)):
        return finding
    message = f"{case.says}, but {case.misfit}, and is refused"
    mend = "resize the tables, or set vocab_size where all have one other size"
    return Finding("contradiction", message, "", mend, "which size is meant, only its owner knows")


def _transposed(case: Case, finding: Finding) -> Finding:
    if not case.turned:
        return finding
    message = f"{case.says}, but {case.turned}"
    if case.tied and case.state in ("equal", "nearly"):
        return Finding("contradiction", message, "drop head", DROP)
    mend = "write the head transposed" + (", and set the flag to false; or drop it" if case.tied else "")
    return Finding("contradiction", message, "", mend, "--write turns no matrix")


def _still_wrapped(case: Case, finding: Finding) -> Finding:
    inner = next((t.tensor.name for t in case.ends if case.loads and within(t.tensor.name)), "")
    if not (inner or (case.apart and case.tied)):
        return finding
    why = case.apart if case.tied and case.apart else f"no loader of the model finds a table under {inner}"
    message = f"{case.says}, but the file is of a model that PEFT still wraps, and {why}"
    mend = "merge the adapter (merge_and_unload) and save the model again, or save the adapter by itself"
    return Finding("contradiction", message, "", mend, "--write merges no adapter")


def _of_another(case: Case, finding: Finding) -> Finding:
    """No flag helps a class that finds none of its names."""
    if not case.another:
        return finding
    message = f"{case.says}, but the config is of another architecture: no key of {case.another} is stored"
    mend = "put the config of these weights beside them"
    return Finding("contradiction", message, "", mend, "whose weights they are, only their owner knows")


def _planned(case: Case, finding: Finding) -> Finding:
    """The mend as far as ``--write`` does it."""
    why = ""
    if finding.action in ("drop head", "write head") and case.checkpoint.format != "safetensors":
        why = f"--write rewrites safetensors, and the tables are in {case.checkpoint.format} files"
    elif finding.action == "write head" and not _head_is_known(case):
        why = "the name and size of this class's head are not known here"
    elif finding.action in ("set flag true", "set flag false"):
        return _turning(case, finding, finding.action == "set flag true")
    return finding._replace(action="", unwritten=why) if why else finding


def _turning(case: Case, finding: Finding, value: bool) -> Finding:
    """The flag is turned where nothing else turns with it, and no head is declared away."""
    left = _left(case) if value and case.state == "embedding only" else ""
    if left:
        return finding._replace(action="", unwritten=f"the file holds {left}, which may be its head")
    change = turned(case.checkpoint.config or {}, value)
    why = change.reason or ("" if value else _unwritten(case))
    if why:
        return finding._replace(action="", unwritten=why)
    if not value and case.alone:
        more = "; and store " + ", ".join(f"{source} as {name} too" for name, source in case.alone.items())
        finding = finding._replace(mend=f"{finding.mend}{more}: the class ties these by the same flag")
    told = ", ".join(f"{name}: {str(v).lower()}" for name, v in change.fields.items())
    if not told:
        return finding
    mend = f"{finding.mend}; with the flag goes {told}, which the class would else read off it"
    return finding._replace(mend=mend)


def _unwritten(case: Case) -> str:
    """Why the flag alone, set to false, would lose what the class ties beside the tables."""
    if case.loads and depends(case.checkpoint.config):
        return "other fields of the config decide what else the class ties by the flag"
    if case.alone and case.checkpoint.format != "safetensors":
        name, source = next(iter(case.alone.items()))
        return f"{name} is tied to {source} by the same flag, and --write rewrites no {case.checkpoint.format} files"
    return ""


def _left(case: Case) -> str:
    """A matrix that no table was made of, though a head's name is in its own."""
    taken = {t.tensor.name for t in (*case.ends, *case.tables.twins)}
    words = {word for word in HEADS if word not in ("output", "decoder", "head")}
    names = (n for n, t in case.checkpoint.tensors.items() if len(t.shape) == 2 and n not in taken)
    return next((name for name in names if words & set(name.split("."))), "")


def _head_is_known(case: Case) -> bool:
    """Whether a head can be written: its name is lm_head in such classes, and it has as many rows as the table."""
    config, table = case.checkpoint.config or {}, case.tables.embedding
    rows = sizes(config)[0]
    return architecture_of(config).endswith("ForCausalLM") and table is not None and table.tensor.shape[0] == rows
