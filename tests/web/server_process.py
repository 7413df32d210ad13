"""`aquilamed web` as a process of its own, which a test may kill."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def server(workspace: Path, port: int, tokens: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """The server, once it answers; killed at the end."""
    line = [sys.executable, "-m", "aquilamed.cli", "web", str(workspace), "--port", str(port), "--no-browser"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "AQUILAMED_WEB_TOKENS": tokens}
    process = subprocess.Popen(line, stderr=subprocess.DEVNULL, env=env)
    try:
        deadline = time.monotonic() + 120
        while not _answers(port):
            assert process.poll() is None, f"the server ended with {process.returncode}"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
