"""A model behind another server's /v1/completions: the prompts are ours, token by token; it only continues them.

So the chat template, limits, errors and everything else of the protocol are the same whatever engine answers.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from aquilamed.config import StageFailed
from aquilamed.serve.answerer import Answerer, Piece, TokenLogprob
from aquilamed.serve.child import Child
from aquilamed.serve.sampling import Sampling


class Remote(Answerer):
    """Answers through an OpenAI-compatible server."""

    def __init__(
        self,
        tokenizer: Any,
        context: int,
        address: str,
        key: str,
        *,
        name: str,
        as_text: bool = False,
        child: Child | None = None,
    ) -> None:
        """Args:
        name: what the server calls the model.
        as_text: send prompts as text, to a server that takes no token ids.
        child: the server's process, which is closed with this.
        """
        from openai import AsyncOpenAI

        super().__init__(tokenizer, context)
        self.name, self.as_text, self.child = name, as_text, child
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True, name="answers")
        self._thread.start()
        self.client = AsyncOpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0, timeout=None)
        self._running: dict[str, tuple[Future[None], Callable[[Piece], None]]] = {}
        self._lock = threading.Lock()
        self._count = 0
        self._closed = False

    @property
    def alive(self) -> bool:
        """See `Answerer.alive`."""
        return not self._closed and (self.child is None or self.child.alive)

    def close(self) -> None:
        """See `Answerer.close`."""
        if self._closed:
            return
        self._closed = True
        for name in list(self._running):
            self.cancel(name)
        asyncio.run_coroutine_threadsafe(self.client.close(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        if self.child is not None:
            self.child.close()

    def submit(self, prompt: Sequence[int], sampling: Sampling, deliver: Callable[[Piece], None]) -> str:
        """See `Answerer.submit`."""
        room = self.room(prompt)
        if not self.alive:
            raise StageFailed("the engine has ended")
        with self._lock:
            self._count += 1
            name = f"answer-{self._count}"
            future = asyncio.run_coroutine_threadsafe(self._ask(name, list(prompt), sampling, room), self.loop)
            self._running[name] = (future, deliver)
        return name

    def cancel(self, name: str) -> None:
        """See `Answerer.cancel`."""
        with self._lock:
            running = self._running.pop(name, None)
        if running is not None:
            future, deliver = running
            future.cancel()
            deliver(Piece(reason="cancelled"))

    async def _ask(self, name: str, prompt: list[int], sampling: Sampling, room: int) -> None:
        from openai import OpenAIError

        try:
            last = await self._continue(name, prompt, sampling, room)
        except OpenAIError as error:
            status = getattr(error, "status_code", "")  # its message may repeat the prompt
            last = Piece(reason="error", error=f"the engine behind: {type(error).__name__} {status}".rstrip())
        self._tell(name, last)

    async def _continue(self, name: str, prompt: list[int], sampling: Sampling, room: int) -> Piece:
        """Tell every piece but the last, which is returned."""
        told, tokens, reason = 0, 0, None
        async with await self.client.completions.create(**self._request(prompt, sampling, room)) as stream:
            async for chunk in stream:
                if chunk.usage is not None:
                    tokens = chunk.usage.completion_tokens
                for choice in chunk.choices:
                    reason = choice.finish_reason or reason
                    told += bool(choice.text)
                    self._tell(name, Piece(choice.text or "", 0, _logprobs(choice.logprobs)))
        if reason is None:
            return Piece(reason="error", error="the engine broke off")
        # A chunk may hold several tokens; llama_cpp.server, which does not count them, sends one in each that has text.
        return Piece(tokens=tokens or told, reason="length" if reason == "length" else "stop")

    def _request(self, prompt: list[int], sampling: Sampling, room: int) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "model": self.name,
            "prompt": self.text(prompt) if self.as_text else prompt,
            "max_tokens": min(sampling.max_tokens or room, room),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "frequency_penalty": sampling.frequency_penalty,
            "presence_penalty": sampling.presence_penalty,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if sampling.seed is not None:
            asked["seed"] = sampling.seed % 2**31
        if sampling.stop:
            asked["stop"] = list(sampling.stop)
        if sampling.logprobs is not None:
            asked["logprobs"] = sampling.logprobs
        return asked

    def _tell(self, name: str, piece: Piece) -> None:
        with self._lock:
            running = self._running.pop(name, None) if piece.reason else self._running.get(name)
        if running is not None:
            running[1](piece)


def _logprobs(named: Any) -> tuple[TokenLogprob, ...]:
    if named is None or not named.tokens:
        return ()
    tops = named.top_logprobs or [{}] * len(named.tokens)
    return tuple(
        TokenLogprob(token, logprob, tuple((top or {}).items()))
        for token, logprob, top in zip(named.tokens, named.token_logprobs, tops, strict=True)
    )
