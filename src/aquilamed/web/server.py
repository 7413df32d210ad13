"""Listening, and serving until told to stop."""

import socket as sockets
import sys
import threading
import webbrowser

import uvicorn

from aquilamed.web.access import Settings
from aquilamed.workspace import Workspace

_GRACE = 5  # seconds that open requests get when the server stops


def run(workspace: Workspace, settings: Settings, socket: sockets.socket, browser: bool) -> None:
    """Serve on a bound socket until SIGINT or SIGTERM."""
    from aquilamed.web.app import build_app

    address = f"http://{settings.host if ':' not in settings.host else f'[{settings.host}]'}:{socket.getsockname()[1]}/"
    config = uvicorn.Config(
        build_app(workspace, settings),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
    sys.stderr.write(f"{workspace.root}: {address} (Ctrl-C stops)\n")
    if browser:
        threading.Timer(0.5, webbrowser.open, [address]).start()
    uvicorn.Server(config).run(sockets=[socket])
