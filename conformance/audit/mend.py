"""``--write OUT``: a copy of a folder with the mend in it, audited before it gets its name."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import NotJudged
from .along import alone
from .checkpoint import Checkpoint, units
from .flags import turned
from .rows import Row
from .safely import check_link, read_json, said
from .tables import Tables
from .tensors import BLOCK, Tensor, opened


def mended(rows: list[Row], path: Path, out: Path) -> list[Row]:
    """The row of the copy; none where nothing is to be mended. Raises NotJudged where it cannot be written or proved."""
    if len(rows) != 1:
        raise NotJudged(f"--write mends one checkpoint at a time, and {said(path)} holds {len(rows)}")
    row = rows[0]
    if row.verdict == "agreement" and not row.mend:
        raise NotJudged(f"{said(path)} needs no mend, and nothing was written: {row.message}")
    if not row.action:
        raise NotJudged(f"no mend of {said(path)} can be written: {row.unwritten or row.mend or row.message}")
    if not path.is_dir() or not set(row.format.split("+")) <= {"safetensors", "torch"}:
        raise NotJudged(f"--write mends a folder of safetensors or torch files, and {said(path)} is none")
    checkpoint = units(path)[0].read()
    try:
        return [_written(row, checkpoint, path, out)]
    except OSError as error:
        raise NotJudged(f"{said(out)} cannot be written: {error.strerror or error}") from None


def _written(row: Row, checkpoint: Checkpoint, path: Path, out: Path) -> Row:
    """Beside its place first: nobody sees half a checkpoint under the name."""
    from .verdict import judged

    staged = Path(tempfile.mkdtemp(dir=out.absolute().parent, prefix=".tiecheck-"))
    try:
        os.chmod(staged, 0o755)
        done = _mend(row, checkpoint, staged)
        _copy(path, staged, done)
        proof = judged(units(staged)[0].read())
        if proof.verdict != "agreement":
            raise NotJudged(f"the mend ({row.action}) does not do: {proof.message}")
        os.rename(staged, out)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    notes = (*proof.notes, f"written by `{row.action}`, and audited")
    return replace(proof, path=str(out), notes=notes)


def _mend(row: Row, checkpoint: Checkpoint, staged: Path) -> set[str]:
    """Write what changes; the names of those files."""
    if row.action == "set flag true":
        return _flag(checkpoint, staged, True)
    if row.action == "set flag false":
        missing = _alone(row, checkpoint)
        return _flag(checkpoint, staged, False) | (_rewritten(checkpoint, staged, add=missing) if missing else set())
    names = {table.role: table.tensor.name for table in row.tables[:2]}
    if row.action == "drop head":
        return _rewritten(checkpoint, staged, drop=names["head"])
    return _rewritten(checkpoint, staged, add={"lm_head.weight": names["embedding"]}) | _flag(checkpoint, staged, False)


def _flag(checkpoint: Checkpoint, staged: Path, value: bool) -> set[str]:
    """The flag alone, whatever else the class reads off it."""
    config = turned(read_json(checkpoint.path / "config.json"), value).config
    (staged / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return {"config.json"}


def _alone(row: Row, checkpoint: Checkpoint) -> dict[str, str]:
    """What the class tied under the flag beside the tables, to be stored under each of its names."""
    first = {table.role: table for table in reversed(row.tables)}
    tables = Tables(first.get("embedding"), first.get("head"))
    return alone(checkpoint.tensors, tables, checkpoint.config)


def _rewritten(
    checkpoint: Checkpoint, staged: Path, drop: str = "", add: Mapping[str, str] = MappingProxyType({})
) -> set[str]:
    """The files that hold the tables, without a tensor or with copies of some under further names; and the index."""
    tensors = checkpoint.tensors
    files = {name: tensors[source].file for name, source in add.items()}
    indices = list(checkpoint.path.glob("*.safetensors.index.json"))
    written = set()
    for file in dict.fromkeys([*files.values(), *([tensors[drop].file] if drop else [])]):
        kept = {name: t for name, t in tensors.items() if t.file == file and name != drop}
        kept |= {name: tensors[source] for name, source in add.items() if files[name] == file}
        if kept or not indices:  # a shard of which nothing is left goes, where an index says which there are
            _save(staged / file.relative_to(checkpoint.path), kept, _metadata(file))
        written.add(str(file.relative_to(checkpoint.path)))
    for index in indices:
        listed = read_json(index, 1 << 30)
        listed["weight_map"].pop(drop, None)
        listed["weight_map"] |= {name: file.name for name, file in files.items()}
        total = sum(t.nbytes for name, t in tensors.items() if name != drop)
        total += sum(tensors[source].nbytes for source in add.values())
        if isinstance(listed.get("metadata"), dict):
            listed["metadata"]["total_size"] = total
        (staged / index.name).write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
        written.add(index.name)
    return written


def _metadata(file: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as opened_file:
        return dict(opened_file.metadata() or {})


def _save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """A safetensors file, streamed: the widest elements first, as the library lays them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    order = sorted(tensors.items(), key=lambda item: (-item[1].item, item[0]))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, tensor in order:
        dtype = tensor.dtype
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [end, end + tensor.nbytes]}
        end += tensor.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in order:
            for block in _bytes(tensor):
                stream.write(block)


def _bytes(tensor: Tensor) -> Iterable[bytes]:
    handle = opened(tensor.file)
    try:
        for start in range(0, tensor.nbytes, BLOCK):
            yield os.pread(handle, min(BLOCK, tensor.nbytes - start), tensor.offset + start)
    finally:
        os.close(handle)


def _copy(path: Path, staged: Path, done: set[str]) -> None:
    """Everything else, as it is; links become what they lead to."""
    for root, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not (Path(root) / name).is_symlink()]
        for name in files:
            source = Path(root) / name
            inner = source.relative_to(path)
            if str(inner) in done:
                continue
            check_link(path, source)
            if not source.is_file():
                raise NotJudged(f"{said(source)} is no regular file, and is not copied")
            (staged / inner).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, staged / inner)
