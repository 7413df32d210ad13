"""`aquilamed serve MODEL`: an OpenAI-compatible endpoint for one model."""

import os
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from aquilamed.config import Invalid, StageFailed
from aquilamed.listening import is_loopback, listen
from aquilamed.serve.answerer import Answerer
from aquilamed.serve.engines import answerer
from aquilamed.serve.sampling import Sampling
from aquilamed.serve.target import short_name
from aquilamed.slow_clients import protocol

if TYPE_CHECKING:
    from aquilamed.serve.app import Front

KEY_VARIABLE = "AQUILAMED_API_KEY"
GRACE = 30  # seconds that running answers get after SIGTERM


def serve(
    target: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    key_variable: str | None = None,
    open_to_all: bool = False,
    engine: str = "auto",
    name: str | None = None,
    max_context: int | None = None,
    max_concurrency: int = 16,
    queue: int = 64,
    max_body: int = 1 << 20,
    timeout: float = 600.0,
    grace: int = GRACE,
    say: Callable[[str], None] = print,
) -> None:
    """Serve until SIGTERM or Ctrl-C; running answers then get `grace` seconds to end.

    Args:
        target: a workspace, WORKSPACE:stage, a model's folder or name, or a GGUF file.
        host: 127.0.0.1 is this machine alone; any other needs a key, or `open_to_all`.
        key_variable: the environment variable that holds the API key; None is $AQUILAMED_API_KEY, if set.
        name: the model's name in the protocol; None is the target's last part.
        say: told what is chosen and why, and the address.

    Raises `Invalid` for a target that is no model, a missing key, a port that is taken.
    """
    from aquilamed.serve.app import Front, Limits

    key = api_key(key_variable)
    local = is_loopback(host)
    if not local and key is None and not open_to_all:
        raise Invalid(
            f"--host {host} lets others in: set ${key_variable or KEY_VARIABLE} to an API key, or add --open-to-all"
        )
    called = name or short_name(target)
    with (
        closing(listen(host, port)) as listener,
        answerer(target, engine, max_concurrency, max_context, say) as model,
    ):
        warm_up(model)
        limits = Limits(max_concurrency, queue, max_body, timeout)
        front = Front(model, called, limits, key, only_loopback=local and key is None)
        address, opened = listener.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        guard = "with its API key" if key else "without a key"
        listener.listen()  # who reads the address may connect at once
        say(f"Serving {called!r} at http://{shown}:{opened}/v1 {guard}. Not a medical device.")
        run(front, listener, grace)
        if not model.alive:
            raise StageFailed("the model has failed (above is why): start the server again")
    say("Stopped.")


def run(front: "Front", listener: socket.socket, grace: int) -> None:
    """Serve until a signal, or until the model has failed: who started the server can then start it again."""
    import uvicorn

    class Server(uvicorn.Server):
        async def on_tick(self, counter: int) -> bool:
            return await super().on_tick(counter) or not front.answerer.alive

    config = uvicorn.Config(
        front.app(),
        http=protocol(),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=grace,
        limit_concurrency=4 * (front.limits.max_concurrency + front.limits.queue) + 64,
        server_header=False,
    )
    with suppress(KeyboardInterrupt):  # uvicorn raises the signal again once it has stopped
        Server(config).run(sockets=[listener])


def api_key(variable: str | None) -> str | None:
    """The API key from the environment. Raises `Invalid` when a variable was named that is not set."""
    key = os.environ.get(variable or KEY_VARIABLE, "").strip()
    if variable and not key:
        raise Invalid(f"--api-key-env {variable}: the environment has no such variable, or it is empty")
    return key or None


def warm_up(model: Answerer) -> None:
    """One token, so that a model that cannot answer fails before it is offered."""
    list(model.stream([{"role": "user", "content": "?"}], Sampling(max_tokens=1)))
