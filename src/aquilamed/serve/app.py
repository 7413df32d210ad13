"""The HTTP front: keys, limits, time-outs, who gets which answer. No path of a request reaches the file system.

/v1/chat/completions, /v1/completions, /v1/models, /health, /metrics.
"""

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aquilamed.config import Invalid, StageFailed
from aquilamed.listening import is_loopback
from aquilamed.serve.answerer import Answerer
from aquilamed.serve.answers import Answers, EventStream, Whole, unless_gone
from aquilamed.serve.metrics import Metrics
from aquilamed.serve.protocol import Body, ChatBody, Form, Refusal, TextBody, parse

BODY_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes on."""

    max_concurrency: int = 16
    """Answers at once."""
    queue: int = 64
    """Answers that wait beyond those; more are told 429."""
    max_body: int = 1 << 20
    """Bytes of a request."""
    timeout: float = 600.0
    """Seconds from a request to the end of its answer."""


class Front:
    """The routes of one served model."""

    def __init__(
        self, answerer: Answerer, name: str, limits: Limits, key: str | None, *, only_loopback: bool = True
    ) -> None:
        """Args:
        only_loopback: refuse requests for any other host's name: a page in the user's browser could otherwise reach a
            server without a key through a name of its own that it points at this machine.
        """
        self.only_loopback = only_loopback
        self.answerer, self.name, self.limits = answerer, name, limits
        self.key = key.encode() if key else None
        self.metrics = Metrics(limits.max_concurrency)
        self.created = int(time.time())

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                self._route("/v1/chat/completions", self.chat, method="POST"),
                self._route("/v1/completions", self.complete, method="POST"),
                self._route("/v1/models", self.models),
                self._route("/v1/models/{name:path}", self.model),
                self._route("/health", self.health, free=True),
                self._route("/metrics", self.numbers),
            ],
            exception_handlers={HTTPException: _not_here, Exception: _broken},
        )

    async def chat(self, request: Request) -> Response:
        """An answer to a conversation."""
        return await self._answer(request, ChatBody)

    async def complete(self, request: Request) -> Response:
        """A text's continuation."""
        return await self._answer(request, TextBody)

    async def models(self, request: Request) -> Response:
        """The one model."""
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, request: Request) -> Response:
        """A model by name."""
        self._check_model(request.path_params["name"])
        return JSONResponse(self._model())

    async def health(self, request: Request) -> Response:
        """Whether the model answers."""
        alive = self.answerer.alive
        return JSONResponse({"status": "ok" if alive else "failed"}, 200 if alive else 503)

    async def numbers(self, request: Request) -> Response:
        """For Prometheus."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    def _model(self) -> dict[str, Any]:
        about = {"id": self.name, "object": "model", "created": self.created, "owned_by": "aquilamed"}
        return about | {"max_model_len": self.answerer.context}

    def _check_model(self, name: str) -> None:
        if name != self.name:
            raise Refusal(
                404, f"there is no such model here; the one served is {self.name!r}", "model_not_found", "model"
            )

    async def _answer(self, request: Request, kind: type[Body]) -> Response:
        started = asyncio.get_running_loop().time()
        self._make_room(1)
        asked = parse(kind, await self._body(request))
        if asked.model is not None:
            self._check_model(asked.model)
        sampling = asked.sampling()
        if sampling.echo and not self.answerer.echoes:
            message = "echo is not supported by this engine; aquilamed serve --engine transformers does"
            raise Refusal(400, message, "unsupported_parameter", "echo")
        prompts = await run_in_threadpool(asked.prompts, self.answerer)
        n = asked.n or 1
        self._make_room(len(prompts) * n)
        answers = Answers(self.answerer, self.metrics, started)
        try:
            answers.ask(prompts, n, sampling)
        except Invalid as error:
            raise Refusal(400, str(error), "context_length_exceeded", "messages") from error
        except StageFailed as error:
            raise Refusal(503, "the model has failed; see the server's log", "engine_failed") from error
        prompt_tokens = sum(map(len, prompts))
        self.metrics.prompt_tokens.inc(prompt_tokens)
        form = Form(kind is ChatBody, self.name)
        if asked.stream:
            with_usage = bool(asked.stream_options and asked.stream_options.include_usage)
            events = self._events(answers, form, prompt_tokens if with_usage else None)
            return EventStream(events, answers, self.limits.timeout)
        try:
            whole = await unless_gone(request, self._collect(answers))
        finally:
            answers.cancel()
        return JSONResponse(form.whole(whole, prompt_tokens))

    def _make_room(self, answers: int) -> None:
        most = self.limits.max_concurrency + self.limits.queue
        if answers > most:
            raise Refusal(400, f"{answers} answers in one request; this server takes {most} at once", None, "n")
        if self.metrics.open + answers > most:
            refusal = Refusal(429, "the server is busy; try again later", "rate_limit_exceeded")
            refusal.headers["Retry-After"] = str(self.metrics.wait())
            raise refusal

    async def _collect(self, answers: Answers) -> Whole:
        found: Whole = [[] for _ in range(answers.count)]
        async for index, piece in answers.pieces(self.limits.timeout):
            found[index].append(piece)
        return found

    async def _events(self, answers: Answers, form: Form, prompt_tokens: int | None) -> AsyncIterator[bytes]:
        try:
            if form.chat:
                for index in range(answers.count):
                    yield _event(form.begin(index))
            async for index, piece in answers.pieces(self.limits.timeout):
                if piece.text or piece.reason or piece.logprobs:
                    yield _event(form.part(index, piece))
            if prompt_tokens is not None:
                yield _event(form.last(prompt_tokens, answers.tokens))
            yield b"data: [DONE]\n\n"
        except Refusal as refusal:
            yield _event(refusal.body())

    async def _body(self, request: Request) -> bytes:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refusal(415, "send Content-Type: application/json")
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for part in request.stream():
                    size += len(part)
                    if size > self.limits.max_body:
                        raise Refusal(413, f"the request is longer than {self.limits.max_body:,} bytes")
                    parts.append(part)
        except TimeoutError:
            raise Refusal(408, f"the request did not come within {BODY_SECONDS} seconds") from None
        except ClientDisconnect:
            raise Refusal(400, "the request broke off") from None
        return b"".join(parts)

    def _route(
        self, path: str, handler: Callable[[Request], Awaitable[Response]], method: str = "GET", free: bool = False
    ) -> Route:
        """A route with host and key checked (unless `free`), its refusals answered and its requests counted."""

        async def handle(request: Request) -> Response:
            try:
                if not free:
                    self._check_host(request)
                    self._check_key(request)
                response = await handler(request)
            except Refusal as refusal:
                response = JSONResponse(refusal.body(), refusal.status, refusal.headers)
            self.metrics.requests.labels(path, str(response.status_code)).inc()
            return response

        return Route(path, handle, methods=[method])

    def _check_host(self, request: Request) -> None:
        name = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        if self.only_loopback and not is_loopback(name):
            raise Refusal(403, "without a key this server answers to no other name than localhost", "wrong_host")

    def _check_key(self, request: Request) -> None:
        if self.key is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), self.key):
            refusal = Refusal(401, "give the API key: Authorization: Bearer …", "invalid_api_key")
            refusal.headers["WWW-Authenticate"] = "Bearer"
            raise refusal


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


async def _not_here(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refusal = Refusal(error.status_code, str(error.detail))
    return JSONResponse(refusal.body(), refusal.status, error.headers)


async def _broken(request: Request, error: Exception) -> Response:
    return JSONResponse(Refusal(500, "an error of the server", "server_error").body(), 500)
