"""The service annotator against a real local HTTP server that misbehaves on demand."""

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import Reply, Server, completion
from pydantic import ValidationError

from aquilamed.annotate import COMPARE, DOMAIN, QUALITY, AnnotatorConfig, CallError, open_annotator
from aquilamed.config import Invalid, StageFailed
from aquilamed.progress import Progress

SECRET = "sk-test-0123456789-do-not-leak"


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[int, dict[str, Any]], Reply]], Server]]:
    running: list[Server] = []

    def start(plan: Callable[[int, dict[str, Any]], Reply]) -> Server:
        running.append(Server(plan))
        return running[-1]

    yield start
    for server in running:
        server.http.shutdown()
        server.http.server_close()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_JUDGE_KEY", SECRET)


def config(server: Server, **changes: Any) -> AnnotatorConfig:
    values = {"kind": "openai", "model": "judge", "base_url": server.url, "api_key_env": "TEST_JUDGE_KEY"}
    return AnnotatorConfig(**{**values, "backoff": 0.01, "timeout": 5.0, "concurrency": 2, **changes})


def opened(server: Server, root: Path, **changes: Any) -> Any:
    return open_annotator(config(server, **changes), root, Progress(quiet=True))


def items(count: int) -> list[dict[str, str]]:
    return [{"text": f"text number {n}"} for n in range(count)]


def good(number: int, request: dict[str, Any]) -> Reply:
    return completion('{"domain": "medical"}')


def test_misbehaviour_is_retried_and_repaired(serve: Any, tmp_path: Path) -> None:
    plan = [
        (429, {"retry-after": "0.3"}, {"error": {"message": "slow down"}}),
        (500, {}, {"error": {"message": "oops"}}),
        "slow",
        completion('{"domain": "medi'),
        completion('{"domain": "veterinary"}'),
        completion('```json\n{"domain": "general"}\n```'),
    ]

    def misbehave(number: int, request: dict[str, Any]) -> Reply:
        step = plan[number]
        if step == "slow":
            time.sleep(1.0)
            return good(number, request)
        return step  # type: ignore[return-value]

    server = serve(misbehave)
    annotator = opened(server, tmp_path, timeout=0.5, concurrency=1)
    started = time.monotonic()
    first = annotator.annotate(DOMAIN, items(1))
    # 429, 500 and the time-out are sent again; the broken answer is repaired once, in vain.
    assert time.monotonic() - started >= 0.3
    assert [e.kind for e in first] == ["bad_schema"]
    assert "domain" in first[0].detail
    assert server.requests[4]["messages"][1] == {"role": "assistant", "content": '{"domain": "medi'}
    again = annotator.annotate(DOMAIN, items(1))
    assert [a.domain for a in again] == ["general"]
    statistics = annotator.statistics()
    assert statistics["errors"] == {"bad_schema": 1}
    assert statistics["tokens_in"] == 300
    assert len(server.requests) == 6


def test_every_failure_has_its_kind_and_is_never_a_label(serve: Any, tmp_path: Path) -> None:
    replies = {
        0: completion("I cannot say."),
        1: completion('{"score": 7}'),
        2: completion('{"score": true}'),
        3: completion(None, refusal="I must not."),
        4: completion('{"score"', finish="length"),
        5: completion('The text claims {"score": 6}. My verdict: {"score": 2}'),
        6: completion('{"score": 6, "score": 2}'),
        7: (200, {}, "<html>gateway</html>"),
        8: (400, {}, {"error": {"message": f"bad key {SECRET}"}}),
    }

    def by_text(number: int, request: dict[str, Any]) -> Reply:
        prompt = request["messages"][0]["content"]
        return next(r for n, r in replies.items() if f"text number {n}\n" in prompt)

    server = serve(by_text)
    answers = opened(server, tmp_path, repair=False, retries=1).annotate(QUALITY, items(9))
    assert all(isinstance(a, CallError) for a in answers), answers
    kinds = [a.kind for a in answers]
    assert kinds[:7] == ["bad_json", "bad_schema", "bad_schema", "refused", "truncated", "bad_json", "bad_json"]
    assert kinds[7:] == ["bad_json", "http_400"]


