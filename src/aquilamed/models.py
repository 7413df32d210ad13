"""Finding, loading, saving and generating with language models, and the one chat template that all of us use.

Training, evaluation and serving take their tokenizer from here, so that a dialogue gives the same tokens everywhere.
Weights are read from safetensors only (a pickle can run code).
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from aquilamed.config import Config, Invalid
from aquilamed.control_tokens import divided, plain_ids, text_ids
from aquilamed.records import Message

TEMPLATE = Path(__file__).parent / "chat_template.jinja"
TURN_START, TURN_END, DOCUMENT_END = "<|im_start|>", "<|im_end|>", "<|endoftext|>"


class ModelConfig(Config):
    """A language model and how to load it."""

    path: str
    """A folder, a fetched model's name such as "smollm2-135m", or a hub id."""
    revision: str | None = None
    """The hub revision (a commit, so that the weights cannot change); unused for folders."""
    trust_remote_code: bool = False
    """Whether Python code that comes with the model may run; only for sources you trust."""
    dtype: Literal["float32", "bfloat16", "auto"] = "float32"
    """The weights' type in memory; on CPUs without AMX bfloat16 is slower than float32."""


def home() -> Path:
    """Where fetched models live: $AQUILAMED_HOME, else ~/.cache/aquilamed."""
    folder = os.environ.get("AQUILAMED_HOME")
    return Path(folder).expanduser() if folder else Path.home() / ".cache" / "aquilamed"


def find_model(path: str, revision: str | None = None) -> str:
    """The folder that transformers should load for a path, a fetched model's name or a hub id.

    Raises `Invalid` for a folder that does not exist, and for a name or hub id that was not fetched yet: only
    `aquilamed fetch` uses the network.
    """
    from aquilamed.fetch import FETCHABLE
    from aquilamed.hub import fetched_model, is_model_id

    fetched = home() / "models" / path
    if path in FETCHABLE:
        if not fetched.is_dir():
            raise Invalid(f"model {path!r} is not on this machine: run aquilamed fetch {path}")
        return str(fetched)
    local = Path(path).expanduser()
    if path and local.is_dir():
        return str(local)
    if not is_model_id(path):
        raise Invalid(f"model {path!r}: no such folder; give a folder, a hub id (owner/name) or {', '.join(FETCHABLE)}")
    folder = fetched_model(home(), path, revision)
    if folder is None:
        at = f"@{revision}" if revision else ""
        raise Invalid(
            f"model {path!r} is not on this machine: run aquilamed fetch RECIPE, or aquilamed fetch {path}{at}"
        )
    return str(folder)


def chat_template(tokenizer: Any) -> str:
    """Our chat template (Jinja text): ChatML with the assistant's words and their `<|im_end|>` marked for training.

    A tokenizer that puts its begin token in front of whatever it encodes gets it in front of a conversation too.
    """
    begin = "{{- bos_token -}}\n" if begin_ids(tokenizer) else ""
    return begin + TEMPLATE.read_text(encoding="utf-8")


def begin_ids(tokenizer: Any) -> list[int]:
    """The begin token's id where the tokenizer puts it in front of a text (Llama, Gemma), else nothing.

    Such models know no text without it: Gemma 3 270M, 2.4 nats per token of plain English with it, 6.2 without.
    """
    ids, plain = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (True, False))
    begin = tokenizer.bos_token_id
    return [int(begin)] if begin is not None and ids[:1] == [begin] and plain[:1] != [begin] else []


def prepare_tokenizer(tokenizer: Any) -> Any:
    """Give a tokenizer our chat template and a pad token that is not its end token; returns the same tokenizer.

    A tokenizer without ChatML's markers gets them as new tokens: the model then needs `fit_embeddings`.
    """
    tokenizer.chat_template = chat_template(tokenizer)
    missing = [t for t in (TURN_START, TURN_END) if not is_token(tokenizer, t)]
    if missing:
        tokenizer.add_special_tokens({"additional_special_tokens": missing}, replace_extra_special_tokens=False)
    return _give_pad(tokenizer)


def is_token(tokenizer: Any, text: str) -> bool:
    """Whether a text is one entry of the vocabulary."""
    return text in tokenizer.get_vocab()


def _give_pad(tokenizer: Any) -> Any:
    tokenizer.padding_side = "left"
    ends = {tokenizer.eos_token, TURN_END, TURN_START, None}
    if tokenizer.pad_token not in ends:
        return tokenizer
    spare = [t for t in ("<|pad|>", "<pad>", "[PAD]", DOCUMENT_END, tokenizer.unk_token) if t not in ends]
    tokenizer.pad_token = next((t for t in spare if is_token(tokenizer, t)), tokenizer.eos_token or TURN_END)
    return tokenizer


def document_end(tokenizer: Any) -> int:
    """The id that ends a pre-training document: `<|endoftext|>` where there is one, else the end token.

    A chat model's end token often is `<|im_end|>`, which ends a turn and not a text.
    """
    if is_token(tokenizer, DOCUMENT_END):
        return int(tokenizer.convert_tokens_to_ids(DOCUMENT_END))
    if tokenizer.eos_token_id is None:
        raise Invalid("the base model's tokenizer has no end token: packed documents need one")
    return int(tokenizer.eos_token_id)


