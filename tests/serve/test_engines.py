"""Engines of others: which is chosen and why, a child process's life, and a model behind another server."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from endpoint import idle, serving

from aquilamed.config import Invalid, StageFailed
from aquilamed.serve import choice
from aquilamed.serve.child import Child
from aquilamed.serve.choice import choose
from aquilamed.serve.engine import Engine
from aquilamed.serve.engines import answerer
from aquilamed.serve.remote import Remote
from aquilamed.serve.sampling import Sampling

KEY = "sk-child"


def asked(number: int) -> list[Any]:
    return [{"role": "user", "content": f"Question {number}: fever 发热 " * (1 + number % 3)}]


def answer(model: Any, number: int, **settings: Any) -> str:
    return "".join(model.stream(asked(number), Sampling(**{"max_tokens": 10, **settings})))


@pytest.mark.parametrize("as_text", [False, True])
def test_a_model_behind_another_server_answers_the_same(engine: Engine, as_text: bool) -> None:
    hot: dict[str, Any] = {"temperature": 1.2, "top_p": 0.9, "seed": 5}
    with (
        serving(engine, key=KEY) as (address, front),
        Remote(engine.tokenizer, engine.context, address, KEY, name="tiny", as_text=as_text) as remote,
    ):
        with ThreadPoolExecutor(6) as users:
            assert list(users.map(lambda n: answer(remote, n), range(6))) == [answer(engine, n) for n in range(6)]
        assert answer(remote, 1, **hot) == answer(engine, 1, **hot)
        with closing(remote.stream(asked(1), Sampling(max_tokens=400))) as stream:
            next(stream)
        assert idle(front), "the other server goes on with an answer that nobody reads"
        with pytest.raises(Invalid, match="context holds"):
            remote.submit([1] * 600, Sampling(), print)
    with pytest.raises(StageFailed, match="ended"):
        answer(remote, 1)


def test_the_whole_protocol_before_another_server(engine: Engine) -> None:
    import openai

    with (
        serving(engine, key=KEY) as (behind, _),
        Remote(engine.tokenizer, engine.context, behind, KEY, name="tiny") as remote,
        serving(remote, name="shown") as (address, front),
    ):
        client = openai.OpenAI(base_url=address + "/v1", api_key="unused", max_retries=0)
        whole = answer(engine, 2)
        stop = whole[len(whole) // 2 :][:2]
        got = client.chat.completions.create(
            model="shown", messages=asked(2), max_tokens=10, temperature=0, stop=stop, logprobs=True, top_logprobs=1
        )
        assert got.model == "shown"
        assert got.choices[0].message.content == whole[: whole.index(stop)]
        assert got.choices[0].finish_reason == "stop"
        assert got.choices[0].logprobs is not None
        counted = client.chat.completions.create(model="shown", messages=asked(2), max_tokens=7, temperature=0)
        assert counted.usage is not None
        assert counted.usage.completion_tokens == 7
        assert counted.choices[0].finish_reason == "length"
        assert idle(front)


def test_a_server_that_is_gone_is_an_error_and_no_answer(engine: Engine) -> None:
    with serving(engine, key=KEY) as (address, _):
        pass
    remote = Remote(engine.tokenizer, engine.context, address, KEY, name="tiny")
    with closing(remote), pytest.raises(StageFailed, match="APIConnectionError"):
        answer(remote, 1)


def test_a_child_is_started_waited_for_and_stopped() -> None:
    script = (
        "import http.server, os, sys\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        right = self.headers['Authorization'] == 'Bearer ' + os.environ['CHILD_KEY']\n"
        "        self.send_response(200 if right else 401); self.end_headers()\n"
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), H).serve_forever()\n"
    )
    with Child(lambda port: [sys.executable, "-c", script, str(port)], "CHILD_KEY") as child:
        assert child.alive
        assert child.key not in " ".join(child.command), "others see a command line"
    assert not child.alive
    child.close()


def test_a_child_that_fails_says_why_at_once() -> None:
    started = time.monotonic()
    with pytest.raises(StageFailed, match=r"ended with code 3; it said:\nCUDA out of memory"):
        Child(lambda port: [sys.executable, "-c", "print('CUDA out of memory'); raise SystemExit(3)"], "CHILD_KEY")
    assert time.monotonic() - started < 20


def test_the_engine_is_chosen_by_what_is_there(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    assert choose(folder) == choice.Choice(
        "transformers", "no vLLM (no GPU), no llama.cpp (neither llama-server nor llama_cpp.server is installed)"
    )
    (tmp_path / "llama-server").write_text("#!/bin/sh\n")
    (tmp_path / "llama-server").chmod(0o755)
    assert choose(folder).reason.endswith("no llama.cpp (no .gguf file beside the model)")
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF")
    assert choose(gguf).kind == choose(tmp_path).kind == "llama.cpp"
    assert choose(gguf).gguf == gguf
    with pytest.raises(Invalid, match="--engine vllm: no GPU"):
        choose(folder, "vllm")
    with pytest.raises(Invalid, match="not a model's folder"):
        choose(gguf, "transformers")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(Invalid, match=r"pip install 'aquilamed\[gpu\]'"):
        choose(folder, "vllm")
    monkeypatch.setattr(choice, "find_spec", lambda name: object() if name == "vllm" else None)
    assert choose(folder).kind == "vllm"


def test_what_a_gguf_needs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF")
    with pytest.raises(Invalid, match="neither llama-server nor"):
        answerer(str(gguf), "auto", 1, None, print)
