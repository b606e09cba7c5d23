"""Which level of a nested config of transformers controls the tie: found by building it, and said in the notes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from tiecheck.conformance import check
from torch import nn

pytest.importorskip("transformers")

from tiecheck.adapters import huggingface
from tiecheck.adapters.huggingface_levels import TOP, explored, flagged, said

FLAG = "tie_word_embeddings"
TABLE = {
    "fuyu": f"{TOP} controls the tie; at text_config it does nothing, so that True there alone leaves two tables",
    "gemma3": f"{TOP} controls the tie; at text_config it does nothing, so that True there alone leaves two tables",
    "got_ocr2": f"{TOP} controls the tie; at text_config it does nothing, so that True there alone leaves two tables",
    "gemma4_unified": f"{TOP} controls the tie; at text_config it does nothing, so that True there alone leaves two tables",
    "t5gemma": f"{TOP} controls the tie; at encoder and decoder it does nothing, so that True there alone leaves two tables",
    "encoder-decoder": f"decoder controls the tie; at {TOP} and encoder it does nothing, so that True there alone leaves two tables",
    "moshi": "it does nothing; with True at all of them the model has two tables all the same",
    "qwen2_audio": "it does nothing; with True at all of them the model has two tables all the same",
    "gpt2": "",
    "t5": "",
}


@pytest.mark.parametrize("kind", TABLE)
def test_which_level_controls(kind: str) -> None:
    if kind not in huggingface.known_types():
        pytest.skip("this release of transformers has no such type")
    notes = huggingface.about_flag(kind, 0)
    if not TABLE[kind]:
        assert notes == ()
        return
    (note,) = notes
    names = list(flagged(huggingface.tiny_config(kind)))
    assert note == f"the flag {FLAG} stands at {', '.join(names[:-1])} and {names[-1]}: {TABLE[kind]}"


@pytest.mark.parametrize("kind", ["gemma3", "encoder-decoder"])
def test_the_notes_of_both_reports_say_it_and_a_single_one_s_do_not(kind: str) -> None:
    judged = check(f"hf:{kind}", "both", profile="quick")
    assert [report.declared for report in judged.reports] == ["tied", "untied"] and judged.conforms
    for report in judged.reports:
        assert any("controls the tie" in note for note in report.notes)
    alone = check(f"hf:{kind}", "tied", profile="quick")
    assert not any("controls the tie" in note for note in alone.notes)


def test_a_class_that_ignores_the_flag_at_every_level_is_told_so_twice() -> None:
    tied, untied = check("hf:qwen2_audio", "both", profile="quick").reports
    assert untied.conforms and tied.diagnosis[0].cause == "two-matrices"
    expected = f"The flag {FLAG} is ignored: built with {FLAG}=True the model has two matrices all the same."
    assert tied.diagnosis[0].explanation.startswith(expected)
    assert any("it does nothing; with True at all of them" in note for note in tied.notes)


def test_real_weights_are_not_loaded_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface.build("gemma3", tied=True, seed=0).model.save_pretrained(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    (note,) = huggingface.about_flag("./model", 0)
    assert TABLE["gemma3"] in note


# every sentence, of models whose levels count in other ways


class Config:
    sub_configs: ClassVar[dict[str, None]] = {"text_config": None, "audio_config": None}

    def __init__(self) -> None:
        self.tie_word_embeddings = True
        self.text_config, self.audio_config = Inner(), Inner()


class Inner:
    def __init__(self) -> None:
        self.tie_word_embeddings = True


class Model(nn.Module):
    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 4), nn.Linear(4, 11, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, ids: torch.Tensor) -> Any:
        return self.head(self.embedding(ids).cumsum(1))


def sentence(rule: Any) -> str:
    def build(config: Config) -> Model:
        levels = (config, config.text_config, config.audio_config)
        return Model(rule(*(level.tie_word_embeddings for level in levels)))

    config = Config()
    (told, *more) = said(explored(config, build, lambda model, ids: model(ids), 0))
    assert config.tie_word_embeddings and config.text_config.tie_word_embeddings  # left as it was
    prefix = f"the flag {FLAG} stands at {TOP}, text_config and audio_config: "
    assert told.startswith(prefix)
    return "; ".join([told.removeprefix(prefix), *more])


def refusing(top: bool, text: bool, audio: bool) -> bool:
    if top != text:
        raise ValueError("the two disagree")
    return top


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            lambda top, text, audio: text,
            f"text_config controls the tie; at {TOP} and audio_config it does nothing, so that True there alone leaves two tables",
        ),
        (
            lambda top, text, audio: top or text,
            f"either ties: {TOP} or text_config; at audio_config it does nothing, so that True there alone leaves two tables",
        ),
        (
            lambda top, text, audio: top and text,
            f"both must be on: {TOP} and text_config; at audio_config it does nothing, so that True there alone leaves two tables",
        ),
        (
            lambda top, text, audio: top and text and audio,
            f"all of these must be on: {TOP}, text_config and audio_config",
        ),
        (
            lambda top, text, audio: top or (text and audio),
            f"{TOP} controls the tie; text_config and audio_config tie it too, together",
        ),
        (
            lambda top, text, audio: top + text + audio > 1,
            "none ties alone and none is needed, but several together tie",
        ),
        (lambda *on: True, "it does nothing; with False at all of them the model is tied all the same"),
        (lambda *on: False, "it does nothing; with True at all of them the model has two tables all the same"),
    ],
)
def test_each_way_to_count_is_a_sentence(rule: Any, expected: str) -> None:
    assert sentence(rule) == expected


def test_a_refusal_of_levels_that_disagree_is_quoted() -> None:
    told = sentence(refusing)
    assert f"with {FLAG}=True at {TOP}: the two disagree" in told
