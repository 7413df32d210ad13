"""A random two-layer Llama, a small byte-level BPE tokenizer, and a stage context: what these tests share."""

import string
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl

from aquilamed.annotate import AnnotatorConfig
from aquilamed.engine.local import LocalEngine
from aquilamed.evaluate.backends import InferenceConfig
from aquilamed.models import ModelConfig, prepare_tokenizer, save_model
from aquilamed.progress import Progress
from aquilamed.records import write_parts
from aquilamed.stage import Context
from aquilamed.workspace import Artifact

TEXTS = [
    "A fever is a body temperature above the normal range, often a sign of infection.",
    "Drink water, rest, and see a doctor when the fever lasts longer than three days.",
    "The heart pumps blood through the body; the lungs take up oxygen.",
    "发热是指体温高于正常范围，常常提示感染。",
    "多喝水，注意休息，发热超过三天请及时就医。",
    "心脏把血液泵向全身，肺负责吸入氧气。",
]


def build(
    folder: Path,
    seed: int = 0,
    tied: bool = True,
    architecture: str = "llama",
    context: int = 512,
    ascii_only: bool = False,
) -> Path:
    """Write the tiny model and its tokenizer; the same every time for a seed. Untied, its answers are more varied.

    Args:
        context: tokens that it holds.
        ascii_only: its tokens, and so whatever it says, are printable; otherwise broken characters are among them.

    Architectures: llama, qwen3 (queries and keys are normalised), gemma3 (that, and a window of 16 tokens in every other
    layer).
    """
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    torch.set_num_threads(1)
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    texts, alphabet = TEXTS, pre_tokenizers.ByteLevel.alphabet()
    if ascii_only:
        texts, alphabet = (
            TEXTS[:3],
            [*string.ascii_letters, *string.digits, *string.punctuation, "Ġ", "Ċ"],
        )  # space, newline
    raw.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", bos_token="<|im_start|>", unk_token="<|endoftext|>"
    )
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": len(fast),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context,
        "tie_word_embeddings": tied,
    }
    window = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
    config = {
        "llama": lambda: transformers.LlamaConfig(**sizes),
        "qwen3": lambda: transformers.Qwen3Config(**sizes, head_dim=8),
        "gemma3": lambda: transformers.Gemma3TextConfig(**sizes, **window, head_dim=8, query_pre_attn_scalar=8),
    }[architecture]()
    model = transformers.AutoModelForCausalLM.from_config(config)
    save_model(model, prepare_tokenizer(fast), folder)
    return folder


def context(root: Path, base: Path, inputs: dict[str, Artifact], name: str = "out") -> Context:
    """A context whose inputs are these artefacts and whose base model is the tiny one."""
    progress = Progress(quiet=True)
    out = root / name
    (out / ".work").mkdir(parents=True, exist_ok=True)
    evaluate = SimpleNamespace(benchmarks=[], judges=[], endpoints=[], inference=InferenceConfig())
    recipe: Any = SimpleNamespace(
        name="tiny", base_model=ModelConfig(path=str(base)), annotator=AnnotatorConfig(), evaluate=evaluate
    )
    return Context(out, out / ".work", inputs, LocalEngine(progress, workers=1), progress, 42, root, recipe)


def table(root: Path, stage: str, frame: pl.DataFrame, rows: int = 2000) -> Artifact:
    """A finished data stage that kept this frame."""
    path = root / "inputs" / stage
    write_parts(path / "kept", frame, rows)
    return Artifact(stage, path, {"records_kept": frame.height, "metrics": {}})


def mixed(documents: int = 40) -> pl.DataFrame:
    """A mix of short zh and en documents of which every fifth is held out."""
    return pl.DataFrame(
        {
            "id": f"d{i:03d}",
            "source": "toy",
            "license": "CC0",
            "origin": f"toy:{i}",
            "text": " ".join(TEXTS[(i + k) % 3 + (3 if i % 2 else 0)] for k in range(1 + i % 3)),
            "lang": "zh" if i % 2 else "en",
            "domain": "medical",
            "tokens": 20,
            "split": "heldout" if i % 5 == 0 else "train",
        }
        for i in range(documents)
    )


def dialogues(count: int = 12) -> pl.DataFrame:
    """Short dialogues, some of two turns."""
    rows = []
    for i in range(count):
        messages = []
        for turn in range(1 + i % 2):
            messages += [
                {"role": "user", "content": f"Question {i}.{turn}: what is a fever?"},
                {"role": "assistant", "content": TEXTS[(i + turn) % 6]},
            ]
        common = {"id": f"t{i:03d}", "source": "toy", "license": "CC0", "origin": f"toy:{i}"}
        rows.append({**common, "kind": "single_turn_QA_en", "lang": "en", "messages": messages})
    return pl.DataFrame(rows)


def preferences(count: int = 12) -> pl.DataFrame:
    """Pairs whose chosen answer is a sentence and whose rejected one is not."""
    return pl.DataFrame(
        {
            "id": f"p{i:03d}",
            "source": "toy",
            "license": "CC0",
            "origin": f"toy:{i}",
            "kind": "subjective",
            "lang": "en",
            "prompt": [{"role": "user", "content": f"Question {i}: what is a fever?"}],
            "chosen": [{"role": "assistant", "content": TEXTS[i % 3]}],
            "rejected": [{"role": "assistant", "content": "zzz " * (1 + i % 4)}],
            "margin": 1.0,
        }
        for i in range(count)
    )


def weights(folder: Path) -> dict[str, Any]:
    """The tensors of a saved model."""
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))
