"""`aquilamed serve` as a process of its own: what it says, what it refuses, and how it stops."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from endpoint import post

from aquilamed.config import Invalid
from aquilamed.listening import listen
from aquilamed.models import ModelConfig
from aquilamed.serve.app import Front, Limits
from aquilamed.serve.engine import Engine
from aquilamed.serve.server import run, serve


def command(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "aquilamed.cli", "serve", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[tuple["subprocess.Popen[str]", str, list[str]]]:
    """Yields the process, its address, and the lines that it printed so far."""
    process = command("--port", "0", *arguments, **environment)
    assert process.stdout is not None
    lines: list[str] = []
    address = None
    while address is None:
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        lines.append(line)
        address = re.search(r"http://\S+/v1", line)
    try:
        yield process, address[0], lines
    finally:
        process.kill()
        process.communicate()


def test_it_says_what_it_chose_and_a_running_answer_ends_before_it_stops(folder: Path) -> None:
    with running(str(folder), AQUILAMED_API_KEY="sk-secret") as (process, address, lines):
        assert re.match(r"Engine: \S+, .+\.\n", lines[0])
        assert "'tiny'" in lines[-1]
        assert "with its API key" in lines[-1]
        client = openai.OpenAI(base_url=address, api_key="sk-secret", max_retries=0)
        stream = client.completions.create(model="tiny", prompt="a fever", max_tokens=400, temperature=0, stream=True)
        chunks = [next(iter(stream))]
        stopped: list[float] = []

        def stop() -> None:
            process.send_signal(signal.SIGTERM)
            process.wait()
            stopped.append(time.monotonic())

        thread = threading.Thread(target=stop)
        thread.start()
        chunks += list(stream)
        assert chunks[-1].choices[0].finish_reason in ("length", "stop"), "the answer was cut off"
        thread.join(30)
        assert stopped
        assert process.returncode == 0
        assert process.stdout is not None
        assert process.stderr is not None
        told = "".join(lines) + process.stdout.read() + process.stderr.read()
        assert "sk-secret" not in told
        assert "Traceback" not in told


def test_what_is_refused_before_a_model_is_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = str(folder)
    monkeypatch.delenv("AQUILAMED_API_KEY", raising=False)
    monkeypatch.setattr("aquilamed.serve.engine.load_model", lambda config: pytest.fail("a model was loaded"))
    with pytest.raises(Invalid, match=r"set \$AQUILAMED_API_KEY"):
        serve(target, host="0.0.0.0")
    with pytest.raises(Invalid, match="--api-key-env NO_SUCH_KEY"):
        serve(target, key_variable="NO_SUCH_KEY")
    with pytest.raises(Invalid, match="--engine 'onnx'"):
        serve(target, port=0, engine="onnx")
    with pytest.raises(Invalid, match=r"--engine llama\.cpp: "):
        serve(target, port=0, engine="llama.cpp")
    with pytest.raises(Invalid, match="no such folder"):
        serve(str(folder / "nowhere"), port=0)
    with closing(listen("127.0.0.1", 0)) as taken:
        taken.listen()
        with pytest.raises(Invalid, match=r"cannot listen on 127\.0\.0\.1"):
            serve(target, port=taken.getsockname()[1])


def test_a_model_that_has_failed_ends_its_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Engine(ModelConfig(path=str(folder))) as engine, closing(listen("127.0.0.1", 0)) as listener:
        listener.listen()  # a request waits until the server is there
        front = Front(engine, "tiny", Limits(), None)
        thread = threading.Thread(target=run, args=(front, listener, 5), daemon=True)
        thread.start()

        def broken(*_: Any, **__: Any) -> None:
            raise RuntimeError("out of memory")

        monkeypatch.setattr(engine.model, "forward", broken)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        status, got, _ = post(address, {"messages": [{"role": "user", "content": "fever"}]})
        assert (status, got["error"]["code"]) == (500, "engine_failed")
        assert "memory" not in got["error"]["message"]
        thread.join(30)
        assert not thread.is_alive()
