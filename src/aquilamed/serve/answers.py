"""The answers of one HTTP request: submitted together, read as they come, stopped when the client goes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from aquilamed.serve.answerer import Answerer, Piece
from aquilamed.serve.metrics import Metrics
from aquilamed.serve.protocol import Refusal
from aquilamed.serve.sampling import Sampling

Whole = list[list[Piece]]  # of every answer, its pieces
SLACK = 30  # seconds beyond its time-out after which a client that does not read loses its place


class Answers:
    """The answers of one request: every prompt, n times."""

    def __init__(self, answerer: Answerer, metrics: Metrics, started: float) -> None:
        self.answerer, self.metrics, self.started = answerer, metrics, started
        self.names: list[str] = []
        self.count = 0
        self.tokens = 0
        self._begun = False
        self._pieces: asyncio.Queue[tuple[int, Piece]] = asyncio.Queue()

    def ask(self, prompts: Sequence[Sequence[int]], n: int, sampling: Sampling) -> None:
        """Submit all. Raises what `Answerer.submit` raises; none is under way then."""
        loop = asyncio.get_running_loop()
        try:
            for index, prompt in enumerate(p for p in prompts for _ in range(n)):
                seed = None if sampling.seed is None else sampling.seed + index % n

                def deliver(piece: Piece, index: int = index) -> None:
                    if not loop.is_closed():
                        loop.call_soon_threadsafe(self._pieces.put_nowait, (index, piece))

                self.names.append(self.answerer.submit(prompt, replace(sampling, seed=seed), deliver))
        except BaseException:
            self.cancel()
            raise
        self.count = len(self.names)
        self.metrics.change(self.count)

    def cancel(self) -> None:
        """Stop what is still running; the places are free again. Idempotent."""
        for name in self.names:
            self.answerer.cancel(name)
        self.names = []
        self.metrics.change(-self.count)
        self.count = 0

    async def pieces(self, timeout: float) -> AsyncIterator[tuple[int, Piece]]:
        """Every piece with its answer's index, until all answers have ended.

        Raises `Refusal`: 504 when `timeout` seconds have passed, 500 when the model failed.
        """
        left = self.count
        while left:
            try:
                async with asyncio.timeout_at(self.started + timeout):
                    index, piece = await self._pieces.get()
            except TimeoutError:
                raise Refusal(504, f"no whole answer within {timeout:g} seconds", "timeout") from None
            if piece.reason in ("error", "cancelled"):
                if piece.error:
                    logging.getLogger(__name__).error("an answer failed: %s", piece.error)
                raise Refusal(500, "the model could not answer", "engine_failed")
            if not self._begun and (piece.tokens or piece.text):
                self._begun = True
                self.metrics.first.observe(asyncio.get_running_loop().time() - self.started)
            self.tokens += piece.tokens
            self.metrics.answer_tokens.inc(piece.tokens)
            left -= piece.reason is not None
            yield index, piece
        self.metrics.ended(asyncio.get_running_loop().time() - self.started)


class EventStream(StreamingResponse):
    """Server-sent events; whatever ends the response ends its answers."""

    def __init__(self, events: AsyncIterator[bytes], answers: Answers, timeout: float) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self.answers, self.timeout = answers, timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self.timeout + SLACK):  # a client that does not read holds no place
                await super().__call__(scope, receive, send)
        except TimeoutError:
            return
        finally:
            self.answers.cancel()


async def unless_gone(request: Request, work: Coroutine[Any, Any, Whole]) -> Whole:
    """The work's result. Raises `Refusal` as soon as the client hangs up."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, left = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Refusal(499, "the client hung up")
        return await task
    finally:
        task.cancel()
        left.cancel()
