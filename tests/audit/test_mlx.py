"""The table of facts says what mlx-lm does, where it is installed."""

import dataclasses
import importlib

import pytest
from test_writers import flag, model
from tiecheck.conformance.audit import facts

utils = pytest.importorskip("mlx_lm.utils", reason="mlx-lm is not installed; `tox -e audit` installs it")


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("claim", [True, False, None])
@pytest.mark.parametrize("tied", [True, False], ids=["one table", "two tables"])
def test_what_it_makes_of_a_checkpoint(tied, claim, kind, audit, tmp_path):
    model(kind, tied).save_pretrained(tmp_path)
    flag(tmp_path, claim)
    _, (row,), _ = audit(tmp_path)
    said = next(x["outcome"] for x in row["loaders"] if x["loader"] == "mlx-lm")
    try:
        loaded, _config = utils.load_model(tmp_path)
    except ValueError as error:
        assert said == "refuses" and "lm_head" in str(error)
        return
    assert said == ("untied" if "lm_head" in loaded else "tied")


def test_the_defaults_of_its_modules():
    for names, value in ((facts.MLX_TIED, True), (facts.MLX_UNTIED, False)):
        for name in names:
            module = importlib.import_module(f"mlx_lm.models.{name}")
            kinds = [kind for kind in vars(module).values() if dataclasses.is_dataclass(kind)]
            found = {f.default for kind in kinds for f in dataclasses.fields(kind) if f.name == "tie_word_embeddings"}
            assert value in found, name
