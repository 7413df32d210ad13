"""A contestant behind an OpenAI-compatible endpoint: yours (`aquilamed serve`, vLLM, llama.cpp) or a remote one.

Answers come from /v1/chat/completions; log-likelihoods of option letters from /v1/completions, which must echo the prompt
with its log-probabilities. Every call goes through the call store: nothing is paid twice, and a call that failed is a
`CallError`, never an answer.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from aquilamed.annotate.contract import CallError, ServiceConfig
from aquilamed.annotate.gate import Gate
from aquilamed.annotate.service import Reply, Service, key_of, most_in
from aquilamed.annotate.store import ANSWERED, CallStore, Question, Usage
from aquilamed.config import Invalid, StageFailed
from aquilamed.evaluate.kept import Kept
from aquilamed.evaluate.prompts import Sheet
from aquilamed.progress import Progress
from aquilamed.records import Message, digest

_TAIL = 8
"""Last tokens of an echoed prompt that are stored: an option letter is one or two of them."""
_PROBE = ("Question: which organ pumps blood?\nA. the liver\nB. the heart\nAnswer:", " B")
_MAY_PASS = {"timeout", "connection", "http_408", "http_409", "http_429"}


class EndpointConfig(ServiceConfig):
    """A model behind an OpenAI-compatible endpoint, evaluated beside the recipe's own."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """What `models` and `against` call it; base, pretrain, finetune, align and reference are taken."""
    model: str = Field(min_length=1)
    """The model's name at the endpoint."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """Sampling temperature; the recipe's own models answer greedily."""

    @property
    def fingerprint(self) -> str:
        """What decides its answers, as far as anybody outside can tell."""
        return f"endpoint:{digest([self.model, self.temperature])[:16]}"


@dataclass(frozen=True)
class _Call:
    """A call with what identifies it."""

    question: Question
    send: Callable[[Service], Awaitable[Reply | CallError]]


