"""Serving until told to stop."""

import inspect
import socket as sockets
import sys
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import uvicorn

from aquilamed.slow_clients import protocol
from aquilamed.web.access import Settings
from aquilamed.workspace import Workspace

_GRACE = 5  # seconds that open requests get when the server stops


def run(workspace: Workspace, settings: Settings, socket: sockets.socket, browser: bool) -> None:
    """Serve on a bound socket until SIGINT or SIGTERM."""
    with without_stubs():
        from aquilamed.web.app import build_app

    address = f"http://{settings.host if ':' not in settings.host else f'[{settings.host}]'}:{socket.getsockname()[1]}/"
    config = uvicorn.Config(
        build_app(workspace, settings),
        http=protocol(),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
    socket.listen()  # who reads the address may connect at once
    sys.stderr.write(f"{workspace.root}: {address} (Ctrl-C stops)\n")
    if browser:
        threading.Timer(0.5, webbrowser.open, [address]).start()
    uvicorn.Server(config).run(sockets=[socket])


@contextmanager
def without_stubs() -> Iterator[None]:
    """Import Gradio without its rewriting of type stubs, for which it parses every component's source: half of the time that
    its import takes (1.3 of 2.7 CPU-seconds), and a write into site-packages. It leaves out a class that it finds no file of."""
    getfile = inspect.getfile

    def found(thing: Any) -> str:
        if sys._getframe(1).f_code.co_name == "create_or_modify_pyi":
            raise OSError("no stubs")
        return getfile(thing)

    with patch.object(inspect, "getfile", found):
        yield
