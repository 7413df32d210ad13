"""What runs a contestant: transformers (any machine), vLLM (a GPU), or an OpenAI-compatible endpoint."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol

from pydantic import Field

from aquilamed.annotate.contract import CallError
from aquilamed.config import Config, Invalid
from aquilamed.evaluate import harness
from aquilamed.evaluate.endpoint import Endpoint
from aquilamed.evaluate.endpoint_calls import EndpointConfig
from aquilamed.evaluate.kept import Kept
from aquilamed.evaluate.prompts import Sheet
from aquilamed.models import (
    ModelConfig,
    chat_template,
    fit_embeddings,
    generate,
    load_model,
    load_tokenizer,
    prompt_ids,
    stop_ids,
)
from aquilamed.records import Message
from aquilamed.stage import Context


class InferenceConfig(Config):
    """What runs the recipe's own models in evaluations."""

    backend: Literal["transformers", "vllm"] = "transformers"
    """transformers, or vLLM (needs a GPU and the extra `gpu`)."""
    tensor_parallel: int = Field(default=1, ge=1)
    """GPUs that vLLM spreads a model over."""
    gpu_memory: float = Field(default=0.9, gt=0, le=1)
    """The share of a GPU's memory that vLLM may take."""

    volatile: ClassVar[frozenset[str]] = frozenset({"tensor_parallel", "gpu_memory"})


class Backend(Protocol):
    """A contestant that answers. A `CallError` stands where there is no answer; it is never scored."""

    def chats(self, mode: str, chat: bool) -> bool:
        """Whether the prompts of multiple-choice questions go through a chat template."""
        ...

    def template(self, chat: bool) -> str:
        """The chat template that prompts go through (Jinja); "" without one, or where only the endpoint knows."""
        ...

    def check(self, task: str, sheets: Sequence[Sheet], shots: int, chat: bool, room: int) -> None:
        """Raises `Invalid` when a prompt and `room` tokens more do not fit into the model's context."""
        ...

    def likelihoods(
        self, task: str, sheets: Sequence[Sheet], chat: bool, kept: Kept | None
    ) -> list[list[float] | CallError]:
        """Log-likelihoods of every question's option letters; those of a local model are kept."""
        ...

    def generations(
        self, task: str, sheets: Sequence[Sheet], chat: bool, max_tokens: int, kept: Kept | None
    ) -> list[str | CallError]:
        """The words that answer every question."""
        ...

    def answers(
        self, conversations: Sequence[list[Message]], max_new_tokens: int, label: str = "answers"
    ) -> list[str | CallError]:
        """The next turn of conversations that end with a user's."""
        ...


def open_backend(ctx: Context, model: ModelConfig | EndpointConfig, batch_size: int) -> Backend:
    """The backend of a contestant. Raises `Invalid` when it cannot be had here."""
    if isinstance(model, EndpointConfig):
        return Endpoint(model, ctx.root, ctx.progress, ctx.recipe.annotator.budget)
    if ctx.recipe.evaluate.inference.backend == "vllm":
        return VLLMBackend(model, ctx.recipe.evaluate.inference)
    return TransformersBackend(model, batch_size)


