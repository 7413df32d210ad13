"""An inference server of others (vLLM, llama.cpp) as a child process on loopback, behind a key that only we know."""

import os
import secrets
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Sequence
from typing import Self

from aquilamed.config import StageFailed

PATIENCE = 1800  # seconds until a large model is loaded
LAST_WORDS = 15  # lines of its output that are shown when it fails


class Child:
    """A running server. What it prints is kept to the last lines only: it may hold what users say."""

    def __init__(self, command: Callable[[int], Sequence[str]], key_variable: str, ready: str = "/health") -> None:
        """Start it and wait until it answers.

        Args:
            command: the command line, given the port.
            key_variable: the environment variable by which it takes its API key.
            ready: the path that answers once the model is loaded.

        Raises `StageFailed` with its last words when it ends, or does not answer in time.
        """
        self.key = secrets.token_urlsafe(24)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self.command = list(command(port))
        quiet = {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", key_variable: self.key}
        self.process = subprocess.Popen(  # noqa: S603 - our own command line
            self.command,
            env=os.environ | quiet,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches us alone: running answers end before it does
        )
        self.said: deque[str] = deque(maxlen=LAST_WORDS)
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        try:
            self._wait(ready)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def close(self) -> None:
        """Stop it. Idempotent."""
        if self.alive:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(5)

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip())

    def _wait(self, ready: str) -> None:
        request = urllib.request.Request(self.address + ready, headers={"Authorization": f"Bearer {self.key}"})  # noqa: S310
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if not self.alive:
                self._reader.join(5)
                words = "\n".join(self.said)
                raise StageFailed(f"{self.command[0]} ended with code {self.process.returncode}; it said:\n{words}")
            try:
                with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310 - our own address
                    if response.status == 200:
                        return
            except OSError:  # not listening yet, or 503 while it loads
                time.sleep(0.2)
        raise StageFailed(f"{self.command[0]} did not answer within {PATIENCE} seconds")
