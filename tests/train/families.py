"""Tokenizers of three families, tiny and local, each built the way its family does it.

SmolLM2's knows ChatML's markers, Qwen's has them as added tokens and another end, Llama's knows neither and puts a begin
token in front of whatever it encodes.
"""

from pathlib import Path
from typing import Any

import tiny_model as tiny
from aquilamed.models import fit_embeddings, prepare_tokenizer, save_model

FAMILIES: dict[str, dict[str, Any]] = {
    "smollm2": {"special": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "eos": "<|im_end|>", "bos": "<|im_start|>"},
    "qwen": {
        "special": ["<|endoftext|>"],
        "eos": "<|endoftext|>",
        "bos": None,
        "added": ["<|im_start|>", "<|im_end|>"],
    },
    "llama": {"special": ["<s>", "</s>", "<unk>"], "eos": "</s>", "bos": "<s>", "front": True},
}


def tokenizer_of(family: str) -> Any:
    """A family's tokenizer, prepared as ours."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    kind = FAMILIES[family]
    raw = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=family != "qwen")
    digits = pre_tokenizers.Split(Regex(r"\p{N}|\s+|[^\s\p{N}]+"), "isolated")
    raw.pre_tokenizer = pre_tokenizers.Sequence([digits, level]) if family == "qwen" else level
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=kind["special"], initial_alphabet=alphabet)
    raw.train_from_iterator(tiny.TEXTS, trainer)
    raw.add_special_tokens([AddedToken(t, special=True) for t in kind.get("added", [])])
    if kind.get("front"):
        raw.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", raw.token_to_id("<s>"))]
        )
    fast = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=kind["eos"], bos_token=kind["bos"])
    return prepare_tokenizer(fast)


def saved(family: str, folder: Path) -> Path:
    """A one-layer Llama with a family's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tokenizer_of(family)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=380, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=512,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    fit_embeddings(model, tokenizer)
    save_model(model, tokenizer, folder)
    return folder
