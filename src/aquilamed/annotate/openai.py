"""Annotating through an OpenAI-compatible service: bounded concurrency, retries, call store, budget.

What may go wrong with one call is that item's `CallError`; what would go wrong with every call (a wrong key, a service
that is down, a budget that is spent) stops the stage, with all paid answers kept for the next run.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aquilamed.annotate.contract import AnnotatorConfig, CallError, Rubric, T
from aquilamed.annotate.parse import parse
from aquilamed.annotate.service import Message, Service
from aquilamed.annotate.store import ANSWERED, CallStore, Question, Usage
from aquilamed.config import Invalid, StageFailed
from aquilamed.progress import Bar, Progress
from aquilamed.records import digest

# These parameters decide an answer; the address, the prices and the retries do not.
_PARAMETERS = ("model", "temperature", "max_tokens", "max_chars", "response_format")


class OpenAIAnnotator:
    """A service as annotator. One instance may serve many rubrics; `annotate` is synchronous."""

    kind = "openai"

    def __init__(self, config: AnnotatorConfig, root: Path, progress: Progress) -> None:
        key = os.environ.get(config.api_key_env, "")
        if not key:
            raise Invalid(
                f"annotator.api_key_env: the environment variable {config.api_key_env} is not set; "
                "set it to the service's key (any text for a server without keys)"
            )
        self.name, self.config, self.progress = config.model, config, progress
        self.service = Service(config, key)
        self.store = CallStore(root / "calls.sqlite")
        self.calls = self.cached = self.tokens_in = self.tokens_out = 0
        self.cost = 0.0
        self.errors: Counter[str] = Counter()
        self.rubrics: dict[str, str] = {}

    def annotate(self, rubric: Rubric[T], items: Sequence[Mapping[str, str]], round: int = 1) -> list[T | CallError]:
        """See `Annotator.annotate`."""
        self.rubrics[rubric.name] = rubric.hash
        prompts = [rubric.render(item, round, self.config.max_chars) for item in items]
        unique = dict.fromkeys(prompts)  # equal items are one call
        run = _Run(self, rubric, round, list(unique))
        with self.progress.track(f"{rubric.name}, round {round}", total=len(unique), unit="answer") as bar:
            answers = asyncio.run(run.all(bar))
        if run.stop is not None:
            raise StageFailed(run.stop)
        self.errors.update(a.kind for p in prompts if isinstance(a := answers[p], CallError))
        return [answers[p] for p in prompts]

    def statistics(self) -> dict[str, Any]:
        """See `Annotator.statistics`."""
        return {
            "calls": self.calls,
            "cached": self.cached,
            "errors": dict(sorted(self.errors.items())),
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "cost": round(self.cost, 6),
            "rubrics": dict(sorted(self.rubrics.items())),
        }

    def question(self, rubric: Rubric[T], prompt: str, round: int) -> Question:
        """What identifies the call for a prompt."""
        parameters = {name: getattr(self.config, name) for name in _PARAMETERS}
        key = digest([parameters, rubric.hash, prompt, round])
        return Question(key, self.config.model, rubric.name, rubric.hash, round)

    def record(self, question: Question, outcome: str, content: str, usage: Usage) -> None:
        """Commit a call and count it."""
        self.store.add(question, outcome, content, usage)
        self.calls += 1
        self.tokens_in += usage.tokens_in
        self.tokens_out += usage.tokens_out
        self.cost += usage.cost


class _Run:
    """One `annotate` of one rubric."""

    def __init__(self, owner: OpenAIAnnotator, rubric: Rubric[Any], round: int, prompts: list[str]) -> None:
        self.owner, self.rubric, self.round, self.prompts = owner, rubric, round, prompts
        self.answers: dict[str, Any] = {}
        self.stop: str | None = None
        self.failed_in_a_row = 0
        self.spent = owner.store.spent()

    async def all(self, bar: Bar) -> dict[str, Any]:
        """Answers by prompt. Workers finish the calls in flight before they heed `stop`: those are paid for."""
        waiting = iter(self.prompts)

        async def worker() -> None:
            for prompt in waiting:
                if self.stop is not None:
                    return
                self.answers[prompt] = await self._one(prompt)
                bar.advance()

        async with self.owner.service, asyncio.TaskGroup() as group:
            for _ in range(min(self.owner.config.concurrency, len(self.prompts))):
                group.create_task(worker())
        return self.answers

    async def _one(self, prompt: str) -> Any:
        question = self.owner.question(self.rubric, prompt, self.round)
        for content in self.owner.store.answers(question.key):
            answer = parse(content, self.rubric.schema)
            if not isinstance(answer, CallError):
                self.owner.cached += 1
                return answer
        messages: list[Message] = [{"role": "user", "content": prompt}]
        answer, content = await self._ask(question, messages)
        if isinstance(answer, CallError) and answer.kind in ("bad_json", "bad_schema") and self.owner.config.repair:
            repair = (
                f"That answer cannot be used ({answer.detail}). Give the same judgement again as one JSON object and "
                f"nothing else, of this form: {self.rubric.form()}"
            )
            messages += [{"role": "assistant", "content": content}, {"role": "user", "content": repair}]
            answer, _ = await self._ask(question, messages)
        return answer

    async def _ask(self, question: Question, messages: list[Message]) -> tuple[Any, str]:
        """One call with its retries; returns the answer and the raw content."""
        config = self.owner.config
        if self.stop is None and config.budget is not None and self.spent >= config.budget:
            self.stop = (
                f"the annotator's budget of {config.budget:g} is spent ({self.spent:.4f} for this workspace's calls); "
                "all answers are stored: raise annotator.budget and run again, only missing answers will be paid"
            )
        if self.stop is not None:
            return CallError("budget" if config.budget is not None else "stopped", self.stop), ""
        reply = await self.owner.service.ask(messages, self.rubric.schema)
        if isinstance(reply, CallError):
            self.owner.record(question, reply.kind, reply.detail, Usage())
            self._failed(reply)
            return reply, ""
        self.failed_in_a_row = 0
        self.spent += reply.usage.cost
        self.owner.record(question, reply.error.kind if reply.error else ANSWERED, reply.content, reply.usage)
        return reply.error or parse(reply.content, self.rubric.schema), reply.content

    def _failed(self, error: CallError) -> None:
        self.failed_in_a_row += 1
        config = self.owner.config
        if error.kind in ("http_401", "http_403", "http_404"):
            self.stop = (
                f"{config.base_url} refuses the call ({error.kind}: {error.detail}); check annotator.model, "
                f"annotator.base_url and the key in the environment variable {config.api_key_env}"
            )
        elif self.failed_in_a_row >= config.give_up_after:
            self.stop = (
                f"{self.failed_in_a_row} calls in a row failed at {config.base_url}, lastly with {error.kind} "
                f"({error.detail}); all answers are stored: run again when the service works"
            )
