"""What a server does not do: more than it can, for whom it should not, or without end. Nothing breaks it."""

import json
import socket
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from endpoint import idle, post, serving

from aquilamed.serve.app import Front
from aquilamed.serve.engine import Engine
from aquilamed.serve.sampling import Sampling

ASK: Any = [{"role": "user", "content": "What is a fever? 发热"}]


def test_limits(served: tuple[str, Front], engine: Engine) -> None:
    status, got, _ = post(served[0], {"messages": [{"role": "user", "content": "发热 " * 600}]})
    assert (status, got["error"]["code"]) == (400, "context_length_exceeded")
    assert "512" in got["error"]["message"]
    assert post(served[0], {"messages": ASK, "pad": "x" * 30_000})[0] == 413
    assert post(served[0], {"messages": ASK}, **{"Content-Type": "text/plain"})[0] == 415
    assert post(served[0], {"prompt": [0, 10**6]}, "/v1/completions")[0] == 400
    assert post(served[0], {"prompt": [[]]}, "/v1/completions")[0] == 400
    assert post(served[0], {}, "/v1/embeddings")[0] == 404
    with urllib.request.urlopen(served[0] + "/health") as response:
        assert json.load(response) == {"status": "ok"}
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(served[0] + "/v1/chat/completions")


def test_twelve_places_then_429_and_none_is_mixed_up(engine: Engine, served: tuple[str, Front]) -> None:
    address, front = served

    def asked(number: int) -> tuple[int, Any, Any]:
        messages = [{"role": "user", "content": f"Question {number}" + " fever" * number}]
        return post(address, {"messages": messages, "max_tokens": 60, "temperature": 0})

    assert idle(front)
    with ThreadPoolExecutor(24) as users:
        got = list(users.map(asked, range(24)))
    busy = [headers for status, _, headers in got if status == 429]
    answered = [(n, body) for n, (status, body, _) in enumerate(got) if status == 200]
    assert len(busy) + len(answered) == 24
    assert busy, "twelve places were taken by 24 users"
    assert len(answered) >= 12
    assert all(1 <= int(h["Retry-After"]) <= 60 for h in busy)
    for number, body in answered:
        messages: Any = [{"role": "user", "content": f"Question {number}" + " fever" * number}]
        alone = "".join(engine.stream(messages, Sampling(max_tokens=60)))
        assert body["choices"][0]["message"]["content"] == alone
    assert idle(front)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_stops_its_answer(served: tuple[str, Front], engine: Engine, stream: bool) -> None:
    address, front = served
    assert idle(front)
    body = json.dumps({"messages": ASK, "max_tokens": 450, "temperature": 0, "stream": stream}).encode()
    slow = engine.model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.05)
        return slow(*args, **kwargs)

    engine.model.forward = forward
    try:
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as connection:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            while not front.metrics.open:
                time.sleep(0.01)
        assert idle(front, 5), "450 tokens would take 22 seconds"
        assert not engine._answers
    finally:
        engine.model.forward = slow


def test_metrics_hold_numbers_and_no_text(served: tuple[str, Front]) -> None:
    post(served[0], {"messages": [{"role": "user", "content": "secretword"}], "max_tokens": 2, "model": "tiny"})
    post(served[0], {"messages": ASK, "model": "secretmodel"})
    with urllib.request.urlopen(served[0] + "/metrics") as response:
        text = response.read().decode()
    assert 'aquilamed_requests_total{path="/v1/chat/completions",status="200"}' in text
    assert "aquilamed_answer_tokens_total" in text
    assert "aquilamed_first_token_seconds_bucket" in text
    assert "aquilamed_answers_running 0.0" in text
    assert "secret" not in text


def test_a_key_is_asked_of_all_but_health(engine: Engine) -> None:
    with serving(engine, key="sk-right") as (address, _):
        right = openai.OpenAI(base_url=address + "/v1", api_key="sk-right", max_retries=0)
        assert right.chat.completions.create(model="tiny", messages=ASK, max_tokens=2).choices
        for wrong in ("sk-wrong", "sk-right2", "sk-righ", "ключ"):
            status, got, headers = post(
                address, {"messages": ASK}, Authorization="Bearer " + wrong.encode().decode("latin1")
            )
            assert (status, got["error"]["code"]) == (401, "invalid_api_key")
            assert headers["WWW-Authenticate"] == "Bearer"
        for path in ("/metrics", "/v1/models"):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(address + path)
        with urllib.request.urlopen(address + "/health") as response:
            assert response.status == 200


def test_without_a_key_only_this_machines_names_are_answered(served: tuple[str, Front]) -> None:
    for name, status in (
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
        ("localhost:80", 200),
        ("[::1]", 200),
    ):
        assert post(served[0], {"messages": ASK, "max_tokens": 1}, Host=name)[0] == status, name


def test_an_answer_that_takes_too_long_is_ended(engine: Engine) -> None:
    with serving(engine, timeout=0.001) as (address, front):
        status, got, _ = post(address, {"messages": ASK, "max_tokens": 400})
        assert (status, got["error"]["code"]) == (504, "timeout")
        client = openai.OpenAI(base_url=address + "/v1", api_key="unused", max_retries=0)
        with pytest.raises(openai.APIError, match="within"):
            list(client.chat.completions.create(model="tiny", messages=ASK, max_tokens=400, stream=True))
        assert idle(front)


def test_no_request_breaks_the_server(served: tuple[str, Front]) -> None:
    address, front = served
    values: list[Any] = [
        None,
        True,
        -1,
        0,
        1e400,
        2**70,
        "",
        "x" * 50,
        [],
        [[]],
        {},
        {"a": 1},
        "\u202e\x00",
        [None],
        [1, "a"],
    ]
    fields = ["messages", "prompt", "n", "max_tokens", "temperature", "top_p", "seed", "stop", "logprobs"]
    fields += ["top_logprobs", "stream_options", "model", "presence_penalty", "tools", "best_of"]
    for path, whole in (("/v1/chat/completions", {"messages": ASK}), ("/v1/completions", {"prompt": "fever"})):
        for field in fields:
            for value in values:
                status, got, _ = post(address, {**whole, "max_tokens": 1, field: value}, path)
                assert status in (200, 400, 404), (field, value)
                assert ("error" in got) == (status != 200)
    assert idle(front)