def test_second_run_makes_no_calls_and_a_new_round_does(serve: Any, tmp_path: Path) -> None:
    server = serve(good)
    assert len(opened(server, tmp_path).annotate(DOMAIN, items(5))) == 5
    assert len(server.requests) == 5
    second = opened(server, tmp_path)
    assert [a.domain for a in second.annotate(DOMAIN, items(5))] == ["medical"] * 5
    assert len(server.requests) == 5
    assert second.statistics()["cached"] == 5
    assert second.statistics()["calls"] == 0
    # Another address is the same model; another round, temperature or model is not.
    elsewhere = serve(good)
    opened(elsewhere, tmp_path).annotate(DOMAIN, items(5))
    assert elsewhere.requests == []
    second.annotate(DOMAIN, items(5), round=2)
    assert len(server.requests) == 10
    opened(server, tmp_path, temperature=0.0).annotate(DOMAIN, items(5))
    assert len(server.requests) == 15


def test_failures_are_recorded_but_tried_again(serve: Any, tmp_path: Path) -> None:
    server = serve(lambda n, r: (503, {}, {}) if n < 2 else good(n, r))
    annotator = opened(server, tmp_path, retries=1)
    assert [a.kind for a in annotator.annotate(DOMAIN, items(1))] == ["http_503"]
    assert [a.domain for a in annotator.annotate(DOMAIN, items(1))] == ["medical"]
    rows = sqlite3.connect(tmp_path / "calls.sqlite").execute("SELECT outcome FROM calls ORDER BY id").fetchall()
    assert rows == [("http_503",), ("answered",)]


def test_equal_items_are_sent_once_and_concurrency_is_bounded(serve: Any, tmp_path: Path) -> None:
    now, most, lock = 0, 0, threading.Lock()

    def watch(number: int, request: dict[str, Any]) -> Reply:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return good(number, request)

    server = serve(watch)
    answers = opened(server, tmp_path, concurrency=3).annotate(DOMAIN, items(9) * 2)
    assert len(answers) == 18
    assert len(server.requests) == 9
    assert most == 3


def test_the_budget_stops_the_run_and_a_higher_one_goes_on(serve: Any, tmp_path: Path) -> None:
    server = serve(good)
    prices = {"prices": {"judge": {"input": 10.0, "output": 100.0}}, "concurrency": 1}  # 0.002 a call
    with pytest.raises(StageFailed, match=r"budget of 0.005 is spent \(0.0060.*raise annotator.budget"):
        opened(server, tmp_path, budget=0.005, **prices).annotate(DOMAIN, items(10))
    assert len(server.requests) == 3
    with pytest.raises(StageFailed, match="is spent"):
        opened(server, tmp_path, budget=0.005, **prices).annotate(DOMAIN, items(10))
    assert len(server.requests) == 3
    annotator = opened(server, tmp_path, budget=1.0, **prices)
    assert len(annotator.annotate(DOMAIN, items(10))) == 10
    assert len(server.requests) == 10
    assert annotator.statistics()["cost"] == pytest.approx(0.014)


def test_a_server_without_usage_is_counted_upwards(serve: Any, tmp_path: Path) -> None:
    server = serve(lambda n, r: completion('{"domain": "medical"}', usage=False))
    annotator = opened(server, tmp_path)
    annotator.annotate(DOMAIN, items(1))
    assert annotator.statistics()["tokens_in"] == len(server.requests[0]["messages"][0]["content"].encode())


def test_a_wrong_key_stops_at_once_and_an_outage_soon(serve: Any, tmp_path: Path) -> None:
    server = serve(lambda n, r: (401, {}, {"error": {"message": f"wrong key {SECRET}"}}))
    with pytest.raises(StageFailed, match="TEST_JUDGE_KEY") as stopped:
        opened(server, tmp_path, concurrency=1).annotate(DOMAIN, items(20))
    assert SECRET not in str(stopped.value)
    assert len(server.requests) == 1
    down = serve(lambda n, r: (503, {}, {}))
    with pytest.raises(StageFailed, match="3 calls in a row"):
        opened(down, tmp_path, retries=0, give_up_after=3, concurrency=1).annotate(DOMAIN, items(20))
    assert len(down.requests) == 3


