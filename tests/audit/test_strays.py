"""What lies beside and below a checkpoint: folders of folders, runs, orphans; and where a mended copy may go."""

import json

import numpy as np
from made import checkpoint, table
from safetensors.numpy import load_file, save_file

E, OTHER = table(), table(1)


def test_a_loose_file_hides_no_folder(audit, tmp_path):
    checkpoint(tmp_path / "a", E, None, tie_word_embeddings=True)
    checkpoint(tmp_path / "b", E, OTHER, tie_word_embeddings=True)
    save_file({"x": np.ones(3, np.float32)}, tmp_path / "loose.safetensors")
    status, rows, _ = audit(tmp_path)
    assert status == 2
    assert [(row["path"], row["verdict"]) for row in rows] == [
        (str(tmp_path), "not decidable"),
        (str(tmp_path / "a"), "agreement"),
        (str(tmp_path / "b"), "contradiction"),
    ]


def test_the_checkpoints_of_a_run_are_named(audit, tmp_path):
    checkpoint(tmp_path / "run", E, None, tie_word_embeddings=True)
    checkpoint(tmp_path / "run" / "checkpoint-10", E, OTHER, tie_word_embeddings=True)
    (tmp_path / "run" / "logs").mkdir()
    status, (row,), _ = audit(tmp_path / "run")
    assert status == 0
    assert row["notes"] == ["not looked at, and to be audited by themselves: the checkpoints in checkpoint-10"]


def sharded(folder, head):
    checkpoint(folder, E, None, tie_word_embeddings=True)
    held = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file(held, folder / "model-00001-of-00002.safetensors", {"format": "pt"})
    save_file({"lm_head.weight": head}, folder / "model-00002-of-00002.safetensors", {"format": "pt"})
    names = dict.fromkeys(held, "model-00001-of-00002.safetensors")
    return {**names, "lm_head.weight": "model-00002-of-00002.safetensors"}


def test_a_shard_that_the_index_does_not_name_is_told(audit, tmp_path):
    names = sharded(tmp_path, OTHER)
    names.pop("lm_head.weight")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    status, (row,), _ = audit(tmp_path)
    (note,) = row["notes"]
    assert status == 0 and "model-00002-of-00002.safetensors is no part" in note and "holds lm_head.weight" in note
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"damaged")
    status, (row,), _ = audit(tmp_path)
    assert status == 0 and "is no part" in row["notes"][0]


def test_a_shard_of_which_nothing_is_left_goes(audit, tmp_path):
    folder = tmp_path / "m"
    names = sharded(folder, E.copy())
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    status, rows, _ = audit(folder, "--write", tmp_path / "out")
    assert status == 0 and rows[1]["state"] == "embedding only" and rows[1]["notes"][:-1] == []
    assert [p.name for p in (tmp_path / "out").glob("*.safetensors")] == ["model-00001-of-00002.safetensors"]
    listed = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert set(listed["weight_map"].values()) == {"model-00001-of-00002.safetensors"}


def test_no_copy_is_written_into_the_original(audit, tmp_path):
    folder = checkpoint(tmp_path / "m", E, OTHER, tie_word_embeddings=True)
    (tmp_path / "link").symlink_to(folder)
    for source, out in (
        (folder, folder / "out"),
        (tmp_path / "link", folder / "out"),
        (folder, tmp_path / "link" / "o"),
    ):
        status, rows, err = audit(source, "--write", out)
        assert (status, rows) == (2, []) and "lies inside it" in err and not out.exists()
