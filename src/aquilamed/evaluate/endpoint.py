"""A contestant behind an OpenAI-compatible endpoint: yours (`aquilamed serve`, vLLM, llama.cpp) or a remote one.

What is asked is in `endpoint_calls.py`. Every call goes through the call store: nothing is paid twice, and a call that failed
is a `CallError`, never an answer.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aquilamed.annotate.contract import CallError
from aquilamed.annotate.gate import Gate
from aquilamed.annotate.service import Reply, Service, key_of, most_in
from aquilamed.annotate.store import ANSWERED, CallStore, Usage
from aquilamed.config import Invalid, StageFailed
from aquilamed.evaluate.endpoint_calls import LIKELIHOOD, Call, EndpointCalls, EndpointConfig, likelihood
from aquilamed.progress import Progress

_TAIL = 8
"""Last tokens of an echoed prompt that are stored: an option letter is one or two of them."""
_MAY_PASS = {"timeout", "connection", "http_408", "http_409", "http_429"}


class Endpoint(EndpointCalls):
    """An endpoint as a backend (`backends.Backend`)."""

    def __init__(self, config: EndpointConfig, root: Path, progress: Progress, budget: float | None) -> None:
        super().__init__(config)
        self.progress, self.budget = progress, budget
        self.section = f"evaluate.endpoints[{config.name}]"
        self.key = key_of(config, self.section)
        self.store = CallStore(root / "calls.sqlite")
        self.calls = self.cached = 0
        self.cost = 0.0
        self.errors: Counter[str] = Counter()
        self.probed = False

    def statistics(self) -> dict[str, Any]:
        """calls, cached, errors (by kind) and cost (None for a model without a price) since it was opened."""
        cost = None if self.config.price is None else round(self.cost, 6)
        return {"calls": self.calls, "cached": self.cached, "errors": dict(sorted(self.errors.items())), "cost": cost}

    def _service(self, max_tokens: int) -> Service:
        return Service(self.config, self.key, max_tokens, self.config.temperature, cut_is_error=False)

    async def _send(self, call: Call, service: Service) -> Reply | CallError:
        if call.question.rubric != LIKELIHOOD:
            return await service.ask(call.conversation)
        body = {"model": self.config.model, "prompt": call.text, "max_tokens": 1, "echo": True, "logprobs": 1}
        came = await service.call(lambda client: client.completions.create(**body, temperature=0))
        if isinstance(came, CallError):
            return came
        return Reply(_tail(came), service.usage(getattr(came, "usage", None), most_in(call.conversation), ""))

    def _probe(self, call: Call, ending: str) -> None:
        if self.probed:
            return
        gate = Gate(self.config, self.section, self.budget, self.store.spent())
        (came,) = self._run([call], "probe", gate)
        value = likelihood(came, ending)
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

    def _all(self, calls: Sequence[Call], label: str) -> list[str | CallError]:
        gate = Gate(self.config, self.section, self.budget, self.store.spent())
        found = self._run(calls, label, gate)
        if gate.stop is not None:
            raise StageFailed(gate.stop)
        self.errors.update(f.kind for f in found if isinstance(f, CallError))
        return found

    def _run(self, calls: Sequence[Call], label: str, gate: Gate) -> list[str | CallError]:
        """The stored contents, and those of the calls that are still to be made."""
        unique = {c.question.key: c for c in calls}
        came: dict[str, str | CallError] = {}
        for key in unique:
            if stored := self.store.answers(key):
                came[key] = stored[0]
        self.cached += len(came)
        waiting = [c for key, c in unique.items() if key not in came]

        async def ask_all() -> None:
            service = self._service(waiting[0].max_tokens)
            with self.progress.track(label, total=len(unique), unit="answer") as bar:
                bar.advance(len(came))

                async def settle(call: Call) -> None:
                    came[call.question.key] = await self._ask(call, service, gate)
                    bar.advance()

                async with service:
                    await gate.side_by_side(waiting, settle)

        if waiting:
            asyncio.run(ask_all())
        stopped = CallError("stopped", gate.stop or "")
        return [came.get(c.question.key, stopped) for c in calls]

    async def _ask(self, call: Call, service: Service, gate: Gate) -> str | CallError:
        if shut := gate.shut():
            return shut
        reply = await self._send(call, service)
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