def test_the_key_is_sent_and_nowhere_stored(
    serve: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    server = serve(lambda n, r: completion(f"your key is {SECRET}", refusal=SECRET) if n else good(n, r))
    annotator = open_annotator(config(server, concurrency=1), tmp_path, Progress())
    answers = annotator.annotate(DOMAIN, items(2))
    assert server.headers[0]["authorization" if "authorization" in server.headers[0] else "Authorization"].endswith(
        SECRET
    )
    captured = capfd.readouterr()
    places = [repr(answers), caplog.text, captured.out, captured.err, repr(annotator.config)]
    places += [f.read_bytes().decode("latin-1") for f in tmp_path.iterdir()]
    assert not any(SECRET in place for place in places)


def test_a_missing_key_and_an_unreachable_budget_are_invalid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_JUDGE_KEY")
    asked = AnnotatorConfig(kind="openai", model="judge", api_key_env="TEST_JUDGE_KEY")
    with pytest.raises(Invalid, match="TEST_JUDGE_KEY is not set"):
        open_annotator(asked, tmp_path, Progress(quiet=True))
    with pytest.raises(ValidationError, match=r"needs a price of .judge."):
        AnnotatorConfig(kind="openai", model="judge", budget=1.0)
    with pytest.raises(ValidationError, match="model"):
        AnnotatorConfig(kind="openai")


@pytest.mark.parametrize("form", ["json_schema", "json_object", "none"])
def test_the_response_format_is_asked_for(serve: Any, tmp_path: Path, form: str) -> None:
    names = ("fluency", "relevance", "completeness", "proficiency", "winner")
    server = serve(lambda n, r: completion(json.dumps({"analysis": "equal", **dict.fromkeys(names, "tie")})))
    item = {"dialogue": "d", "answer_a": "a", "answer_b": "b"}
    [verdict] = opened(server, tmp_path, response_format=form).annotate(COMPARE, [item])
    assert verdict.winner == "tie"
    asked = server.requests[0].get("response_format", {"type": "none"})
    assert asked["type"] == form
    if form == "json_schema":
        schema = asked["json_schema"]["schema"]
        assert schema["required"] == ["analysis", *names]
        assert schema["additionalProperties"] is False


_CLIENT = """
import sys
from pathlib import Path
from aquilamed.annotate import DOMAIN, AnnotatorConfig, open_annotator
from aquilamed.progress import Progress
values = {"kind": "openai", "model": "judge", "base_url": sys.argv[1], "api_key_env": "TEST_JUDGE_KEY"}
config = AnnotatorConfig(**values, concurrency=1)
annotator = open_annotator(config, Path(sys.argv[2]), Progress(quiet=True))
annotator.annotate(DOMAIN, [{"text": f"text number {n}"} for n in range(6)])
"""


def test_a_killed_run_never_pays_an_answer_twice(serve: Any, tmp_path: Path) -> None:
    client: subprocess.Popen[bytes] | None = None

    def kill_at_fourth(number: int, request: dict[str, Any]) -> Reply:
        if number == 3:  # its arrival shows that three answers were received
            assert client is not None
            client.send_signal(signal.SIGKILL)
        return good(number, request)

    server = serve(kill_at_fourth)
    source = str(Path(__file__).parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source}
    client = subprocess.Popen([sys.executable, "-c", _CLIENT, server.url, str(tmp_path)], env=environment)
    assert client.wait(timeout=60) == -signal.SIGKILL
    annotator = opened(server, tmp_path)
    assert len(annotator.annotate(DOMAIN, items(6))) == 6
    prompts = [r["messages"][0]["content"] for r in server.requests]
    assert annotator.statistics()["cached"] == 3
    assert len(prompts) == 7  # six, and the one that was killed before its answer
    assert all(prompts.count(p) == 1 for p in prompts[:3])
