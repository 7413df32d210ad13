"""`aquilamed serve MODEL`: an OpenAI-compatible endpoint for one model."""

import os
import socket
from collections.abc import Callable
from contextlib import closing, suppress

from aquilamed.config import Invalid
from aquilamed.serve.answerer import Answerer
from aquilamed.serve.engines import answerer
from aquilamed.serve.sampling import Sampling
from aquilamed.serve.target import short_name

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
    import uvicorn

    from aquilamed.serve.app import LOOPBACK, Front, Limits

    key = api_key(key_variable)
    local = host in LOOPBACK
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
        front = Front(model, called, Limits(max_concurrency, queue, max_body, timeout), key)
        address, opened = listener.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        guard = "with its API key" if key else "without a key"
        say(f"Serving {called!r} at http://{shown}:{opened}/v1 {guard}. Not a medical device.")
        config = uvicorn.Config(
            front.app(only_loopback=local and key is None),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=grace,
            limit_concurrency=4 * (max_concurrency + queue) + 64,
            server_header=False,
        )
        with suppress(KeyboardInterrupt):  # uvicorn raises the signal again once it has stopped
            uvicorn.Server(config).run(sockets=[listener])
    say("Stopped.")


def api_key(variable: str | None) -> str | None:
    """The API key from the environment. Raises `Invalid` when a variable was named that is not set."""
    key = os.environ.get(variable or KEY_VARIABLE, "").strip()
    if variable and not key:
        raise Invalid(f"--api-key-env {variable}: the environment has no such variable, or it is empty")
    return key or None


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; taken before the model is loaded, so that a taken port is told at once."""
    try:
        family, kind, proto, _, at = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(at)
    except OSError as error:
        raise Invalid(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return listener


def warm_up(model: Answerer) -> None:
    """One token, so that a model that cannot answer fails before it is offered."""
    list(model.stream([{"role": "user", "content": "?"}], Sampling(max_tokens=1)))
