"""The endpoint with the official client and raw requests: streams, choices, log-probabilities, refusals, limits."""

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from serving import idle, serving

import tiny_model as tiny
from aquilamed.models import ModelConfig
from aquilamed.serve.app import Front
from aquilamed.serve.engine import Engine
from aquilamed.serve.sampling import Sampling

ASK: Any = [{"role": "user", "content": "What is a fever? 发热"}]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tiny.build(tmp_path_factory.mktemp("model") / "tiny", tied=False)
    with Engine(ModelConfig(path=str(folder)), max_concurrency=4) as engine:
        yield engine


@pytest.fixture(scope="module")
def served(engine: Engine) -> Iterator[tuple[str, Front]]:
    with serving(engine, max_concurrency=4, queue=8, max_body=20_000) as found:
        yield found


@pytest.fixture(scope="module")
def client(served: tuple[str, Front]) -> openai.OpenAI:
    return openai.OpenAI(base_url=served[0] + "/v1", api_key="unused", max_retries=0)


def post(address: str, body: Any, path: str = "/v1/chat/completions", **headers: str) -> tuple[int, Any, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response), response.headers
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), error.headers


def direct(engine: Engine, **settings: Any) -> str:
    return "".join(engine.stream(ASK, Sampling(**settings)))


def test_an_answer_is_the_engines(client: openai.OpenAI, engine: Engine) -> None:
    got = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=9, temperature=0)
    assert got.choices[0].message.content == direct(engine, max_tokens=9)
    assert got.choices[0].message.role == "assistant"
    assert got.choices[0].finish_reason == "length"
    assert got.usage is not None
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (len(engine.prompt(ASK)), 9)
    newer = client.chat.completions.create(model="tiny", messages=ASK, max_completion_tokens=3, temperature=0)
    assert newer.usage is not None
    assert newer.usage.completion_tokens == 3


def test_a_stream_is_the_same_answer(client: openai.OpenAI, engine: Engine) -> None:
    chunks = list(
        client.chat.completions.create(
            model="tiny",
            messages=ASK,
            max_tokens=9,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == direct(engine, max_tokens=9)
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 9
    assert len({c.id for c in chunks}) == 1


def test_seed_temperature_top_p_and_choices(client: openai.OpenAI, engine: Engine) -> None:
    def drawn(seed: int, n: int) -> list[str | None]:
        got = client.chat.completions.create(
            model="tiny", messages=ASK, max_tokens=12, temperature=1.3, top_p=0.9, seed=seed, n=n
        )
        assert [c.index for c in got.choices] == list(range(n))
        return [c.message.content for c in got.choices]

    three = drawn(7, 3)
    assert three == drawn(7, 3)
    assert len(set(three)) == 3
    assert three[0] == direct(engine, max_tokens=12, temperature=1.3, top_p=0.9, seed=7)
    chunks = client.chat.completions.create(
        model="tiny", messages=ASK, max_tokens=12, temperature=1.3, top_p=0.9, seed=7, n=3, stream=True
    )
    texts = ["", "", ""]
    for chunk in chunks:
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == three


def test_stop_texts(client: openai.OpenAI, engine: Engine) -> None:
    whole = direct(engine, max_tokens=12)
    stop = whole[len(whole) // 2 :][:2]
    got = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=12, temperature=0, stop=[stop, "zzz"])
    assert got.choices[0].message.content == whole[: whole.index(stop)]
    assert got.choices[0].finish_reason == "stop"


def test_logprobs(client: openai.OpenAI) -> None:
    got = client.chat.completions.create(
        model="tiny", messages=ASK, max_tokens=4, temperature=0, logprobs=True, top_logprobs=2
    )
    assert got.choices[0].logprobs is not None
    words = got.choices[0].logprobs.content
    assert words is not None
    assert len(words) == 4
    assert all(w.logprob <= 0 and w.top_logprobs[0].token == w.token and len(w.top_logprobs) == 2 for w in words)
    text = client.completions.create(model="tiny", prompt="fever", max_tokens=3, temperature=0, logprobs=1)
    assert text.choices[0].logprobs is not None
    assert len(text.choices[0].logprobs.tokens or []) == 3


def test_completions_take_texts_and_token_ids(client: openai.OpenAI, engine: Engine) -> None:
    by_text = client.completions.create(model="tiny", prompt=["A fever is", "心脏"], max_tokens=6, temperature=0)
    ids = [engine.text_ids("A fever is"), engine.text_ids("心脏")]
    by_ids = client.completions.create(model="tiny", prompt=ids, max_tokens=6, temperature=0)
    assert [c.text for c in by_text.choices] == [c.text for c in by_ids.choices]
    one = client.completions.create(model="tiny", prompt=ids[1], max_tokens=6, temperature=0, stream=True)
    assert "".join(c.choices[0].text for c in one) == by_text.choices[1].text
    asked = client.completions.create(model="tiny", prompt=engine.prompt(ASK), max_tokens=6, temperature=0)
    assert asked.choices[0].text == direct(engine, max_tokens=6)
    assert client.completions.create(model="tiny", prompt="").choices[0].text is not None


def test_the_model_by_name(client: openai.OpenAI) -> None:
    assert [m.id for m in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "aquilamed"
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="gpt-9", messages=ASK)
    assert refused.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("../../etc/passwd")


def test_unknown_fields_are_ignored_and_parts_of_text_understood(served: tuple[str, Front]) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": ASK[0]["content"]}]}]
    body = {"messages": parts, "max_tokens": 5, "temperature": 0, "min_p": 0.1, "user": "u", "tools": [], "seed": None}
    status, got, _ = post(served[0], body)
    assert status == 200
    plain = post(served[0], {"messages": ASK, "max_tokens": 5, "temperature": 0})[1]
    assert got["choices"][0]["message"] == plain["choices"][0]["message"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 2.5}, "max_tokens"),
        ({"n": 1000}, "n"),
        ({"stop": [""]}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_what_is_wrong_is_named(served: tuple[str, Front], change: dict[str, Any], param: str) -> None:
    status, got, _ = post(served[0], {"messages": ASK, **change})
    assert status == 400
    assert got["error"]["type"] == "invalid_request_error"
    assert got["error"]["param"].startswith(param)
    assert set(got["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 9000,
        b'{"messages": NaN}',
        b'{"messages":[{"role":"user","content":"\\ud800"}]}',
        b"\xff",
    ],
)
def test_what_is_no_json_is_refused(served: tuple[str, Front], raw: bytes) -> None:
    status, got, _ = post(served[0], raw)
    assert status == 400
    assert "error" in got


def test_a_refusal_repeats_nothing_that_was_said(served: tuple[str, Front]) -> None:
    _, got, _ = post(served[0], {"messages": [{"role": "user", "content": {"secret": "HIV positive"}}]})
    assert "HIV" not in json.dumps(got)


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
    request = urllib.request.Request(served[0] + "/v1/models", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)


def test_an_answer_that_takes_too_long_is_ended(engine: Engine) -> None:
    with serving(engine, timeout=0.001) as (address, front):
        status, got, _ = post(address, {"messages": ASK, "max_tokens": 400})
        assert (status, got["error"]["code"]) == (504, "timeout")
        client = openai.OpenAI(base_url=address + "/v1", api_key="unused", max_retries=0)
        with pytest.raises(openai.APIError, match="within"):
            list(client.chat.completions.create(model="tiny", messages=ASK, max_tokens=400, stream=True))
        assert idle(front)
