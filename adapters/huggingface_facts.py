"""What the model classes of transformers do and their configs do not say, by model type, each entry with its source.

Read off transformers 5.24 and checked by observation on a tiny model of every type (scales seen on the lookup and on
the logits, V-long vectors moved one by one, ``padding_idx`` as the kernel got it). Sources are relative to the package
``transformers``; ``c`` is the config of the text model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Read = Callable[[Any], Any]


@dataclass(frozen=True)
class Fact:
    """What one model type (or class) adds to the plain tie.

    Attributes:
        source: the file of transformers and the code that does it.
        input_scale, output_scale: a number, ``"sqrt(D)"``, ``"1/sqrt(D)"`` or a parameter's name, or a function from
            the text config to one of them; None or 1 is no scale.
        output_bias: the parameter (or buffer) that holds one bias per token, or a function from the text config.
        softcap: a function from the text config to the cap or None.
        vocabulary: a function from the text config to the number of legal tokens, where the table has more rows.
    """

    source: str
    input_scale: float | str | Read | None = None
    output_scale: float | str | Read | None = None
    output_bias: bool | str | Read | None = None
    softcap: Read | None = None
    vocabulary: Read | None = None


def _bert_head(module: str, line: str) -> Fact:
    return Fact(f"models/{module}/modeling_{module}.py: {line}", output_bias="cls.predictions.decoder.bias")


def _roberta_head(module: str) -> Fact:
    line = "self.decoder = nn.Linear(config.hidden_size, config.vocab_size)"
    return Fact(f"models/{module}/modeling_{module}.py: {line}", output_bias="lm_head.decoder.bias")


def _gemma(module: str, line: str = "embed_scale=self.config.hidden_size**0.5") -> Fact:
    return Fact(f"models/{module}/modeling_{module}.py: {line}", input_scale="sqrt(D)")


def _granite(module: str) -> Fact:
    return Fact(
        f"models/{module}/modeling_{module}.py: inputs_embeds * self.embedding_multiplier, "
        "logits / self.config.logits_scaling",
        input_scale=lambda c: c.embedding_multiplier,
        output_scale=lambda c: 1.0 / c.logits_scaling,
    )


def _cohere(module: str) -> Fact:
    return Fact(
        f"models/{module}/modeling_{module}.py: logits = logits * self.logit_scale",
        output_scale=lambda c: c.logit_scale,
    )


def _unpadded(c: Any) -> int | None:
    """The number of legal tokens of the Inkling family, None where it pads nothing."""
    legal: int | None = c.unpadded_vocab_size
    return legal if legal is not None and legal < c.vocab_size else None


_WITH_BIAS = "nn.Linear(config.hidden_size, config.vocab_size, bias=True)"
_EMBEDDING = "nn.Linear(config.embedding_size, config.vocab_size, bias=True)"

FACTS: dict[str, Fact] = {
    # scale of the lookup
    "afmoe": Fact(
        "models/afmoe/modeling_afmoe.py: if self.config.mup_enabled: hidden_states * (self.config.hidden_size**0.5)",
        input_scale=lambda c: "sqrt(D)" if c.mup_enabled else None,
    ),
    "big_bird": Fact(
        "models/big_bird/modeling_big_bird.py: if self.rescale_embeddings: inputs_embeds * (self.hidden_size**0.5); "
        f"self.decoder = {_WITH_BIAS}",
        input_scale=lambda c: "sqrt(D)" if c.rescale_embeddings else None,
        output_bias="cls.predictions.decoder.bias",
    ),
    "blenderbot-small": Fact(
        "models/blenderbot_small/modeling_blenderbot_small.py: the decoder sets self.embed_scale, unused",
        input_scale=1.0,
    ),
    "ctrl": Fact(
        "models/ctrl/modeling_ctrl.py: inputs_embeds *= np.sqrt(self.d_model_size); "
        "self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=True)",
        input_scale="sqrt(D)",
        output_bias="lm_head.bias",
    ),
    "gemma": _gemma("gemma"),
    "gemma2": _gemma("gemma2"),
    "gemma3": Fact(
        "models/gemma3/modeling_gemma3.py: embed_scale=self.config.hidden_size**0.5; "
        "Gemma3ForConditionalGeneration.forward applies no cap, unlike Gemma3ForCausalLM",
        input_scale="sqrt(D)",
        softcap=lambda c: None,
    ),
    "gemma3_text": _gemma("gemma3"),
    "gemma3n": _gemma("gemma3n"),
    "gemma3n_text": _gemma("gemma3n"),
    "gemma4": _gemma("gemma4"),
    "gemma4_text": _gemma("gemma4"),
    "gemma4_unified": _gemma("gemma4_unified"),
    "gemma4_unified_text": _gemma("gemma4_unified"),
    "hrm_text": Fact(
        "models/hrm_text/modeling_hrm_text.py: inputs_embeds = inputs_embeds * self.embedding_scale",
        input_scale=lambda c: c.embedding_scale,
    ),
    "recurrent_gemma": Fact(
        "models/recurrent_gemma/modeling_recurrent_gemma.py: torch.tensor(self.config.hidden_size**0.5, "
        "dtype=torch.bfloat16), so the root is rounded to bfloat16; cap = self.config.logits_soft_cap",
        input_scale=lambda c: bfloat16(c.hidden_size**0.5),
        softcap=lambda c: c.logits_soft_cap,
    ),
    "t5gemma": _gemma("t5gemma", "normalizer = torch.tensor(self.config.hidden_size**0.5)"),
    "t5gemma2": _gemma("t5gemma2", "embed_scale=config.hidden_size**0.5"),
    "vaultgemma": _gemma("vaultgemma"),
    "whisper": Fact(
        "models/whisper/modeling_whisper.py: WhisperDecoder sets self.embed_scale and does not use it", input_scale=1.0
    ),
    # scale of the projection
    "cohere": _cohere("cohere"),
    "cohere2": _cohere("cohere2"),
    "cohere2_moe": _cohere("cohere2_moe"),
    "cohere_compass_text": _cohere("cohere_compass"),
    "dory": Fact(
        "models/dory/modeling_dory.py: logits * (self.logit_scale * (1 / config.initializer_range)): "
        "the parameter holds each token's scale times initializer_range",
        output_scale="lm_head.logit_scale",
    ),
    "falcon_h1": Fact(
        "models/falcon_h1/modeling_falcon_h1.py: self.embed_tokens(input_ids) * self.embedding_multiplier, "
        "self.lm_head(hidden_states) * self.model.lm_head_multiplier",
        input_scale=lambda c: c.embedding_multiplier,
        output_scale=lambda c: c.lm_head_multiplier,
    ),
    "granite": _granite("granite"),
    "granite_swa": _granite("granite_swa"),
    "granitemoe": _granite("granitemoe"),
    "granitemoe_swa": _granite("granitemoe_swa"),
    "granitemoehybrid": _granite("granitemoehybrid"),
    "granitemoeshared": _granite("granitemoeshared"),
    "hyperclovax": Fact(
        "models/hyperclovax/modeling_hyperclovax.py: inputs_embeds * self.embedding_multiplier, "
        "self.lm_head(hidden_states) * self.config.logits_scaling (multiplies where Granite divides)",
        input_scale=lambda c: c.embedding_multiplier,
        output_scale=lambda c: c.logits_scaling,
    ),
    "inkling_text": Fact(
        "models/inkling/modeling_inkling.py: outputs.last_hidden_state / self.config.logits_mup_width_multiplier, "
        "logits = logits[..., :unpadded_vocab_size]",
        output_scale=lambda c: 1.0 / c.logits_mup_width_multiplier,
        vocabulary=_unpadded,
    ),
    "longt5": Fact(
        "models/longt5/modeling_longt5.py: if self.config.scale_decoder_outputs: "
        "sequence_output * (self.model_dim**-0.5)",
        output_scale=lambda c: "1/sqrt(D)" if c.scale_decoder_outputs else None,
    ),
    "minicpm3": Fact(
        "models/minicpm3/modeling_minicpm3.py: embed_scale=config.scale_emb, "
        "hidden_states = hidden_states / self.config.logits_scaling (hidden_size / dim_model_base)",
        input_scale=lambda c: c.scale_emb,
        output_scale=lambda c: c.dim_model_base / c.hidden_size,
    ),
    "switch_transformers": Fact(
        "models/switch_transformers/modeling_switch_transformers.py: if self.config.tie_word_embeddings: "
        "sequence_output * (self.model_dim**-0.5)",
        output_scale=lambda c: "1/sqrt(D)" if c.tie_word_embeddings else None,
    ),
    "t5": Fact(
        "models/t5/modeling_t5.py: if self.config.scale_decoder_outputs: sequence_output * (self.model_dim**-0.5)",
        output_scale=lambda c: "1/sqrt(D)" if c.scale_decoder_outputs else None,
    ),
    "umt5": Fact(
        "models/umt5/modeling_umt5.py: if self.config.scale_decoder_outputs: sequence_output * (self.model_dim**-0.5)",
        output_scale=lambda c: "1/sqrt(D)" if getattr(c, "scale_decoder_outputs", c.tie_word_embeddings) else None,
    ),
    # soft cap under another name
    "xlstm": Fact(
        "models/xlstm/modeling_xlstm.py: logits = soft_cap(logits, self.config.output_logit_soft_cap)",
        softcap=lambda c: c.output_logit_soft_cap,
    ),
    # bias per token
    "bert": _bert_head("bert", f"self.decoder = {_WITH_BIAS}"),
    "bert-generation": _roberta_head("bert_generation"),
    "camembert": _roberta_head("camembert"),
    "codegen": Fact(
        "models/codegen/modeling_codegen.py: nn.Linear(config.n_embd, config.vocab_size), bias by default",
        output_bias="lm_head.bias",
    ),
    "data2vec-text": Fact(
        "models/data2vec/modeling_data2vec_text.py: self.decoder = nn.Linear(config.hidden_size, config.vocab_size)",
        output_bias="lm_head.decoder.bias",
    ),
    "electra": Fact(
        "models/electra/modeling_electra.py: self.generator_lm_head = nn.Linear(config.embedding_size, "
        "config.vocab_size), bias by default",
        output_bias="generator_lm_head.bias",
    ),
    "ernie": _bert_head("ernie", f"self.decoder = {_WITH_BIAS}"),
    "ernie4_5_moe": Fact(
        "models/ernie4_5_moe/modeling_ernie4_5_moe.py: nn.Linear(config.hidden_size, config.vocab_size, "
        "bias=config.use_bias)",
        output_bias=lambda c: "lm_head.bias" if c.use_bias else False,
    ),
    "git": Fact(
        "models/git/modeling_git.py: self.output = nn.Linear(config.hidden_size, config.vocab_size), bias by default",
        output_bias="output.bias",
    ),
    "gptj": Fact(
        "models/gptj/modeling_gptj.py: self.lm_head = nn.Linear(config.n_embd, config.vocab_size), bias by default",
        output_bias="lm_head.bias",
    ),
    "megatron-bert": _bert_head("megatron_bert", f"self.decoder = {_WITH_BIAS}"),
    "modernbert-decoder": Fact(
        "models/modernbert_decoder/modeling_modernbert_decoder.py: self.decoder = nn.Linear(config.hidden_size, "
        "config.vocab_size, bias=config.decoder_bias)",
        output_bias=lambda c: "decoder.bias" if c.decoder_bias else False,
    ),
    "phi": Fact(f"models/phi/modeling_phi.py: self.lm_head = {_WITH_BIAS}", output_bias="lm_head.bias"),
    "phimoe": Fact(
        "models/phimoe/modeling_phimoe.py: nn.Linear(config.hidden_size, config.vocab_size, "
        "bias=self.config.lm_head_bias)",
        output_bias=lambda c: "lm_head.bias" if c.lm_head_bias else False,
    ),
    "reformer": Fact(
        "models/reformer/modeling_reformer.py: self.decoder = nn.Linear(2 * config.hidden_size, config.vocab_size, "
        "bias=True)",
        output_bias="lm_head.decoder.bias",
    ),
    "rembert": _bert_head("rembert", "self.decoder = nn.Linear(config.output_embedding_size, config.vocab_size)"),
    "roberta": _roberta_head("roberta"),
    "roberta-prelayernorm": _roberta_head("roberta_prelayernorm"),
    "roc_bert": _bert_head("roc_bert", f"self.decoder = {_WITH_BIAS}"),
    "roformer": _bert_head("roformer", f"self.decoder = {_EMBEDDING}"),
    "xlm": Fact(
        "models/xlm/modeling_xlm.py: self.proj = nn.Linear(dim, config.n_words, bias=True) unless config.asm",
        output_bias=lambda c: False if c.asm else "pred_layer.proj.bias",
    ),
    "xlm-roberta": _roberta_head("xlm_roberta"),
    "xlm-roberta-xl": _roberta_head("xlm_roberta_xl"),
    "xlnet": Fact(
        "models/xlnet/modeling_xlnet.py: self.lm_loss = nn.Linear(config.d_model, config.vocab_size, bias=True)",
        output_bias="lm_loss.bias",
    ),
    "xmod": _roberta_head("xmod"),
    "zaya": Fact(
        "models/zaya/modeling_zaya.py: nn.Linear(config.hidden_size, config.vocab_size, bias=self.config.lm_head_bias)",
        output_bias=lambda c: "lm_head.bias" if c.lm_head_bias else False,
    ),
    # tables with more rows than there are tokens
    "cpmant": Fact(
        "models/cpmant/modeling_cpmant.py: nn.Embedding(config.vocab_size + config.prompt_types * "
        "config.prompt_length, config.hidden_size)",
        vocabulary=lambda c: c.vocab_size,
    ),
    "inkling2_text": Fact(
        "models/inkling2/modeling_inkling2.py: nn.Linear(config.hidden_size, config.unpadded_vocab_size, bias=False)",
        vocabulary=_unpadded,
    ),
    "inkling2_loop_text": Fact(
        "models/inkling2_loop/modeling_inkling2_loop.py: nn.Linear(config.hidden_size, config.unpadded_vocab_size, "
        "bias=False)",
        vocabulary=_unpadded,
    ),
    "mllama": Fact(
        "models/mllama/modeling_mllama.py: nn.Embedding(config.vocab_size + 8, config.hidden_size, self.padding_idx)",
        vocabulary=lambda c: c.vocab_size,
    ),
    "moshi": Fact(
        "models/moshi/modeling_moshi.py: nn.Embedding(config.vocab_size + 1, config.hidden_size, self.padding_idx)",
        vocabulary=lambda c: c.vocab_size,
    ),
}
FACTS["mllama_text_model"] = FACTS["mllama"]

# A bias that only the encoder-decoder class of a model type adds, as a buffer that load_state_dict fills.
_FINAL_BIAS = "self.final_logits_bias = nn.Buffer(torch.zeros((1, ...))); self.lm_head(...) + self.final_logits_bias"
CLASS_BIAS: dict[str, Fact] = {
    name: Fact(f"models/{module}/modeling_{module}.py: {_FINAL_BIAS}", output_bias="final_logits_bias")
    for name, module in (
        ("BartForConditionalGeneration", "bart"),
        ("BigBirdPegasusForConditionalGeneration", "bigbird_pegasus"),
        ("BlenderbotForConditionalGeneration", "blenderbot"),
        ("BlenderbotSmallForConditionalGeneration", "blenderbot_small"),
        ("LEDForConditionalGeneration", "led"),
        ("MarianMTModel", "marian"),
        ("MBartForConditionalGeneration", "mbart"),
        ("MvpForConditionalGeneration", "mvp"),
        ("PegasusForConditionalGeneration", "pegasus"),
        ("PLBartForConditionalGeneration", "plbart"),
    )
}

# Every other class passes config.pad_token_id to nn.Embedding, which keeps the lookup's gradient out of that row.
# Source: nn.Embedding(vocabulary, width) without a third argument in each models/TYPE/modeling_TYPE.py.
NOT_PADDED: frozenset[str] = frozenset(
    [
        "bloom",
        "blt",
        "codegen",
        "cpmant",
        "ctrl",
        "falcon",
        "falcon_mamba",
        "gpt-sw3",
        "gpt2",
        "gpt_bigcode",
        "gpt_neo",
        "gpt_neox",
        "gpt_neox_japanese",
        "gptj",
        "longt5",
        "mamba",
        "mamba2",
        "mpt",
        "mt5",
        "nemotron_h",
        "openai-gpt",
        "reformer",
        "rwkv",
        "switch_transformers",
        "t5",
        "umt5",
        "xlnet",
        "xlstm",
    ]
)

# Classes that stay untied whatever the flag says: tie_weights() finds nothing to do, and says nothing.
NEVER_TIED: dict[str, str] = {
    "audioflamingo3": "AudioFlamingo3ForConditionalGeneration has no _tied_weights_keys",
    "bailing_hybrid": "BailingHybridForCausalLM._tied_weights_keys = {}",
    "bigbird_pegasus": "BigBirdPegasusForCausalLM has no _tied_weights_keys, though its config's default is to tie",
    "cpmant": "CpmAntForCausalLM._tied_weights_keys = {}: the table has rows for prompts that the head has not, though "
    "its config's default is to tie",
    "inkling2_loop_text": "Inkling2LoopForCausalLM._tied_weights_keys = {}, and its config has no flag",
    "inkling2_text": "Inkling2ForCausalLM._tied_weights_keys = {}, and its config has no flag",
    "inkling_text": "InklingForCausalLM._tied_weights_keys = {}, and its config has no flag",
    "kimi_linear": "KimiLinearForCausalLM._tied_weights_keys = {}",
    "mllama": "MllamaForCausalLM has no _tied_weights_keys: its table has eight rows that the head has not",
    "moshi": "MoshiForCausalLM has no _tied_weights_keys: its table has one row that the head has not",
    "musicflamingo": "MusicFlamingoForConditionalGeneration has no _tied_weights_keys",
    "nemotron_h": "NemotronHForCausalLM._tied_weights_keys = {}",
    "omniasr": "OmniASRForConditionalGeneration has no _tied_weights_keys",
    "qwen2_audio": "Qwen2AudioForConditionalGeneration has no _tied_weights_keys",
    "reformer": "ReformerModelWithLMHead has no _tied_weights_keys: its head reads 2 D columns",
    "rembert": "RemBertForCausalLM has no _tied_weights_keys: input and output embeddings are decoupled by design",
    "xlstm": "xLSTMForCausalLM has no _tied_weights_keys",
}

_DRAFT = "it drafts for another model: forward takes that model's hidden states and key-value states, no ids"

# Types that token ids alone cannot judge, with the reason.
NOT_BY_IDS: dict[str, str] = {
    "gemma4_assistant": _DRAFT,
    "gemma4_unified_assistant": _DRAFT,
    "musicgen": "it reads and writes several streams of audio codes, each with a table of its own",
    "musicgen_melody": "it reads and writes several streams of audio codes, each with a table of its own",
    "nemo_speechlm": "it transcribes audio and needs input features",
    "vibevoice_asr": "it transcribes audio and needs input features",
    "voxtral": "it transcribes audio and needs input features",
    "voxtral_realtime": "it transcribes audio and needs input features",
}


def bfloat16(number: float) -> float:
    """``number`` rounded to bfloat16, as a constant that a class keeps in that dtype is."""
    import torch

    return float(torch.tensor(number, dtype=torch.bfloat16))
