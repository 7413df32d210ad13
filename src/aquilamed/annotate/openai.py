"""Annotating through an OpenAI-compatible service: chat or batches, retries, call store, budget.

What may go wrong with one call is that item's `CallError`; what would go wrong with every call (a wrong key, a service
that is down, a budget that is spent) stops the stage, with all paid answers kept for the next run.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aquilamed.annotate.batches import Batches, Request
from aquilamed.annotate.contract import AnnotatorConfig, CallError, Rubric, T
from aquilamed.annotate.estimate import answer_tokens, measured, text_tokens
from aquilamed.annotate.parse import parse
from aquilamed.annotate.service import RETRIED, Message, Service, most_in
from aquilamed.annotate.store import ANSWERED, BatchCall, CallStore, Question, Usage
from aquilamed.config import Invalid, StageFailed
from aquilamed.progress import Bar, Progress
from aquilamed.records import digest

# These parameters decide an answer; the address, the prices and the retries do not.
_PARAMETERS = ("model", "temperature", "max_tokens", "max_chars", "response_format")
# What a batch's request may have come back with so that asking once more may help.
_ASKED_AGAIN = {"batch_expired", "batch_missing", *(f"http_{status}" for status in RETRIED)}


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
        self.batches = Batches(self.service, self.store, config, progress)
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
            "cost": None if self.config.price is None else round(self.cost, 6),
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
        self.count(usage)

    def count(self, usage: Usage) -> None:
        """Count a call that came back."""
        self.calls += 1
        self.tokens_in += usage.tokens_in
        self.tokens_out += usage.tokens_out
        self.cost += usage.cost


@dataclass
class _Waiting:
    """A question that no stored answer settles yet."""

    prompt: str
    question: Question
    messages: list[Message]


class _Run:
    """One `annotate` of one rubric."""

    def __init__(self, owner: OpenAIAnnotator, rubric: Rubric[Any], round: int, prompts: list[str]) -> None:
        self.owner, self.rubric, self.round, self.prompts = owner, rubric, round, prompts
        self.answers: dict[str, Any] = {}
        self.stop: str | None = None
        self.failed_in_a_row = 0
        self.spent = 0.0
        self.answered = owner.store.answered(owner.config.model)

    async def all(self, bar: Bar) -> dict[str, Any]:
        """Answers by prompt: stored ones, those of batches that an earlier run sent, then what is still to be asked."""
        owner = self.owner
        waiting = self._unsettled(bar)
        async with owner.service:
            if waiting and owner.store.open_batches(owner.batches.address):
                await owner.batches.collect({w.question.key for w in waiting}, bar)
                waiting = self._unsettled(bar)
            self.spent = owner.store.spent()
            await (self._by_batch(waiting, bar) if owner.config.mode == "batch" else self._by_chat(waiting, bar))
        return self.answers

    def _unsettled(self, bar: Bar) -> list[_Waiting]:
        """The questions without a valid stored answer; the others' answers are taken."""
        waiting = []
        for prompt in self.prompts:
            if prompt in self.answers:
                continue
            question = self.owner.question(self.rubric, prompt, self.round)
            stored = (parse(c, self.rubric.schema, prompt) for c in self.owner.store.answers(question.key))
            answer = next((a for a in stored if not isinstance(a, CallError)), None)
            if answer is None:
                waiting.append(_Waiting(prompt, question, [{"role": "user", "content": prompt}]))
            else:
                self.answers[prompt] = answer
                self.owner.cached += 1
        bar.advance(max(0, len(self.answers) - bar.count))
        return waiting

    async def _by_chat(self, waiting: list[_Waiting], bar: Bar) -> None:
        """Workers finish the calls in flight before they heed `stop`: those are paid for."""
        queue = iter(waiting)

        async def worker() -> None:
            for one in queue:
                if self.stop is not None:
                    return
                answer, content = await self._ask(one)
                if self._repairable(answer):
                    self._ask_for_repair(one, answer, content)
                    answer, _ = await self._ask(one)
                self.answers[one.prompt] = answer
                bar.advance()

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.owner.config.concurrency, len(waiting))):
                group.create_task(worker())

    async def _by_batch(self, waiting: list[_Waiting], bar: Bar) -> None:
        """Everything in one go; then, in a second one, repairs and what did not come back."""
        batches = self.owner.batches
        for last in (False, True):
            requests = [self._request(w) for w in waiting]
            if not requests or not self._affordable(sum(r.estimate for r in requests), len(requests)):
                return
            batches.ended.clear()
            await batches.send(requests)
            came = await batches.collect({w.question.key for w in waiting}, bar)
            again = []
            for one in waiting:
                back = came[one.question.key]
                self.owner.count(back.usage)
                self.spent = self.owner.store.spent()
                answer = CallError(back.outcome, back.content)
                if back.outcome == ANSWERED:
                    answer = parse(back.content, self.rubric.schema, one.prompt)
                if not last and self._repairable(answer):
                    self._ask_for_repair(one, answer, back.content)
                    again.append(one)
                elif not last and back.outcome in _ASKED_AGAIN:
                    again.append(one)
                else:
                    self.answers[one.prompt] = answer
                    self._heed(answer)
            bar.advance(max(0, len(self.answers) - bar.count))
            if batches.ended:
                how = "; ".join(f"batch {batch} {end}" for batch, end in batches.ended.items())
                self.stop = (
                    f"{how}; what came back is stored: run again to send the rest (token_limit_exceeded: lower "
                    "annotator.batch_requests)"
                )
            if self.stop is not None:
                return
            waiting = again

    def _request(self, one: _Waiting) -> Request:
        """The batch's request for a question, with its expected cost."""
        config = self.owner.config
        known = measured(self.answered.get(self.rubric.hash))
        tokens_in = sum(text_tokens(m["content"]) for m in one.messages)
        tokens_out = known[1] if known else answer_tokens(self.rubric.schema, config.max_tokens)
        call = BatchCall(one.question, most_in(one.messages))
        body = self.owner.service.request(one.messages, self.rubric.schema)
        return Request(call, body, config.cost(tokens_in, tokens_out, batch=True) or 0.0)

    def _affordable(self, estimate: float, requests: int) -> bool:
        """Whether the budget allows a batch; `stop` says why not."""
        config = self.owner.config
        if config.budget is None or self.spent + estimate <= config.budget:
            return True
        self.stop = (
            f"{requests:,} requests would cost about {estimate:.4g} {config.currency}, but of the budget of "
            f"{config.budget:g} {self.spent:.4g} is spent or waiting in batches; nothing was sent: raise annotator.budget "
            "or lower what this stage asks"
        )
        return False

    def _repairable(self, answer: Any) -> bool:
        return isinstance(answer, CallError) and answer.kind in ("bad_json", "bad_schema") and self.owner.config.repair

    def _ask_for_repair(self, one: _Waiting, problem: CallError, content: str) -> None:
        repair = (
            f"That answer cannot be used ({problem.detail}). Give the same judgement again as one JSON object and "
            f"nothing else, of this form: {self.rubric.form()}"
        )
        one.messages += [{"role": "assistant", "content": content}, {"role": "user", "content": repair}]

    async def _ask(self, one: _Waiting) -> tuple[Any, str]:
        """One call with its retries; returns the answer and the raw content."""
        config = self.owner.config
        if self.stop is None and config.budget is not None and self.spent >= config.budget:
            self.stop = (
                f"the annotator's budget of {config.budget:g} is spent ({self.spent:.4f} for this workspace's calls); "
                "all answers are stored: raise annotator.budget and run again, only missing answers will be paid"
            )
        if self.stop is not None:
            return CallError("budget" if config.budget is not None else "stopped", self.stop), ""
        reply = await self.owner.service.ask(one.messages, self.rubric.schema)
        if isinstance(reply, CallError):
            self.owner.record(one.question, reply.kind, reply.detail, Usage())
            self._failed(reply)
            return reply, ""
        self.failed_in_a_row = 0
        self.spent += reply.usage.cost
        self.owner.record(one.question, reply.error.kind if reply.error else ANSWERED, reply.content, reply.usage)
        return reply.error or parse(reply.content, self.rubric.schema, one.prompt), reply.content

    def _heed(self, answer: Any) -> None:
        """Stop for an error that every call will have."""
        config = self.owner.config
        if isinstance(answer, CallError) and answer.kind in ("http_401", "http_403", "http_404"):
            self.stop = (
                f"{config.base_url} refuses the call ({answer.kind}: {answer.detail}); check annotator.model, "
                f"annotator.base_url and the key in the environment variable {config.api_key_env}"
            )

    def _failed(self, error: CallError) -> None:
        self.failed_in_a_row += 1
        config = self.owner.config
        self._heed(error)
        if self.stop is None and self.failed_in_a_row >= config.give_up_after:
            self.stop = (
                f"{self.failed_in_a_row} calls in a row failed at {config.base_url}, lastly with {error.kind} "
                f"({error.detail}); all answers are stored: run again when the service works"
            )
