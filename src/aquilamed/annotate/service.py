"""One call to an OpenAI-compatible service: its retries, its time-outs, its usage, and its failures as `CallError`."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import BaseModel

from aquilamed.annotate.contract import CallError, ServiceConfig
from aquilamed.annotate.store import Usage
from aquilamed.config import Invalid
from aquilamed.records import Message

RETRIED = {408, 409, 429, 500, 502, 503, 504}
_LONGEST_WAIT = 60.0
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, paid for in any case; `error` where the service itself says that it is no answer."""

    content: str
    usage: Usage
    error: CallError | None = None


class Service:
    """The service of a config. A context manager: connections belong to one event loop."""

    def __init__(
        self, config: ServiceConfig, key: str, max_tokens: int, temperature: float, cut_is_error: bool = True
    ) -> None:
        self.config, self.max_tokens, self.temperature = config, max_tokens, temperature
        self.cut_is_error = cut_is_error
        self._key = key
        self._client: Any = None
        self._jitter = random.Random()  # unseeded: it decides waiting times, never results

    async def __aenter__(self) -> Self:
        from openai import AsyncOpenAI

        config = self.config
        self._client = AsyncOpenAI(
            base_url=config.base_url, api_key=self._key, timeout=config.timeout, max_retries=0
        )  # our own retries: they are counted, and they know which failures are final
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def ask(
        self, messages: Sequence[Message], schema: type[BaseModel] | None = None, form: str = "none"
    ) -> Reply | CallError:
        """Send a dialogue. `CallError` when the last attempt fails too."""
        request = self.request(messages, schema, form)
        completion = await self.call(lambda client: client.chat.completions.create(**request))
        return completion if isinstance(completion, CallError) else self.reply(completion, most_in(messages))

    async def call(self, send: Callable[[Any], Awaitable[R]], seconds: float | None = None) -> R | CallError:
        """Send a request with the client, again after failures that may pass.

        Args:
            seconds: how long one attempt may take; `config.timeout` when None.
        """
        attempt = 0
        while True:
            outcome, retry_after = await self._attempt(send, seconds or self.config.timeout)
            if retry_after is None or attempt >= self.config.retries:
                return outcome
            backoff = min(self.config.backoff * 2**attempt, _LONGEST_WAIT)
            await asyncio.sleep(max(retry_after, backoff * self._jitter.uniform(0.5, 1.0)))
            attempt += 1

    async def _attempt(self, send: Callable[[Any], Awaitable[R]], seconds: float) -> tuple[R | CallError, float | None]:
        """One attempt, and the least seconds to wait before the next (None: another one is pointless)."""
        import openai

        try:
            # The client's own time-out restarts with every byte; a service that trickles would never end.
            async with asyncio.timeout(seconds):
                return await send(self._client), None
        except (openai.APITimeoutError, TimeoutError):
            return CallError("timeout", f"no answer within {seconds:g} s"), 0.0
        except openai.APIConnectionError as error:
            return CallError("connection", self._safe(str(error.__cause__ or error))), 0.0
        except openai.APIStatusError as error:
            # An error's body may quote the request or the key: only the status is passed on.
            detail = f"the service answered with status {error.status_code}"
            wait = _retry_after(error.response.headers.get("retry-after"))
            return CallError(f"http_{error.status_code}", detail), wait if error.status_code in RETRIED else None
        except (openai.OpenAIError, ValueError) as error:
            return CallError("bad_json", self._safe(f"the service's response is not valid ({error})")), 0.0

    def request(
        self, messages: Sequence[Message], schema: type[BaseModel] | None = None, form: str = "none"
    ) -> dict[str, Any]:
        """The body of a call.

        Args:
            form: how JSON of the schema is asked for: "json_schema", "json_object", or "none".
        """
        request: dict[str, Any] = {
            "model": self.config.model,
            "messages": list(messages),
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }
        if schema is not None and form == "json_object":
            request["response_format"] = {"type": "json_object"}
        elif schema is not None and form == "json_schema":
            described = {"name": schema.__name__, "strict": True, "schema": strict_schema(schema)}
            request["response_format"] = {"type": "json_schema", "json_schema": described}
        return request

    def reply(self, completion: Any, most_in: int, batch: bool = False) -> Reply:
        """What a completion says and cost.

        Args:
            most_in: the prompt's tokens at most, for a service that does not tell.
        """
        choices = getattr(completion, "choices", None) or []
        message = choices[0].message if choices else None
        content = str(getattr(message, "content", None) or "")
        usage = self.usage(getattr(completion, "usage", None), most_in, content, batch)
        refusal = getattr(message, "refusal", None)
        reason = choices[0].finish_reason if choices else None
        if message is None:
            return Reply("", usage, CallError("bad_json", "the response holds no choice"))
        if refusal or reason == "content_filter":
            detail = self._safe(f"the model refused: {refusal or reason}")
            return Reply(detail, usage, CallError("refused", detail))
        if reason == "length" and self.cut_is_error:
            detail = f"the answer was cut at max_tokens = {self.max_tokens}"
            return Reply(detail, usage, CallError("truncated", detail))
        return Reply(content, usage)

    def usage(self, reported: Any, most_in: int, content: str, batch: bool = False) -> Usage:
        """What a response says it took, else the most it can have taken."""
        tokens_in, tokens_out = getattr(reported, "prompt_tokens", None), getattr(reported, "completion_tokens", None)
        if isinstance(tokens_in, int) and isinstance(tokens_out, int):
            return Usage(tokens_in, tokens_out, False, self.config.cost(tokens_in, tokens_out, batch) or 0.0)
        # A token is at least one byte, so this never counts too little against the budget.
        most_out = len(content.encode("utf-8", "replace"))
        return Usage(most_in, most_out, True, self.config.cost(most_in, most_out, batch) or 0.0)

    def _safe(self, text: str) -> str:
        return text.replace(self._key, "***")[:300]


def key_of(config: ServiceConfig, section: str) -> str:
    """The service's key. Raises `Invalid` when its environment variable is not set."""
    key = os.environ.get(config.api_key_env, "")
    if not key:
        raise Invalid(
            f"{section}.api_key_env: the environment variable {config.api_key_env} is not set; "
            "set it to the service's key (any text for a server without keys)"
        )
    return key


def most_in(messages: Sequence[Message]) -> int:
    """A dialogue's tokens at most: its bytes."""
    return sum(len(m["content"].encode("utf-8", "replace")) for m in messages)


def _retry_after(header: str | None) -> float:
    """Seconds that a Retry-After header asks for; 0 without one, or with a date."""
    try:
        return min(max(float(header or 0), 0.0), _LONGEST_WAIT)
    except ValueError:
        return 0.0


def strict_schema(schema: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema in the form that strict services ask for: every property required, none added."""
    form = schema.model_json_schema()
    for name, spec in form["properties"].items():
        form["properties"][name] = {k: v for k, v in spec.items() if k not in ("default", "title")}
    return {**form, "required": list(form["properties"]), "additionalProperties": False}
