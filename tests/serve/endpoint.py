"""A real server on loopback in this process: uvicorn in a thread, before a tiny model."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aquilamed.listening import listen
from aquilamed.serve.answerer import Answerer
from aquilamed.serve.app import Front, Limits


@contextmanager
def serving(
    answerer: Answerer, key: str | None = None, name: str = "tiny", **limits: Any
) -> Iterator[tuple[str, Front]]:
    """Yields the address and the front."""
    import uvicorn

    front = Front(answerer, name, Limits(**limits), key, only_loopback=key is None)
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(front.app(), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", front
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


def idle(front: Front, seconds: float = 20) -> bool:
    """Whether no answer is under way any more, within so many seconds."""
    deadline = time.monotonic() + seconds
    while front.metrics.open and time.monotonic() < deadline:
        time.sleep(0.01)
    return not front.metrics.open


def post(address: str, body: Any, path: str = "/v1/chat/completions", **headers: str) -> tuple[int, Any, Any]:
    """Status, JSON and headers of the answer to a request."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response), response.headers
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), error.headers