class Endpoint:
    """An endpoint as a backend (`backends.Backend`)."""

    def __init__(self, config: EndpointConfig, root: Path, progress: Progress, budget: float | None) -> None:
        self.config, self.progress, self.budget = config, progress, budget
        self.section = f"evaluate.endpoints[{config.name}]"
        self.key = key_of(config, self.section)
        self.store = CallStore(root / "calls.sqlite")
        self.calls = self.cached = 0
        self.cost = 0.0
        self.errors: Counter[str] = Counter()
        self.probed = False

    def chats(self, mode: str, chat: bool) -> bool:
        """Whether prompts become a user's message: generated answers are chat completions, likelihoods are not."""
        return mode == "generate"

    def template(self, chat: bool) -> str:
        """The endpoint's own, which nobody outside sees."""
        return ""

    def check(self, task: str, sheets: Sequence[Sheet], shots: int, chat: bool, room: int) -> None:
        """Its context is its own affair: a prompt that it refuses is unscored."""

    def likelihoods(self, task: str, sheets: Sequence[Sheet], chat: bool, kept: Kept) -> list[list[float] | CallError]:
        """See `Backend.likelihoods`. Raises `Invalid` when the endpoint gives no log-probabilities of its prompt."""
        if sheets and not self.probed:
            self._probe()
        calls = [self._echo(s.prompt, f" {letter}") for s in sheets for letter in s.letters]
        raw = iter(self._all(calls, self._service(1), f"{task}: {self.config.name}"))
        found: list[list[float] | CallError] = []
        for sheet in sheets:
            values = [_likelihood(next(raw), f" {letter}") for letter in sheet.letters]
            failed = [v for v in values if isinstance(v, CallError)]
            found.append(failed[0] if failed else [v for v in values if not isinstance(v, CallError)])
        return found

    def generations(
        self, task: str, sheets: Sequence[Sheet], chat: bool, max_tokens: int, kept: Kept
    ) -> list[str | CallError]:
        """See `Backend.generations`."""
        asked: list[list[Message]] = [[{"role": "user", "content": s.prompt}] for s in sheets]
        return self.answers(asked, max_tokens, task)

    def answers(
        self, conversations: Sequence[list[Message]], max_new_tokens: int, label: str = "answers"
    ) -> list[str | CallError]:
        """See `Backend.answers`; an answer that was cut at `max_new_tokens` counts as it is, as a local model's does."""
        calls = [self._chat(c, max_new_tokens) for c in conversations]
        return self._all(calls, self._service(max_new_tokens), f"{label}: {self.config.name}")

    def statistics(self) -> dict[str, Any]:
        """calls, cached, errors (by kind) and cost (None for a model without a price) since it was opened."""
        cost = None if self.config.price is None else round(self.cost, 6)
        return {"calls": self.calls, "cached": self.cached, "errors": dict(sorted(self.errors.items())), "cost": cost}

    def _service(self, max_tokens: int) -> Service:
        return Service(self.config, self.key, max_tokens, self.config.temperature, cut_is_error=False)

    def _question(self, kind: str, *asked: Any) -> Question:
        key = digest([kind, self.config.model, self.config.temperature, *asked])
        return Question(key, self.config.model, kind, digest(kind), 1)

    def _chat(self, conversation: list[Message], max_tokens: int) -> _Call:
        return _Call(self._question("chat", max_tokens, conversation), lambda service: service.ask(conversation))

    def _echo(self, prompt: str, ending: str) -> _Call:
        text = prompt + ending

        async def send(service: Service) -> Reply | CallError:
            body = {"model": self.config.model, "prompt": text, "max_tokens": 1, "echo": True, "logprobs": 1}
            came = await service.call(lambda client: client.completions.create(**body, temperature=0))
            if isinstance(came, CallError):
                return came
            usage = service.usage(getattr(came, "usage", None), most_in([{"role": "user", "content": text}]), "")
            return Reply(_tail(came), usage)

        return _Call(self._question("loglikelihood", prompt, ending), send)

    def _probe(self) -> None:
        """One short question, to say at once what every question would fail with."""
        prompt, ending = _PROBE
        gate = Gate(self.config, self.section, self.budget, self.store.spent())
        ((came,),) = (self._run([self._echo(prompt, ending)], self._service(1), "probe", gate),)
        value = _likelihood(came, ending)
        if isinstance(value, float):
            self.probed = True
            return
        if value.kind in _MAY_PASS or value.kind.startswith("http_5"):
            raise StageFailed(f"{self.config.base_url}: {value.kind}: {value.detail}; run again when the service works")
        raise Invalid(
            f"{self.section}: {self.config.base_url}/completions gives no log-probabilities of its prompt (echo and "
            f"logprobs; {value.kind}: {value.detail}); set evaluate.knowledge.mode: generate, or leave "
            f"{self.config.name} out of evaluate.knowledge.models"
        )

    def _all(self, calls: Sequence[_Call], service: Service, label: str) -> list[str | CallError]:
        gate = Gate(self.config, self.section, self.budget, self.store.spent())
        found = self._run(calls, service, label, gate)
        if gate.stop is not None:
            raise StageFailed(gate.stop)
        self.errors.update(f.kind for f in found if isinstance(f, CallError))
        return found

    def _run(self, calls: Sequence[_Call], service: Service, label: str, gate: Gate) -> list[str | CallError]:
        """The stored contents, and those of the calls that are still to be made."""
        unique = {c.question.key: c for c in calls}
        came: dict[str, str | CallError] = {}
        for key in unique:
            if stored := self.store.answers(key):
                came[key] = stored[0]
        self.cached += len(came)
        waiting = [c for key, c in unique.items() if key not in came]

        async def ask_all() -> None:
            with self.progress.track(label, total=len(unique), unit="answer") as bar:
                bar.advance(len(came))

                async def settle(call: _Call) -> None:
                    came[call.question.key] = await self._ask(call, service, gate)
                    bar.advance()

                async with service:
                    await gate.side_by_side(waiting, settle)

        if waiting:
            asyncio.run(ask_all())
        stopped = CallError("stopped", gate.stop or "")
        return [came.get(c.question.key, stopped) for c in calls]

    async def _ask(self, call: _Call, service: Service, gate: Gate) -> str | CallError:
        if shut := gate.shut():
            return shut
        reply = await call.send(service)
        self.calls += 1
        if isinstance(reply, CallError):
            self.store.add(call.question, reply.kind, reply.detail, Usage())
            gate.failed(reply)
            return reply
        gate.answered(reply.usage.cost)
        self.cost += reply.usage.cost
        self.store.add(call.question, reply.error.kind if reply.error else ANSWERED, reply.content, reply.usage)
        return reply.error or reply.content


def _tail(completion: Any) -> str:
    """The last echoed tokens with their log-probabilities, as JSON; "null" where the response has none."""
    choices = getattr(completion, "choices", None) or []
    told = getattr(choices[0], "logprobs", None) if choices else None
    tokens, values = getattr(told, "tokens", None), getattr(told, "token_logprobs", None)
    if not tokens or not values or len(tokens) != len(values):
        return "null"
    made = getattr(getattr(completion, "usage", None), "completion_tokens", None)
    made = made if isinstance(made, int) else 1
    end = len(tokens) - made
    return json.dumps([[str(t), v] for t, v in zip(tokens[:end][-_TAIL:], values[:end][-_TAIL:], strict=True)])


def _likelihood(content: str | CallError, ending: str) -> float | CallError:
    """The log-probability of the tokens that spell `ending` at the prompt's end."""
    if isinstance(content, CallError):
        return content
    tail = json.loads(content)
    if not tail:
        return CallError("no_logprobs", "the response has no log-probabilities of the prompt")
    text, total = "", 0.0
    for token, value in reversed(tail):
        if text == ending or (text == ending.strip() and token.strip()):  # some servers drop a token's blank
            return total
        if not isinstance(value, int | float):
            break
        text, total = token + text, total + value
    return CallError("no_logprobs", f"the prompt's last tokens {[t for t, _ in tail]} do not spell {ending!r} apart")
