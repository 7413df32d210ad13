"""Starting the engine that fits: transformers in this process, vLLM or llama.cpp as a child behind our protocol."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aquilamed.config import Invalid
from aquilamed.models import ModelConfig, find_model, load_tokenizer, prepare_tokenizer
from aquilamed.serve.answerer import Answerer
from aquilamed.serve.child import Child
from aquilamed.serve.choice import choose, llama_command
from aquilamed.serve.engine import MEMORY_SHARE, Engine, cache_bytes, free_memory, own_context
from aquilamed.serve.remote import Remote
from aquilamed.serve.target import find

NAME = "model"  # what a child calls its model


def answerer(
    target: str, asked: str, max_concurrency: int, max_context: int | None, say: Callable[[str], None]
) -> Answerer:
    """The model behind the engine that fits; says which, and why.

    Raises `Invalid` when there is no such model or engine, `StageFailed` when the engine does not start.
    """
    file = Path(target)
    config = None if file.suffix == ".gguf" and file.is_file() else find(target, say)
    folder = file if config is None else Path(find_model(config.path, config.revision))
    choice = choose(folder, asked)
    say(f"Engine: {choice.kind}, {choice.reason}.")
    if choice.kind == "llama.cpp" and choice.gguf is not None:
        return llama(choice.gguf, config, max_concurrency, max_context)
    assert config is not None
    if choice.kind == "vllm":
        return vllm(config, folder, max_concurrency, max_context)
    engine = Engine(config, max_concurrency=max_concurrency, max_context=max_context)
    if engine.users < max_concurrency:
        say(
            f"Memory holds {engine.users} answers of {engine.context:,} tokens at once; --max-context makes room for more."
        )
    return engine


def vllm(config: ModelConfig, folder: Path, concurrency: int, max_context: int | None) -> Remote:
    """A model's folder behind vLLM."""
    from transformers import AutoConfig

    tokenizer = load_tokenizer(config)
    about = AutoConfig.from_pretrained(folder, trust_remote_code=config.trust_remote_code)
    if len(tokenizer) > about.get_text_config().vocab_size:
        raise Invalid(
            f"{folder}: the model has no embeddings for the chat template's tokens, and vLLM cannot add them; "
            "use --engine transformers, or a model that was fine-tuned here"
        )
    context = min(own_context(about), max_context or sys.maxsize)

    def command(port: int) -> list[str]:
        line = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(folder), "--served-model-name", NAME]
        line += ["--host", "127.0.0.1", "--port", str(port), "--generation-config", "vllm"]
        line += ["--max-model-len", str(context), "--max-num-seqs", str(concurrency)]
        return line + (["--trust-remote-code"] if config.trust_remote_code else [])

    child = Child(command, "VLLM_API_KEY")
    return Remote(tokenizer, context, child.address, child.key, name=NAME, child=child)


def llama(gguf: Path, config: ModelConfig | None, concurrency: int, max_context: int | None) -> Remote:
    """A GGUF file behind llama.cpp's server, which has a fixed context per user: as many users as memory holds."""
    from transformers import AutoConfig

    program = llama_command()
    assert program is not None
    about: Any = AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer = load_tokenizer(config) if config else gguf_tokenizer(gguf)
    context = min(own_context(about), max_context or sys.maxsize)
    users = int(free_memory("cpu") * MEMORY_SHARE // (context * cache_bytes(about, 2)))  # it holds them in 16 bits
    users = max(1, min(concurrency, users))
    binary = len(program) == 1

    def command(port: int) -> list[str]:
        at = ["--host", "127.0.0.1", "--port", str(port), "--model", str(gguf)]
        if binary:
            more = ["--alias", NAME, "--ctx-size", str(context * users), "--parallel", str(users), "--no-webui"]
        else:  # the Python server answers one at a time; by default it even breaks off the one before
            more = ["--model_alias", NAME, "--n_ctx", str(context), "--interrupt_requests", "False"]
        return [*program, *at, *more]

    child = Child(command, "LLAMA_API_KEY" if binary else "API_KEY", "/health" if binary else "/v1/models")
    return Remote(tokenizer, context, child.address, child.key, name=NAME, as_text=not binary, child=child)


def gguf_tokenizer(gguf: Path) -> Any:
    """The tokenizer that a GGUF file holds, with the house's chat template."""
    from transformers import AutoTokenizer

    try:
        return prepare_tokenizer(AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name))
    except (OSError, ValueError) as error:
        raise Invalid(f"{gguf}: cannot read its tokenizer: {error}") from error
