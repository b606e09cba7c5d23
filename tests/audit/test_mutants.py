"""500 mutants of each format: a verdict or one sentence, never anything else, and soon."""

import io
import json
import random
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from made import config, table
from safetensors.numpy import save
from tiecheck.conformance.audit.command import rows_of

COUNT = 500
E = table()
ODD = (0, 1, 0x7F, 0x80, 0xFF)


def safetensors(folder: Path) -> Path:
    tensors = {"model.embed_tokens.weight": E, "lm_head.weight": E.copy(), "model.norm.weight": np.ones(8, np.float32)}
    (folder / "model.safetensors").write_bytes(save(tensors))
    return folder / "model.safetensors"


def torch_zip(folder: Path) -> Path:
    path = folder / "pytorch_model.bin"
    embed = torch.from_numpy(E)
    torch.save({"model.embed_tokens.weight": embed, "lm_head.weight": embed, "step": 3}, path)
    return path


def gguf(folder: Path) -> Path:
    pytest.importorskip("gguf", reason="gguf is not installed; `tox -e audit` installs it")
    from test_gguf import E as wide
    from test_gguf import write

    return write(folder / "model.gguf", wide, wide, ("Q8_0", "F16"))


def onnx(folder: Path) -> Path:
    made = pytest.importorskip("onnx", reason="onnx is not installed; `tox -e audit` installs it")
    from test_onnx import D, V, graph

    rng = np.random.default_rng(0)
    made.save(graph(*(rng.standard_normal((V, D)).astype(np.float32) for _ in range(2))), folder / "model.onnx")
    return folder / "model.onnx"


def index(folder: Path) -> Path:
    safetensors(folder).rename(folder / "a.safetensors")
    names = ("model.embed_tokens.weight", "lm_head.weight", "model.norm.weight")
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 3104}, "weight_map": dict.fromkeys(names, "a.safetensors")}))
    return path


def claims(folder: Path) -> Path:
    safetensors(folder)
    return folder / "config.json"


def adapter(folder: Path) -> Path:
    safetensors(folder)
    inner = folder / "adapter"
    inner.mkdir()
    (inner / "adapter_config.json").write_text('{"base_model_name_or_path": "..", "modules_to_save": ["lm_head"]}')
    (inner / "adapter_model.safetensors").write_bytes(save({"base_model.model.lm_head.weight": E}))
    return inner / "adapter_config.json"


def mutant(raw: bytes, rng: random.Random, head: int) -> bytes:
    """One to four changes, most of them where the header is."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(min(head, len(data)) if rng.random() < 0.8 and head else len(data) or 1)
        match rng.randrange(8):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                data[at : at + 1] = bytes([data[at] ^ (1 << rng.randrange(8))]) if at < len(data) else b""
            case 2:
                del data[at : at + rng.randint(1, 16)]
            case 3:
                data[at:at] = bytes(rng.choice(ODD) for _ in range(rng.randint(1, 16)))
            case 4:
                data[at:at] = data[at : at + rng.randint(1, 64)]
            case 5:
                data[at : at + 8] = rng.choice((0, 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)).to_bytes(8, "little")
            case 6:
                digits = [i for i, byte in enumerate(data[:head]) if 48 <= byte < 58]
                if digits:
                    i = rng.choice(digits)
                    data[i : i + 1] = rng.choice((b"-1", b"9" * 19, b"9" * 30, b"1e9", b"0", b'"x"', b"null", b"[]"))
            case _:
                data = data[: rng.randrange(len(data) + 1)] if rng.random() < 0.3 else data
        data = data or bytearray(b"\0")
    return bytes(data)


def with_pickle(raw: bytes, rng: random.Random) -> bytes:
    """A sound zip around a mutant of the pickle."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            entry = old.read(name)
            new.writestr(name, mutant(entry, rng, len(entry)) if name.endswith("data.pkl") else entry)
    return made.getvalue()


FORMATS = {f.__name__: f for f in (safetensors, torch_zip, gguf, onnx, index, claims, adapter)}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", FORMATS)
def test_mutants(name, tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config(tie_word_embeddings=True, vocab_size=48)))
    path = FORMATS[name](folder)
    target = path.parent
    raw = path.read_bytes()
    head = {"safetensors": 300, "gguf": 2600, "onnx": 300}.get(name, len(raw))
    verdicts: dict[str, int] = {}
    for seed in range(COUNT):
        rng = random.Random(seed)
        changed = with_pickle(raw, rng) if name == "torch_zip" and seed % 2 else mutant(raw, rng, head)
        path.write_bytes(changed)
        start = time.perf_counter()
        rows = rows_of(target)
        assert time.perf_counter() - start < 10, seed
        for row in rows:
            assert row.exit_status in (0, 1, 2) and row.message and "\n" not in row.message, (seed, row)
            json.dumps(row.to_dict(), allow_nan=False)
            verdicts[row.verdict] = verdicts.get(row.verdict, 0) + 1
    assert verdicts.get("unreadable", 0) > 50, verdicts
