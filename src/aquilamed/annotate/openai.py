"""Annotating through an OpenAI-compatible service: chat or batches, retries, call store, budget.

What goes wrong with one call is that item's `CallError`; what would go wrong with every call stops the stage (`gate.py`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aquilamed.annotate.batches import Batches, Request
from aquilamed.annotate.contract import AnnotatorConfig, CallError, Rubric, T
from aquilamed.annotate.counted import Counted
from aquilamed.annotate.estimate import answer_tokens, measured, text_tokens
from aquilamed.annotate.gate import Gate
from aquilamed.annotate.parse import parse
from aquilamed.annotate.service import RETRIED, Service, key_of, most_in
from aquilamed.annotate.store import ANSWERED, BatchCall, CallStore, Question, Usage
from aquilamed.config import StageFailed
from aquilamed.progress import Bar, Progress
from aquilamed.records import Message, digest

# These parameters decide an answer; the address, the prices and the retries do not.
_PARAMETERS = ("model", "temperature", "max_tokens", "max_chars", "response_format")
# What a batch's request may have come back with so that asking once more may help.
_ASKED_AGAIN = {"batch_expired", "batch_missing", *(f"http_{status}" for status in RETRIED)}


class OpenAIAnnotator(Counted):
    """A service as annotator. One instance may serve many rubrics; `annotate` is synchronous."""

    kind = "openai"

    def __init__(self, config: AnnotatorConfig, root: Path, progress: Progress) -> None:
        super().__init__(priced=config.price is not None)
        self.name, self.config, self.progress = config.model, config, progress
        self.service = Service(config, key_of(config, "annotator"), config.max_tokens, config.temperature)
        self.store = CallStore(root / "calls.sqlite")
        self.batches = Batches(self.service, self.store, config, progress)

    def annotate(self, rubric: Rubric[T], items: Sequence[Mapping[str, str]], round: int = 1) -> list[T | CallError]:
        """See `Annotator.annotate`."""
        self.rubrics[rubric.name] = rubric.hash
        prompts = [rubric.render(item, round, self.config.max_chars) for item in items]
        unique = dict.fromkeys(prompts)  # equal items are one call
        run = _Run(self, rubric, round, list(unique))
        with self.progress.track(f"{rubric.name}, round {round}", total=len(unique), unit="answer") as bar:
            answers = asyncio.run(run.all(bar))
        if run.gate.stop is not None:
            raise StageFailed(run.gate.stop)
        self.errors.update(a.kind for p in prompts if isinstance(a := answers[p], CallError))
        return [answers[p] for p in prompts]

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
        self.gate = Gate(owner.config, "annotator", owner.config.budget, 0.0)
        self.answered = owner.store.answered(owner.config.model)

    async def all(self, bar: Bar) -> dict[str, Any]:
        """Answers by prompt: stored ones, those of batches that an earlier run sent, then what is still to be asked."""
        owner = self.owner
        waiting = self._unsettled(bar)
        async with owner.service:
            if waiting and owner.store.open_batches(owner.batches.address):
                await owner.batches.collect({w.question.key for w in waiting}, bar)
                waiting = self._unsettled(bar)
            self.gate.spent = owner.store.spent()
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
        async def settle(one: _Waiting) -> None:
            answer, content = await self._ask(one)
            if self._repairable(answer):
                self._ask_for_repair(one, answer, content)
                answer, _ = await self._ask(one)
            self.answers[one.prompt] = answer
            bar.advance()

        await self.gate.side_by_side(waiting, settle)

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
                self.gate.spent = self.owner.store.spent()
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
                    if isinstance(answer, CallError):
                        self.gate.heed(answer)
            bar.advance(max(0, len(self.answers) - bar.count))
            if batches.ended:
                how = "; ".join(f"batch {batch} {end}" for batch, end in batches.ended.items())
                self.gate.stop = (
                    f"{how}; what came back is stored: run again to send the rest (token_limit_exceeded: lower "
                    "annotator.batch_requests)"
                )
            if self.gate.stop is not None:
                return
            waiting = again

    def _request(self, one: _Waiting) -> Request:
        """The batch's request for a question, with its expected cost."""
        config = self.owner.config
        known = measured(self.answered.get(self.rubric.hash))
        tokens_in = sum(text_tokens(m["content"]) for m in one.messages)
        tokens_out = known[1] if known else answer_tokens(self.rubric.schema, config.max_tokens)
        call = BatchCall(one.question, most_in(one.messages))
        body = self.owner.service.request(one.messages, self.rubric.schema, config.response_format)
        return Request(call, body, config.cost(tokens_in, tokens_out, batch=True) or 0.0)

    def _affordable(self, estimate: float, requests: int) -> bool:
        """Whether the budget allows a batch; `gate.stop` says why not."""
        config = self.owner.config
        if config.budget is None or self.gate.spent + estimate <= config.budget:
            return True
        self.gate.stop = (
            f"{requests:,} requests would cost about {estimate:.4g} {config.currency}, but of the budget of "
            f"{config.budget:g} {self.gate.spent:.4g} is spent or waiting in batches; nothing was sent: raise annotator.budget "
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
        if shut := self.gate.shut():
            return shut, ""
        reply = await self.owner.service.ask(one.messages, self.rubric.schema, self.owner.config.response_format)
        if isinstance(reply, CallError):
            self.owner.record(one.question, reply.kind, reply.detail, Usage())
            self.gate.failed(reply)
            return reply, ""
        self.gate.answered(reply.usage.cost)
        self.owner.record(one.question, reply.error.kind if reply.error else ANSWERED, reply.content, reply.usage)
        return reply.error or parse(reply.content, self.rubric.schema, one.prompt), reply.content
