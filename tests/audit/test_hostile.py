"""Files that lie, lead elsewhere or would run code: one sentence, exit status 2, and nothing is executed."""

import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from made import checkpoint, table
from safetensors.numpy import save_file

E = table()


@pytest.fixture
def folder(tmp_path):
    return checkpoint(tmp_path / "model", E, E.copy(), tie_word_embeddings=True)


def header(path, change):
    """The file's header, changed as a dictionary."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    text = json.dumps(change(json.loads(raw[8 : 8 + size]))).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + size :])


def lying(entry, **changes):
    def change(values):
        values[entry] = {**values[entry], **changes}
        return values

    return change


@pytest.mark.parametrize(
    "change",
    [
        lying("model.embed_tokens.weight", data_offsets=[0, E.nbytes]),
        lying("lm_head.weight", data_offsets=[0, 1 << 62]),
        lying("lm_head.weight", data_offsets=[8, 4]),
        lying("lm_head.weight", shape=[1 << 40, 1 << 40]),
        lying("lm_head.weight", shape=[-1, 8]),
        lying("lm_head.weight", dtype="F99"),
        lying("lm_head.weight", shape="many"),
        lambda values: {"x": 1, **values},
        lambda values: [],
    ],
)
def test_headers_that_lie(change, folder, refused):
    header(folder / "model.safetensors", change)
    assert "model.safetensors" in refused(folder)


@pytest.mark.parametrize("size", [0, 4, 8, 100, 600, -1])
def test_truncated(size, folder, refused):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    refused(folder)


def test_a_header_of_many_gigabytes(folder, refused):
    (folder / "model.safetensors").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    refused(folder)


def test_a_name_twice_in_a_header(folder, refused):
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"model.norm.weight", b"lm_head.weight   ").replace(b'weight   "', b'weight"   '))
    refused(folder)


def shards(folder, weight_map, files):
    (folder / "model.safetensors").unlink()
    for name, tensors in files.items():
        save_file(tensors, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


ONE, TWO = {"model.embed_tokens.weight": E}, {"lm_head.weight": E.copy()}


@pytest.mark.parametrize(
    ("weight_map", "files", "word"),
    [
        ({"lm_head.weight": "a.safetensors"}, {}, "no such file"),
        ({"lm_head.weight": "../a.safetensors"}, {}, "outside"),
        ({"lm_head.weight": "/etc/passwd"}, {}, "outside"),
        ({"lm_head.weight": "sub/../../x"}, {}, "outside"),
        ({"lm_head.weight": 3}, {}, "no name of a file"),
        ({"lm_head.weight": ["a"]}, {}, "no name of a file"),
        ({"lm_head.weight": "a\0b"}, {}, "no name of a file"),
        ({"lm_head.weight": "a.safetensors"}, {"a.safetensors": ONE}, "does not"),
        (
            {"lm_head.weight": "a.safetensors", "x": "b.safetensors"},
            {"a.safetensors": TWO, "b.safetensors": TWO},
            "two files",
        ),
        ({}, {}, "no weight_map"),
        ("a", {}, "no weight_map"),
    ],
)
def test_indices_that_lie(weight_map, files, word, folder, refused):
    shards(folder, weight_map, files)
    assert word in refused(folder)


def test_a_shard_listed_twice(folder, refused):
    shards(folder, {}, {"a.safetensors": ONE, "b.safetensors": TWO})
    text = '{"weight_map": {"lm_head.weight": "a.safetensors", "lm_head.weight": "b.safetensors"}}'
    (folder / "model.safetensors.index.json").write_text(text)
    assert "twice" in refused(folder)


def test_shards_that_are_missing_without_an_index(folder, refused):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00003.safetensors")
    assert "1 of 3" in refused(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("target", ["/etc/passwd", "/dev/zero", "nowhere", "itself"])
def test_links(name, target, folder, refused):
    (folder / name).unlink()
    (folder / name).symlink_to(folder / name if target == "itself" else target)
    assert name in refused(folder)


def test_links_that_are_in_order(folder, audit, tmp_path):
    (folder / "model.safetensors").rename(folder / "weights")
    (folder / "model.safetensors").symlink_to("weights")
    assert audit(folder)[0] == 0
    hub = tmp_path / "models--a--b"
    (hub / "blobs").mkdir(parents=True)
    snapshot = hub / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    for name in ("weights", "config.json"):
        (folder / name).rename(hub / "blobs" / name)
    (snapshot / "model.safetensors").symlink_to("../../blobs/weights")
    (snapshot / "config.json").symlink_to("../../blobs/config.json")
    assert audit(snapshot)[0] == 0
    assert audit(hub)[0] == 0
    (tmp_path / "link").symlink_to(snapshot)
    assert audit(tmp_path / "link")[0] == 0


def test_no_regular_file(folder, refused):
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    assert "no regular file" in refused(folder)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "3", '{"a": NaN', "{" * 100, '{"a":' * 200_000 + "1" + "}" * 200_000, "[" * 500_000, "\0", "\ud800",
        '{"tie_word_embeddings": true, "tie_word_embeddings": false}', '{"a": ' + "9" * 10_000 + "}",
    ],
    ids=range(12),
)  # fmt: skip
def test_configs(text, folder, refused):
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert "config.json" in refused(folder)


def test_a_config_of_a_gigabyte(folder, refused):
    os.truncate(folder / "config.json", 1 << 30)
    assert "1.07 GB" in refused(folder)


def test_odd_words_in_a_config_are_not_followed(folder, audit):
    claims = {
        "model_type": "../../x", "architectures": ["pipeline", {}], "tie_word_embeddings": True, "auto_map": {"AutoConfig": "e.C"},
        "vocab_size": 10**12, "hidden_size": "many", "num_hidden_layers": 10**15, "text_config": {"model_type": "llama"},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(claims))
    (folder / "e.py").write_text("raise SystemExit(7)")
    assert audit(folder)[0] == 0
    del claims["tie_word_embeddings"]
    for kind in ("gemma3", "llama", "os"):
        (folder / "config.json").write_text(json.dumps({**claims, "model_type": kind}))
        assert audit(folder)[0] in (0, 2)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("head", ["none", "equal", "other"])
def test_nan(head, sign, dtype, audit, tmp_path):
    bad = E.astype(dtype)
    bad[17, 3] = np.copysign(np.nan, sign)
    other = {"none": None, "equal": bad.copy(), "other": table(1).astype(dtype)}[head]
    status, (row,), err = audit(checkpoint(tmp_path / "m", bad, other, tie_word_embeddings=True))
    assert (status, row["verdict"]) == (2, "not decidable")
    assert "NaN" in err and "row 17" in err and len(err.strip().splitlines()) == 1


class Bomb:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def bombs(canary):
    command = f"touch {canary}"
    yield "os.system", Bomb(os.system, command)
    yield "eval", Bomb(eval, f"open({str(canary)!r}, 'w')")
    yield "exec", Bomb(exec, f"open({str(canary)!r}, 'w')")
    yield "getattr", Bomb(getattr, 1, "real")
    yield "in a table", {"embed_tokens.weight": Bomb(os.system, command)}
    yield "torch.load", Bomb(torch.load, str(canary))
    yield "torch.hub", Bomb(torch.hub.load, "a/b", "c")


@pytest.mark.parametrize("number", range(7))
@pytest.mark.parametrize("ending", ["pytorch_model.bin", "x.pt", "x.ckpt"])
def test_a_pickle_that_would_run_code(number, ending, refused, tmp_path):
    canary = tmp_path / "executed"
    folder = tmp_path / "m"
    folder.mkdir()
    name, bomb = list(bombs(canary))[number]
    torch.save({"model": bomb}, folder / ending)
    said = refused(folder)
    assert ending in said and not canary.exists(), name
    (folder / ending).write_bytes(pickle.dumps(bomb))
    refused(folder)
    assert not canary.exists()


def rebuilt(path, change):
    """A torch file whose entries went through ``change(name, bytes)``."""
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", change("", b"") or zipfile.ZIP_STORED) as archive:
        for name, raw in entries:
            archive.writestr(name, change(name, raw))


def saved(folder, **tensors):
    folder.mkdir(exist_ok=True)
    torch.save(tensors or {"embed_tokens.weight": torch.from_numpy(E)}, folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"


def test_zip_bombs(refused, tmp_path):
    path = saved(tmp_path / "m", zeros=torch.zeros(1 << 16))
    rebuilt(path, lambda name, raw: raw if name else zipfile.ZIP_DEFLATED)
    assert "compressed" in refused(path)


def test_zips_that_lie(refused, tmp_path):
    path = saved(tmp_path / "m")
    good = path.read_bytes()
    rebuilt(path, lambda name, raw: raw[:100] if name.endswith("data/0") else raw if name else 0)
    assert "less than" in refused(path)
    path.write_bytes(good)
    rebuilt(path, lambda name, raw: b"big" if name.endswith("byteorder") else raw if name else 0)
    assert "little-endian" in refused(path)
    path.write_bytes(good[:-30])
    refused(path)
    path.write_bytes(good[: len(good) // 2])
    refused(path)
    for raw in (b"", b"PK\x03\x04", b"\x80\x02}q\x00.", b"\x1f\x8b" + bytes(50)):
        path.write_bytes(raw)
        refused(path)
    # two entries of one directory over the same bytes
    at = good.find(b"PK\x01\x02")
    second = good.find(b"PK\x01\x02", at + 4)
    path.write_bytes(good[: second + 42] + good[at + 42 : at + 46] + good[second + 46 :])
    refused(path)


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02.", b"\x80\x02N", b"\x80\x02(((((((.", b"\x80\x02]q\x00h\x00a.", b"\x80\x02h\x07.", b"\x80\x05\x8c\x02osq\x00\x93.",
        b"\x80\x04\x95" + b"\xff" * 8 + b".", b"\x80\x02c__builtin__\neval\n.", b"\x80\x02X\xff\xff\xff\x7fa.",
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    ],
    ids=range(10),
)  # fmt: skip
def test_pickles_that_are_damaged(pickled, audit, tmp_path):
    path = saved(tmp_path / "m")
    rebuilt(path, lambda name, raw: pickled if name.endswith("data.pkl") else raw if name else 0)
    status, _, err = audit(path)
    assert status == 2 and len(err.strip().splitlines()) == 1 and "Traceback" not in err


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_program_is_not_run(refused, tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "m.pt"))
    refused(tmp_path / "m.pt")


@pytest.mark.parametrize("path", ["missing", "", "a\0b", "x" * 5000, "/proc/self/mem", "/dev/zero", "/dev/null"])
def test_paths(path, tiecheck):
    status, out, err = tiecheck("audit", path)
    assert status == 2 and not out and len(err.strip().splitlines()) == 1


def test_empty_folders_and_other_files(refused, tmp_path):
    refused(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing")
    refused(tmp_path)
    assert "none of safetensors" in refused(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"GGUF", b"GGML" + bytes(40), b"GGUF" + struct.pack("<IQQ", 99, 0, 0), b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 62),
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<IIQ", 9, 4, 1 << 61),
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<IIQ", 9, 8, 1 << 23),
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<IIQ", 9, 9, 5) * 50,
        b"GGUF" + struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<IQQIQ", 2, 1 << 40, 1 << 40, 0, 0),
    ],
    ids=range(11),
)  # fmt: skip
def test_gguf(raw, refused, tmp_path):
    pytest.importorskip("gguf", reason="gguf is not installed; `tox -e audit` installs it")
    (tmp_path / "m.gguf").write_bytes(raw)
    assert "m.gguf" in refused(tmp_path / "m.gguf")