def fit_embeddings(model: Any, tokenizer: Any) -> int:
    """Grow a model's embeddings to its tokenizer when that got new tokens; returns how many rows were added."""
    rows = int(model.get_input_embeddings().weight.shape[0])
    if len(tokenizer) > rows:
        model.resize_token_embeddings(len(tokenizer))
    return max(0, len(tokenizer) - rows)


def load_tokenizer(config: ModelConfig, own_template: bool = False) -> Any:
    """A model's tokenizer, prepared with our chat template.

    Args:
        own_template: keep the model's own template if it has one (for judges that were trained with another).
    """
    from transformers import AutoTokenizer

    where = find_model(config.path, config.revision)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            where, revision=config.revision, trust_remote_code=config.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise Invalid(f"cannot load a tokenizer from {config.path!r}: {_first_line(error)}") from error
    if own_template and tokenizer.chat_template:
        return _give_pad(tokenizer)
    return prepare_tokenizer(tokenizer)


def load_model(config: ModelConfig) -> Any:
    """A causal language model in evaluation mode, from safetensors only, with PyTorch's own attention."""
    import torch
    from transformers import AutoModelForCausalLM

    quiet()
    where = find_model(config.path, config.revision)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            where,
            revision=config.revision,
            trust_remote_code=config.trust_remote_code,
            dtype="auto" if config.dtype == "auto" else getattr(torch, config.dtype),
            use_safetensors=True,
            attn_implementation="sdpa",
        )
    except (OSError, ValueError) as error:
        raise Invalid(f"cannot load a model from {config.path!r}: {_first_line(error)}") from error
    # cuDNN's attention makes a plan for every new length: 70 ms per token of an answer (H100, 16 layers).
    torch.backends.cuda.enable_cudnn_sdp(False)
    return model.eval()


def quiet() -> None:
    """Keep the libraries' own bars and notes off the terminal: `Progress` is the one that speaks."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def save_model(model: Any, tokenizer: Any, folder: Path, state: dict[str, Any] | None = None) -> None:
    """Write a model (safetensors) and its tokenizer with our template; no path of this machine goes into the config.

    Args:
        state: the weights, where the model does not hold them itself.
    """
    quiet()
    model.config._name_or_path = ""
    model.generation_config.eos_token_id = stop_ids(tokenizer)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder, state_dict=state)
    tokenizer.chat_template = chat_template(tokenizer)
    tokenizer.save_pretrained(folder)


def stop_ids(tokenizer: Any) -> list[int]:
    """The tokens that end an answer: the turn's end and the tokenizer's end token."""
    ends = [tokenizer.convert_tokens_to_ids(TURN_END)] if is_token(tokenizer, TURN_END) else []
    return sorted({int(i) for i in [*ends, tokenizer.eos_token_id] if i is not None})


def generate(
    model: Any,
    tokenizer: Any,
    conversations: Sequence[list[Message]],
    *,
    max_new_tokens: int,
    batch_size: int = 8,
    temperature: float = 0.0,
    seed: int = 0,
    on_batch: Callable[[int], None] | None = None,
) -> list[str]:
    """The model's next turn for every conversation, in input order.

    Prompts of similar length share a batch, so that little is padded. At a temperature above 0 the answers depend on
    `seed` and on `batch_size`.

    Args:
        on_batch: told how many answers each finished batch holds.
    """
    prompts = [prompt_ids(tokenizer, c) for c in conversations]
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    answers = [""] * len(prompts)
    fit_embeddings(model, tokenizer)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        texts = _generate_batch(
            model, tokenizer, [prompts[i] for i in chosen], max_new_tokens, temperature, seed + start
        )
        for i, text in zip(chosen, texts, strict=True):
            answers[i] = text
        if on_batch is not None:
            on_batch(len(chosen))
    return answers


def prompt_ids(tokenizer: Any, conversation: list[Message]) -> list[int]:
    """A conversation's token ids up to where the assistant's next turn begins.

    Only the template's own control tokens become ones: the same words inside a message are spelled out.
    """

    def rendered(said: Sequence[Message]) -> str:
        return str(tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True))

    return [
        i
        for text, n in divided(tokenizer, conversation, rendered)
        for i in (text_ids(tokenizer, text) if n is None else plain_ids(tokenizer, conversation[n]["content"]))
    ]


def _generate_batch(
    model: Any, tokenizer: Any, prompts: list[list[int]], max_new_tokens: int, temperature: float, seed: int
) -> list[str]:
    import torch
    from transformers import GenerationConfig

    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), tokenizer.pad_token_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {}
    settings = GenerationConfig(
        **{"do_sample": False, "temperature": None, "top_k": None, "top_p": None, **sampling},
        max_new_tokens=max_new_tokens,
        eos_token_id=stop_ids(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    torch.manual_seed(seed)
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids.to(model.device), attention_mask=mask.to(model.device), generation_config=settings
        )
    return [t.strip() for t in tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)]
