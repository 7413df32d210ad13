"""The web app of a workspace, served by a real server on a free port of this process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from aquilamed.listening import listen
from aquilamed.web.access import Settings
from aquilamed.web.app import build_app
from aquilamed.workspace import Workspace


@contextmanager
def served(workspace: Workspace, settings: Settings | None = None) -> Iterator[str]:
    """The app's address, "http://127.0.0.1:PORT", until the block ends."""
    settings = settings or Settings()
    with listen("127.0.0.1", 0) as socket:
        app = build_app(workspace, settings)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{socket.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


def set_longest(page: Any, tokens: int) -> None:
    """Set the longest answer. Its field is only the page's own a frame after it is there: what is typed before is gone."""
    page.locator("#settings button").first.click()
    field = page.locator("#longest input[type=number]")
    field.wait_for()
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    field.fill(str(tokens))
    field.press("Tab")