class _Local:
    """A model whose tokens and context are known."""

    lm: Any
    """The model as lm-evaluation-harness sees it."""
    tokenizer: Any
    context: int

    def chats(self, mode: str, chat: bool) -> bool:
        return chat

    def template(self, chat: bool) -> str:
        return chat_template(self.tokenizer) if chat else ""

    def check(self, task: str, sheets: Sequence[Sheet], shots: int, chat: bool, room: int) -> None:
        if chat:
            lengths = [len(prompt_ids(self.tokenizer, [{"role": "user", "content": s.prompt}])) for s in sheets]
        else:
            lengths = [len(ids) for ids in self.tokenizer([s.prompt for s in sheets])["input_ids"]] if sheets else []
        over = sum(length + room > self.context for length in lengths)
        if over:
            fewer = f"set evaluate.benchmarks[].shots lower than {shots}" if shots else "leave them out of its file"
            raise Invalid(
                f"{task}: {over} of {len(sheets)} prompts are longer than the model's context of {self.context} tokens "
                f"(longest {max(lengths)}, and {room} for the answer) at {shots} shots; {fewer}"
            )

    def likelihoods(
        self, task: str, sheets: Sequence[Sheet], chat: bool, kept: Kept | None
    ) -> list[list[float] | CallError]:
        self.lm.kept = kept
        return list(harness.likelihoods(self.lm, task, sheets, chat))

    def generations(
        self, task: str, sheets: Sequence[Sheet], chat: bool, max_tokens: int, kept: Kept | None
    ) -> list[str | CallError]:
        self.lm.kept = kept
        return list(harness.generations(self.lm, task, sheets, chat, max_tokens))

    def answers(
        self, conversations: Sequence[list[Message]], max_new_tokens: int, label: str = "answers"
    ) -> list[str | CallError]:
        lengths = [len(prompt_ids(self.tokenizer, c)) for c in conversations]
        fitting = [n for n, length in enumerate(lengths) if length + max_new_tokens <= self.context]
        found: list[str | CallError] = [
            CallError("too_long", f"{n} tokens and {max_new_tokens} to answer; the model takes {self.context}")
            for n in lengths
        ]
        texts = self._generate([conversations[n] for n in fitting], max_new_tokens)
        for n, text in zip(fitting, texts, strict=True):
            found[n] = text
        return found

    def _generate(self, conversations: list[list[Message]], max_new_tokens: int) -> list[str]:
        raise NotImplementedError


class TransformersBackend(_Local):
    """A model in this process."""

    def __init__(self, model: ModelConfig, batch_size: int) -> None:
        self.batch_size = batch_size
        self.model, self.tokenizer = load_model(model), load_tokenizer(model)
        fit_embeddings(self.model, self.tokenizer)
        self.context = int(self.model.config.max_position_embeddings)
        self.lm = harness.open_model(self.model, self.tokenizer, batch_size)

    def _generate(self, conversations: list[list[Message]], max_new_tokens: int) -> list[str]:
        return generate(
            self.model, self.tokenizer, conversations, max_new_tokens=max_new_tokens, batch_size=self.batch_size
        )


class VLLMBackend(_Local):
    """A model in vLLM on this machine's GPUs, for the harness through its own `vllm` class."""

    together = 512
    """Questions handed to vLLM at a time; it batches them itself, and what is done is kept after each lot."""

    def __init__(self, model: ModelConfig, settings: InferenceConfig) -> None:
        import torch

        where = "evaluate.inference.backend: vllm"
        try:
            from lm_eval.models.vllm_causallms import VLLM
        except ImportError as error:
            raise Invalid(f"{where} needs vLLM: pip install 'aquilamed[gpu]' ({error})") from error
        if not torch.cuda.is_available():
            raise Invalid(f"{where} needs a GPU, and this machine shows none; set it to transformers")
        from aquilamed.evaluate.kept import Resumable
        from aquilamed.models import find_model

        self.tokenizer = load_tokenizer(model)
        kind = type("ResumableVLLM", (Resumable, VLLM), {"together": self.together})
        self.lm = kind(
            pretrained=find_model(model.path, model.revision),
            dtype=model.dtype,
            trust_remote_code=model.trust_remote_code,
            tensor_parallel_size=settings.tensor_parallel,
            gpu_memory_utilization=settings.gpu_memory,
            batch_size="auto",
            seed=0,
        )
        # One template and one tokenizer everywhere: ours.
        self.lm.tokenizer, self.lm.hf_chat_template = self.tokenizer, chat_template(self.tokenizer)
        self.context = int(self.lm.model.llm_engine.model_config.max_model_len)

    def _generate(self, conversations: list[list[Message]], max_new_tokens: int) -> list[str]:
        from vllm import SamplingParams, TokensPrompt

        prompts = [TokensPrompt(prompt_token_ids=prompt_ids(self.tokenizer, c)) for c in conversations]
        settings = SamplingParams(temperature=0, max_tokens=max_new_tokens, stop_token_ids=stop_ids(self.tokenizer))
        return [o.outputs[0].text.strip() for o in self.lm.model.generate(prompts, settings, use_tqdm=False)]
