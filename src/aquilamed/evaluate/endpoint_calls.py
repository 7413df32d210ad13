"""What a model behind an endpoint is asked, and by which key the call store knows each call; `endpoint.py` makes the calls.

Answers come from /v1/chat/completions; log-likelihoods of option letters from /v1/completions, which must echo the prompt
with its log-probabilities.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from aquilamed.annotate.contract import CallError, ServiceConfig
from aquilamed.annotate.store import Question
from aquilamed.evaluate.kept import Kept
from aquilamed.evaluate.prompts import Sheet
from aquilamed.records import Message, digest

CHAT, LIKELIHOOD = "chat", "loglikelihood"
_PROBE = ("Question: which organ pumps blood?\nA. the liver\nB. the heart\nAnswer:", " B")


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
class Call:
    """A call with what identifies it: a conversation to be answered, or (`LIKELIHOOD`) a text to be echoed, as its only turn."""

    question: Question
    conversation: list[Message]
    max_tokens: int

    @property
    def text(self) -> str:
        """All that is sent."""
        return "\n".join(m["content"] for m in self.conversation)


class EndpointCalls:
    """An endpoint as a backend (`backends.Backend`), but for `_all`: how its calls are answered."""

    def __init__(self, config: EndpointConfig) -> None:
        self.config = config

    def chats(self, mode: str, chat: bool) -> bool:
        """Whether prompts become a user's message: generated answers are chat completions, likelihoods are not."""
        return mode == "generate"

    def template(self, chat: bool) -> str:
        """The endpoint's own, which nobody outside sees."""
        return ""

    def check(self, task: str, sheets: Sequence[Sheet], shots: int, chat: bool, room: int) -> None:
        """Its context is its own affair: a prompt that it refuses is unscored."""

    def likelihoods(
        self, task: str, sheets: Sequence[Sheet], chat: bool, kept: Kept | None
    ) -> list[list[float] | CallError]:
        """See `Backend.likelihoods`. Raises `Invalid` when the endpoint gives no log-probabilities of its prompt."""
        if sheets:
            self._probe(self._echo(*_PROBE), _PROBE[1])
        calls = [self._echo(s.prompt, f" {letter}") for s in sheets for letter in s.letters]
        raw = iter(self._all(calls, f"{task}: {self.config.name}"))
        found: list[list[float] | CallError] = []
        for sheet in sheets:
            values = [likelihood(next(raw), f" {letter}") for letter in sheet.letters]
            failed = [v for v in values if isinstance(v, CallError)]
            found.append(failed[0] if failed else [v for v in values if not isinstance(v, CallError)])
        return found

    def generations(
        self, task: str, sheets: Sequence[Sheet], chat: bool, max_tokens: int, kept: Kept | None
    ) -> list[str | CallError]:
        """See `Backend.generations`."""
        asked: list[list[Message]] = [[{"role": "user", "content": s.prompt}] for s in sheets]
        return self.answers(asked, max_tokens, task)

    def answers(
        self, conversations: Sequence[list[Message]], max_new_tokens: int, label: str = "answers"
    ) -> list[str | CallError]:
        """See `Backend.answers`; an answer that was cut at `max_new_tokens` counts as it is, as a local model's does."""
        calls = [Call(self._question(CHAT, max_new_tokens, c), list(c), max_new_tokens) for c in conversations]
        return self._all(calls, f"{label}: {self.config.name}")

    def _echo(self, prompt: str, ending: str) -> Call:
        question = self._question(LIKELIHOOD, prompt, ending)
        return Call(question, [{"role": "user", "content": prompt + ending}], 1)

    def _question(self, kind: str, *asked: object) -> Question:
        key = digest([kind, self.config.model, self.config.temperature, *asked])
        return Question(key, self.config.model, kind, digest(kind), 1)

    def _probe(self, call: Call, ending: str) -> None:
        """A short question before the first likelihoods, to say at once what every question would fail with."""
        raise NotImplementedError

    def _all(self, calls: Sequence[Call], label: str) -> list[str | CallError]:
        """What each call brings, all of one `max_tokens`."""
        raise NotImplementedError


def likelihood(content: str | CallError, ending: str) -> float | CallError:
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
