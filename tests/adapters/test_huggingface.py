"""hf: targets: what is built, what is declared, and the verdict on a spread of families with the flag on and off."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tiecheck.adapters import huggingface  # noqa: E402
from tiecheck.conformance import Declaration, NotJudged, check  # noqa: E402

CONFORM = (
    # scales, caps and padding rows
    "gemma", "gemma2", "gemma3_text", "recurrent_gemma", "cohere", "granite", "falcon_h1", "minicpm3",
    # a bias for each token
    "gptj", "phi", "ctrl", "bert", "roberta", "electra", "xlm", "xlnet",
    # plain, dense and with experts
    "gpt2", "openai-gpt", "opt", "bloom", "llama", "mistral", "mixtral", "qwen3", "deepseek_v3", "olmo", "stablelm",
    # no attention, or some
    "mamba", "mamba2", "rwkv", "jamba", "zamba",
    # encoder and decoder, or the decoder of one
    "bart", "t5", "pegasus", "prophetnet", "whisper",
)  # fmt: skip
NEVER_TIED = ("bigbird_pegasus", "mllama", "nemotron_h", "rembert")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small run faster on one thread, on a busy machine many times."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


# verdicts


@pytest.mark.parametrize("word", ["tied", "untied"])
@pytest.mark.parametrize("kind", CONFORM)
def test_a_family_conforms_with_the_flag_on_and_off(kind: str, word: str) -> None:
    report = check(f"hf:{kind}", declare=word, profile="quick")
    assert report.conforms, [(r.id, r.message) for r in report.results if r.verdict not in ("pass", "skip")]
    assert report.declared == word
    verdicts = {r.id: r.verdict for r in report.results}
    assert verdicts["storage.one-memory"] == "pass"


@pytest.mark.parametrize("kind", ["gpt2", "gemma", "bert", "t5"])
def test_turning_the_flag_costs_one_table(kind: str) -> None:
    report = check(f"hf:{kind}", select="count")
    assert {r.id: r.verdict for r in report.results}["count.saves-one-table"] == "pass"


@pytest.mark.parametrize("kind", NEVER_TIED)
def test_a_class_that_ignores_the_flag_is_two_matrices(kind: str) -> None:
    assert kind in huggingface.NEVER_TIED
    report = check(f"hf:{kind}", declare="tied", profile="quick")
    assert not report.conforms
    assert [d.cause for d in report.diagnosis] == ["two-matrices"]
    assert check(f"hf:{kind}", declare="untied", profile="quick").conforms


@pytest.mark.parametrize(
    ("kind", "without", "cause"),
    [
        ("gemma", {"input_scale": 1.0}, "undeclared-scale"),
        ("cohere", {"output_scale": 1.0}, "undeclared-scale"),
        ("gptj", {"output_bias": False}, "undeclared-bias"),
        ("gemma2", {"logit_softcap": None}, "undeclared-softcap"),
        ("llama", {"input_scale": "sqrt(D)"}, "declared-but-absent"),
        ("gpt2", {"output_bias": True}, "declared-but-absent"),
    ],
)
def test_an_extra_that_is_not_declared_or_not_there_is_named(kind: str, without: dict[str, object], cause: str) -> None:
    report = check(f"hf:{kind}", declare="tied", assume=without, profile="quick")
    assert [d.cause for d in report.diagnosis] == [cause]


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_the_standard_profile_conforms_too(kind: str) -> None:
    report = check(f"hf:{kind}", declare="both")
    assert report.conforms
    assert [r.declared for r in report.reports] == ["tied", "untied"]
    assert "the verdict is about the architecture, not about a checkpoint" in report.reports[0].notes[0]


# what is declared


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("gpt2", {}),
        ("gemma", {"input_scale": "sqrt(D)", "padding_row": 0}),
        ("gemma2", {"input_scale": "sqrt(D)", "logit_softcap": 30.0, "padding_row": 0}),
        ("gptj", {"output_bias": "lm_head.bias"}),
        ("bert", {"output_bias": "cls.predictions.bias", "padding_row": 0}),
        ("ctrl", {"input_scale": "sqrt(D)", "output_bias": "lm_head.bias"}),
        ("cohere", {"output_scale": 0.0625, "padding_row": 0}),
        ("whisper", {"padding_row": 0}),
        ("cpmant", {"vocabulary": 101}),
        ("recurrent_gemma", {"input_scale": 5.65625, "logit_softcap": 30.0, "padding_row": 0}),
    ],
)
def test_what_the_architecture_adds_is_declared(kind: str, expected: dict[str, object]) -> None:
    assert huggingface.build(kind, tied=True, seed=0).declaration == Declaration(**expected)


def test_the_tie_that_is_asked_for_is_the_one_that_is_declared() -> None:
    for tied in (True, False):
        built = huggingface.build("rembert", tied=tied, seed=0)
        assert built.declaration.tied is tied
        assert built.flag
    assert huggingface.build("gpt2", tied=None, seed=0).declaration.tied
    assert not huggingface.build("llama", tied=None, seed=0).declaration.tied


def test_the_bias_of_an_encoder_decoder_is_the_class_s_not_the_type_s() -> None:
    config = huggingface.tiny_config("bart", True)
    config.is_encoder_decoder = True
    model = transformers.BartForConditionalGeneration(config)
    assert huggingface.declared(model).output_bias == "final_logits_bias"
    assert huggingface.declared(config).output_bias is False


def test_a_wrapper_is_looked_through() -> None:
    model = huggingface.build("gptj", tied=True, seed=0).model
    for wrapped in (torch.compile(model), torch.nn.DataParallel(model)):
        assert huggingface.accepts(wrapped)
        assert huggingface.declared(wrapped).output_bias.endswith("lm_head.bias")
    assert not huggingface.accepts(torch.nn.Sequential(model))
    assert not huggingface.accepts(torch.nn.Linear(2, 2))
    assert huggingface.declared(torch.nn.Linear(2, 2)) == Declaration()


# building


def test_the_seed_makes_the_model_and_the_caller_s_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    one, again, other = (huggingface.build("gpt2", tied=True, seed=s).model for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(weights(one).values(), weights(again).values(), strict=True))
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)


@pytest.mark.parametrize("kind", ["gpt2", "bert", "prophetnet", "zamba", "t5"])
def test_the_twin_costs_one_table(kind: str) -> None:
    for tied, sign in ((True, 1), (False, -1)):
        built = huggingface.build(kind, tied=tied, seed=0)
        assert built.twin is not None
        own = sum(p.numel() for p in built.model.parameters() if p.requires_grad)
        assert (built.twin() - own) * sign == 101 * 32
        assert built.model.config.tie_word_embeddings is tied  # the model's own config is not touched


@pytest.mark.parametrize("kind", NEVER_TIED)
def test_a_flag_that_does_nothing_has_no_twin(kind: str) -> None:
    built = huggingface.build(kind, tied=False, seed=0)
    assert built.twin is not None
    assert built.twin() is None


@pytest.mark.parametrize("text", ["./{}", "{}"])
def test_a_folder_comes_with_its_real_weights(text: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = huggingface.build("gpt2", tied=True, seed=0).model
    model.save_pretrained(tmp_path / "model")
    name = "hf:./model" if text.startswith(".") else f"hf:{tmp_path / 'model'}"
    report = check(name, profile="quick")
    assert report.conforms
    assert not report.notes
    loaded = huggingface.build(name[3:], tied=None, seed=1).model
    assert torch.equal(loaded.transformer.wte.weight, model.transformer.wte.weight)
    assert check(name, declare="untied", profile="quick").declared == "untied"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("hf:gpt3", "no language model of type 'gpt3'"),
        ("hf:lama", "did you mean llama?"),
        ("hf:musicgen", "cannot be judged with token ids alone: it reads and writes several streams"),
        ("hf:./nowhere", "./nowhere is no folder with a config.json in it"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(target: str, words: str) -> None:
    with pytest.raises(NotJudged) as caught:
        check(target)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_value_of_the_flag_that_is_refused_loudly_is_not_judged_and_stands_beside_the_other() -> None:
    with pytest.raises(NotJudged, match=r"dbrx refuses tie_word_embeddings=True: .* not supported"):
        check("hf:dbrx", declare="tied", profile="quick")
    both = check("hf:dbrx", declare="both", profile="quick")
    assert both.conforms
    assert [r.declared for r in both.reports] == ["untied"]
    assert "dbrx refuses" in both.unjudged[0][1]


def test_an_encoder_decoder_gets_its_ids_on_both_sides_and_no_cache_is_asked_for() -> None:
    built = huggingface.build("t5", tied=True, seed=0)
    out = huggingface.call(built.model, torch.tensor([[3, 4, 5]]))
    assert out.logits.shape == (1, 3, 101)
    assert out.past_key_values is None
    assert huggingface.call(built.model, torch.tensor([[3, 4]]), labels=torch.tensor([[4, 5]])).loss.requires_grad


# the module


def test_importing_it_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from tiecheck.adapters import huggingface; huggingface.backend(); huggingface.accepts(object()); "
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_tiecheck_list_says_of_it() -> None:
    backend = huggingface.backend()
    assert (backend.name, backend.installed) == ("hf", True)
    assert huggingface.FLAG
    assert len(huggingface.model_types()) > 150


def test_every_fact_names_a_type_that_exists_and_gives_its_source() -> None:
    from tiecheck.adapters.huggingface_facts import CLASS_BIAS, FACTS
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    newest = tuple(map(int, transformers.__version__.split(".")[:2])) >= (5, 24)
    for kind, fact in FACTS.items():
        assert not newest or kind in CONFIG_MAPPING, kind  # an older release lacks some types
        assert fact.source.startswith("models/"), kind
    assert all((not newest or hasattr(transformers, name)) and fact.source for name, fact in CLASS_BIAS.items())
    assert not newest or set(huggingface.NEVER_TIED) <= set(CONFIG_MAPPING)
