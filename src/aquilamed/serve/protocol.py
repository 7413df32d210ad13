"""OpenAI's protocol: what a request's body may say, and the JSON that answers it (platform.openai.com/docs/api-reference).

A field of a wrong type or range is refused with its name. Fields that we do not know are ignored, as clients send many;
known ones that would change the answer in a way that we cannot (tools, JSON schemas, …) are refused, never ignored.
"""

import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aquilamed.records import Message
from aquilamed.serve.answerer import Answerer, Piece, TokenLogprob
from aquilamed.serve.sampling import Sampling

MOST_CHOICES = 16
UNION = re.compile(r"(constrained-)?(str|int|list)|.*\[.*")  # where pydantic names a member of a union, not a field
Stop = Annotated[str, Field(min_length=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Roles: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


class Refusal(Exception):
    """A request that is not answered: HTTP status, and OpenAI's error object."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers: dict[str, str] = {}

    def body(self) -> dict[str, Any]:
        """The error object."""
        kind = "invalid_request_error" if self.status < 500 and self.status != 429 else "server_error"
        kind = "rate_limit_error" if self.status == 429 else kind
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


class _Lenient(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class TextPart(_Lenient):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


class ChatMessage(_Lenient):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    def plain(self) -> Message:
        """The house's form of it."""
        text = self.content if isinstance(self.content, str) else "".join(p.text for p in self.content)
        return {"role": Roles[self.role], "content": text}


class StreamOptions(_Lenient):
    """Options of a streamed answer."""

    include_usage: bool | None = None


class Body(_Lenient):
    """What both endpoints take. null is a field's default."""

    unable: ClassVar[dict[str, tuple[Any, ...]]] = {
        "logit_bias": (None, {}),
        "suffix": (None, ""),
        "tools": (None, []),
        "functions": (None, []),
        "response_format": (None, {"type": "text"}),
        "modalities": (None, ["text"]),
        "echo": (None, False),
    }
    """Fields that we cannot follow, and their values that change nothing."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    seed: int | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_CHOICES)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None

    @model_validator(mode="before")
    @classmethod
    def _able(cls, values: Any) -> Any:
        for name, harmless in cls.unable.items():
            if isinstance(values, dict) and values.get(name) not in harmless:
                raise Refusal(400, f"{name} is not supported by this server", "unsupported_parameter", name)
        return values

    def sampling(self) -> Sampling:
        """How to draw; OpenAI's defaults."""
        return Sampling(
            max_tokens=self.limit(),
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=self.seed,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            frequency_penalty=self.frequency_penalty or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            logprobs=self.top(),
        )

    def limit(self) -> int | None:
        """Longest answer in tokens; None is what the context leaves."""
        return self.max_tokens

    def top(self) -> int | None:
        """How many of the likeliest tokens to name; None is no log-probabilities."""
        raise NotImplementedError

    def prompts(self, answerer: Answerer) -> list[list[int]]:
        """The token ids of every prompt."""
        raise NotImplementedError


class ChatBody(Body):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    def limit(self) -> int | None:
        """The newer name goes first."""
        return self.max_completion_tokens or self.max_tokens

    def top(self) -> int | None:
        """`top_logprobs` counts only with `logprobs`."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def prompts(self, answerer: Answerer) -> list[list[int]]:
        """The conversation through the chat template."""
        return [answerer.prompt([m.plain() for m in self.messages])]


class TextBody(Body):
    """POST /v1/completions."""

    unable = {name: harmless for name, harmless in Body.unable.items() if name != "echo"}
    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    best_of: Annotated[int, Field(ge=1, le=1)] | None = None
    echo: bool | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = 16  # OpenAI's default of this endpoint

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.max_tokens == 0 and not self.echo:
            raise Refusal(400, "max_tokens: 0 is for echo alone", None, "max_tokens")
        return self

    def sampling(self) -> Sampling:
        """With the echo."""
        return replace(super().sampling(), echo=bool(self.echo))

    def top(self) -> int | None:
        """As asked."""
        return self.logprobs

    def prompts(self, answerer: Answerer) -> list[list[int]]:
        """Texts are tokenised as they stand, control tokens included; ids must be the model's."""
        if isinstance(self.prompt, str):
            return [answerer.text_ids(self.prompt)]
        texts = [p for p in self.prompt if isinstance(p, str)]
        lists = [p for p in self.prompt if isinstance(p, list)]
        alone = [p for p in self.prompt if isinstance(p, int)]
        found = [answerer.text_ids(t) for t in texts] + lists + ([alone] if alone else [])
        if not found or len(found) > MOST_CHOICES:
            raise Refusal(400, f"prompt: give 1 to {MOST_CHOICES} texts or lists of token ids", None, "prompt")
        size = len(answerer.tokenizer)
        if any(not ids or not all(0 <= i < size for i in ids) for ids in found):
            raise Refusal(400, f"prompt: a token id must be from 0 to {size - 1:,}", None, "prompt")
        return found


def parse(kind: type[Body], raw: bytes) -> Body:
    """A request's body. Raises `Refusal` (400) that names the field and repeats nothing of what it holds."""
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        param = ".".join(str(p) for p in first["loc"] if not UNION.fullmatch(str(p))) or None
        raise Refusal(400, f"{param or 'body'}: {first['msg']}", None, param) from None


class Form:
    """How one request is answered: the JSON of a whole answer and of a streamed part."""

    def __init__(self, chat: bool, model: str) -> None:
        self.chat, self.model = chat, model
        self.id = ("chatcmpl-" if chat else "cmpl-") + uuid.uuid4().hex
        self.created = int(time.time())

    def whole(self, answers: Sequence[Sequence[Piece]], prompt_tokens: int) -> dict[str, Any]:
        """The answer of a request that did not ask for a stream."""
        choices = []
        for index, pieces in enumerate(answers):
            text = "".join(p.text for p in pieces)
            content = (
                {"message": {"role": "assistant", "content": text, "refusal": None}} if self.chat else {"text": text}
            )
            words = [entry for p in pieces for entry in p.logprobs]
            choices.append(self._choice(index, content, words, pieces[-1].reason))
        answered = sum(p.tokens for pieces in answers for p in pieces)
        return self._object(choices, "") | {"usage": usage(prompt_tokens, answered)}

    def begin(self, index: int) -> dict[str, Any]:
        """A streamed chat answer's first chunk: who speaks."""
        return self._object([self._choice(index, {"delta": {"role": "assistant", "content": ""}}, [], None)], ".chunk")

    def part(self, index: int, piece: Piece) -> dict[str, Any]:
        """A chunk of a stream."""
        content: dict[str, Any] = {"text": piece.text}
        if self.chat:
            content = {"delta": {"content": piece.text} if piece.text else {}}
        return self._object([self._choice(index, content, piece.logprobs, piece.reason)], ".chunk")

    def last(self, prompt_tokens: int, answered: int) -> dict[str, Any]:
        """The chunk that tells the usage, where a stream asked for it."""
        return self._object([], ".chunk") | {"usage": usage(prompt_tokens, answered)}

    def _object(self, choices: list[dict[str, Any]], kind: str) -> dict[str, Any]:
        name = f"chat.completion{kind}" if self.chat else "text_completion"
        return {"id": self.id, "object": name, "created": self.created, "model": self.model, "choices": choices}

    def _choice(
        self, index: int, content: dict[str, Any], words: Sequence[TokenLogprob], reason: str | None
    ) -> dict[str, Any]:
        named = None if not words else _chat_logprobs(words) if self.chat else _text_logprobs(words)
        return {"index": index, **content, "logprobs": named, "finish_reason": reason}


def usage(prompt: int, answered: int) -> dict[str, int]:
    """Token counts as OpenAI tells them."""
    return {"prompt_tokens": prompt, "completion_tokens": answered, "total_tokens": prompt + answered}


def _chat_logprobs(words: Sequence[TokenLogprob]) -> dict[str, Any]:
    def named(token: str, logprob: float | None) -> dict[str, Any]:
        return {"token": token, "logprob": logprob, "bytes": list(token.encode())}

    return {"content": [named(w.token, w.logprob) | {"top_logprobs": [named(*t) for t in w.top]} for w in words]}


def _text_logprobs(words: Sequence[TokenLogprob]) -> dict[str, Any]:
    return {
        "tokens": [w.token for w in words],
        "token_logprobs": [w.logprob for w in words],
        # Halves of characters look alike as text: the likelier one stays.
        "top_logprobs": [None if w.logprob is None else dict(reversed(w.top)) for w in words],
    }
