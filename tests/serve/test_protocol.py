"""The official client against a real server: streams, choices, log-probabilities, completions, refusals."""

import json
from itertools import pairwise
from typing import Any

import openai
import pytest
from endpoint import post

from aquilamed.serve.app import Front
from aquilamed.serve.engine import Engine
from aquilamed.serve.sampling import Sampling

ASK: Any = [{"role": "user", "content": "What is a fever? 发热"}]


@pytest.fixture(scope="module")
def client(served: tuple[str, Front]) -> openai.OpenAI:
    return openai.OpenAI(base_url=served[0] + "/v1", api_key="unused", max_retries=0)


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


def test_an_existing_chat_front_end_works_unchanged(served: tuple[str, Front], engine: Engine) -> None:
    gradio = pytest.importorskip("gradio")
    front_end = gradio.load_chat(served[0] + "/v1/", model="tiny", token="unused", file_types=None)
    history = [{"role": role, "content": [{"type": "text", "text": "Hello."}]} for role in ("user", "assistant")]
    shown = list(front_end.fn("What is a fever?", history))
    assert shown
    assert all(later.startswith(earlier) for earlier, later in pairwise(shown))
