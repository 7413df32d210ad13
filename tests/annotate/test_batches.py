"""The service annotator through the Batch API of a real local HTTP server: crashes, lost connections, partial results."""

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_server import CUT, BatchServer
from chat_server import Reply, completion
from pydantic import ValidationError

from aquilamed.annotate import DOMAIN, AnnotatorConfig, open_annotator
from aquilamed.config import StageFailed
from aquilamed.progress import Progress

SECRET = "sk-test-0123456789-do-not-leak"
PRICES = {"judge": {"input": 10.0, "output": 100.0, "batch_discount": 0.5}}  # 0.001 a batched call


@pytest.fixture
def serve() -> Iterator[Callable[..., BatchServer]]:
    running: list[BatchServer] = []

    def start(plan: Any = None, **how: Any) -> BatchServer:
        running.append(BatchServer(plan or good, **how))
        return running[-1]

    yield start
    for server in running:
        server.http.shutdown()
        server.http.server_close()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_JUDGE_KEY", SECRET)


def opened(server: BatchServer, root: Path, **changes: Any) -> Any:
    values = {"kind": "openai", "model": "judge", "base_url": server.url, "api_key_env": "TEST_JUDGE_KEY"}
    quick = {"backoff": 0.01, "timeout": 5.0, "poll": 0.02, "mode": "batch", "prices": PRICES, **changes}
    return open_annotator(AnnotatorConfig(**values, **quick), root, Progress(quiet=True))


def items(count: int, first: int = 0) -> list[dict[str, str]]:
    return [{"text": f"text number {n}"} for n in range(first, first + count)]


def good(number: int, request: dict[str, Any]) -> Reply:
    prompt = request["messages"][0]["content"]
    even = int(prompt.split("text number ")[1].split("\n")[0]) % 2 == 0
    return completion('{"domain": "medical"}' if even else '{"domain": "general"}')


def domains(answers: list[Any]) -> list[str]:
    return [getattr(a, "domain", None) or a.kind for a in answers]


EXPECTED = ["medical", "general"] * 5


def test_a_batch_gives_what_chat_gives_and_neither_pays_for_the_other(serve: Any, tmp_path: Path) -> None:
    server = serve()
    annotator = opened(server, tmp_path)
    assert domains(annotator.annotate(DOMAIN, items(10) * 2)) == EXPECTED * 2
    [requests] = server.sent()
    assert len(requests) == 10
    assert requests[0]["url"] == "/v1/chat/completions"
    assert annotator.statistics()["calls"] == 10
    assert annotator.statistics()["cost"] == pytest.approx(0.01)
    # Chat finds the batch's answers, at any concurrency; and a batch those of chat.
    chat = opened(server, tmp_path, mode="chat", concurrency=5)
    assert domains(chat.annotate(DOMAIN, items(12))) == [*EXPECTED, "medical", "general"]
    assert chat.statistics()["cached"] == 10
    assert chat.statistics()["cost"] == pytest.approx(0.004)  # without the discount
    assert opened(server, tmp_path).annotate(DOMAIN, items(12)) == chat.annotate(DOMAIN, items(12))
    assert len(server.batches) == 1
    # The same bodies reach the model either way.
    assert requests[0]["body"].keys() == server.requests[-1].keys()


def test_big_sets_are_split_at_the_limits(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve()
    assert domains(opened(server, tmp_path, batch_requests=4).annotate(DOMAIN, items(10))) == EXPECTED
    assert [len(batch) for batch in server.sent()] == [4, 4, 2]
    monkeypatch.setattr("aquilamed.annotate.batches.MAX_BYTES", 8000)
    opened(server, tmp_path, temperature=0.1).annotate(DOMAIN, items(10))
    later = [text for text in server.files.values() if '"temperature": 0.1' in text]
    assert len(later) > 1
    assert all(len(text.encode()) <= 8000 for text in later)


def test_bad_answers_are_repaired_and_lost_ones_asked_again_in_a_second_batch(serve: Any, tmp_path: Path) -> None:
    def plan(number: int, request: dict[str, Any]) -> Reply:
        second = len(server.batches) == 2
        if "text number 3\n" in request["messages"][0]["content"] and not second:
            return completion('{"domain": "gene')
        if "text number 4\n" in request["messages"][0]["content"]:
            return completion('{"domain": "veterinary"}')
        if "text number 5\n" in request["messages"][0]["content"]:
            return 400, {}, {"error": {"message": "bad request"}}
        if "text number 6\n" in request["messages"][0]["content"] and not second:
            return 429, {}, {"error": {"message": "slow down"}}
        return good(number, request)

    server = serve(plan, ends=lambda n: ("expired", 8) if n == 0 else ("completed", 99))
    annotator = opened(server, tmp_path)
    answers = domains(annotator.annotate(DOMAIN, items(10)))
    assert answers == [*EXPECTED[:4], "bad_schema", "http_400", *EXPECTED[6:]]
    first, second = server.sent()
    assert (len(first), len(second)) == (10, 5)  # 3 and 4 repaired, 6, 8 and 9 asked again
    assert [len(r["body"]["messages"]) for r in second] == [3, 3, 1, 1, 1]
    assert annotator.statistics()["errors"] == {"bad_schema": 1, "http_400": 1}


def test_what_expires_twice_is_an_error(serve: Any, tmp_path: Path) -> None:
    server = serve(ends=lambda n: ("expired", 0))
    assert domains(opened(server, tmp_path).annotate(DOMAIN, items(2))) == ["batch_expired"] * 2
    assert len(server.batches) == 2
    rows = sqlite3.connect(tmp_path / "calls.sqlite").execute("SELECT outcome, cost FROM calls").fetchall()
    assert rows == [("batch_expired", 0.0)] * 4


@pytest.mark.parametrize(("status", "said"), [("cancelled", "cancelled"), ("failed", "failed: token_limit_exceeded")])
def test_a_batch_that_was_ended_stops_the_stage_and_keeps_what_came(
    serve: Any, tmp_path: Path, status: str, said: str
) -> None:
    server = serve(ends=lambda n: (status, 6) if n == 0 else ("completed", 99))
    with pytest.raises(StageFailed, match=f"batch batch_0 {said}; what came back is stored: run again"):
        opened(server, tmp_path).annotate(DOMAIN, items(10))
    annotator = opened(server, tmp_path)
    assert domains(annotator.annotate(DOMAIN, items(10))) == EXPECTED
    assert [len(batch) for batch in server.sent()] == [10, 4]
    assert annotator.statistics()["cached"] == 6


def test_broken_connections_and_bad_lines_are_survived(serve: Any, tmp_path: Path) -> None:
    broken: dict[str, int] = {}

    def cut(call: str) -> Reply | None:
        broken[call] = broken.get(call, 0) + 1
        return (CUT, {}, "") if broken[call] == 1 else None

    def garble(call: str) -> Reply | None:
        if call.endswith("/content") and broken[call] == 2:
            text = server.files[call.split("/")[2]]
            return 200, {}, '{"custom_id": "unknown"}\nnot json\n[1]\n' + text
        return None

    server = serve(before=cut, after=garble)
    assert domains(opened(server, tmp_path).annotate(DOMAIN, items(10))) == EXPECTED
    assert len(server.batches) == 1
    assert broken["GET /batches/batch_0"] > 2


def test_a_batch_whose_creation_was_not_answered_is_found_and_not_sent_twice(serve: Any, tmp_path: Path) -> None:
    def cut(call: str) -> Reply | None:  # the server has created it, the client never hears of it
        return (CUT, {}, "") if call == "POST /batches" and server.calls.count(call) == 4 else None

    server = serve(after=cut)
    for temperature in (0.1, 0.2, 0.3, 0.4):  # three earlier ones: the list has two pages
        assert domains(opened(server, tmp_path, temperature=temperature).annotate(DOMAIN, items(4))) == EXPECTED[:4]
    assert len(server.batches) == 4
    assert server.calls.count("POST /batches") == 4
    assert "GET /batches" in server.calls


def test_an_unreachable_service_stops_the_wait_and_a_later_run_goes_on(serve: Any, tmp_path: Path) -> None:
    def down(call: str) -> Reply | None:
        return (503, {}, {}) if call.startswith("GET /batches/") and not up.is_set() else None

    up = threading.Event()
    server = serve(before=down)
    with pytest.raises(StageFailed, match=r"says nothing about batch batch_0 .*The batch goes on: run again"):
        opened(server, tmp_path, retries=0, give_up_after=3).annotate(DOMAIN, items(10))
    up.set()
    assert domains(opened(server, tmp_path, mode="chat").annotate(DOMAIN, items(10))) == EXPECTED
    assert len(server.batches) == 1
    assert len(server.requests) == 10  # chat waited for the batch instead of asking


def test_a_service_without_batches_is_named(serve: Any, tmp_path: Path) -> None:
    server = serve(before=lambda call: (404, {}, {"error": {"message": f"{SECRET} no such path"}}))
    with pytest.raises(StageFailed, match=r"does not take the batch .*http_404.*annotator.mode: chat") as stopped:
        opened(server, tmp_path).annotate(DOMAIN, items(2))
    assert SECRET not in str(stopped.value)
    with pytest.raises(ValidationError, match="mode: batch is for kind 'openai'"):
        AnnotatorConfig(mode="batch")


def test_no_batch_is_sent_over_the_budget(serve: Any, tmp_path: Path) -> None:
    server = serve()
    # About 420 tokens in and 10 out are expected for each of 40: 40 x 0.0026.
    with pytest.raises(StageFailed, match=r"40 requests would cost about .* nothing was sent: raise annotator.budget"):
        opened(server, tmp_path, budget=0.05).annotate(DOMAIN, items(40))
    assert server.calls == []
    annotator = opened(server, tmp_path, budget=0.2)
    annotator.annotate(DOMAIN, items(40))
    assert annotator.store.spent() == pytest.approx(0.04)  # the true cost, no more the expected one
    # What waits in an open batch is as good as spent; the measured answers make the estimate a smaller one.
    server.before = lambda call: (503, {}, {}) if call.startswith("GET /batches/") else None
    with pytest.raises(StageFailed, match="The batch goes on"):
        opened(server, tmp_path, budget=0.2, retries=0, give_up_after=1).annotate(DOMAIN, items(40, 40))
    server.before = lambda call: None
    server.looks = 10**9
    with pytest.raises(StageFailed, match="is spent or waiting in batches"):
        opened(server, tmp_path, budget=0.2).annotate(DOMAIN, items(40, 80))
    assert len(server.batches) == 2


def test_the_key_and_the_prompts_are_nowhere_on_disk(
    serve: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    server = serve(lambda n, r: completion(f"your key is {SECRET}", refusal=SECRET) if n else good(n, r))
    annotator = opened(server, tmp_path / "workspace")
    annotator.progress = annotator.batches.progress = Progress()
    answers = annotator.annotate(DOMAIN, [{"text": "text number 0\nof a PATIENT"}, *items(1, 1)])
    captured = capfd.readouterr()
    files = [f.read_bytes().decode("latin-1") for f in tmp_path.rglob("*") if f.is_file()]
    places = [repr(answers), captured.out, captured.err, repr(annotator.config), *files]
    assert not any(SECRET in place for place in [*places, caplog.text])
    assert not any("PATIENT" in place for place in places)
    assert "batch batch_0: 2 requests sent" in captured.err
    assert SECRET not in str(server.sent())
    assert all(SECRET in str(headers) for headers in server.headers)


_CLIENT = """
import sys
from pathlib import Path
from aquilamed.annotate import DOMAIN, AnnotatorConfig, open_annotator
from aquilamed.progress import Progress
values = {"kind": "openai", "model": "judge", "base_url": sys.argv[1], "api_key_env": "TEST_JUDGE_KEY"}
config = AnnotatorConfig(**values, mode="batch", poll=0.02)
annotator = open_annotator(config, Path(sys.argv[2]), Progress(quiet=True))
annotator.annotate(DOMAIN, [{"text": f"text number {n}"} for n in range(10)])
"""


@pytest.mark.parametrize(
    ("killed_at", "when", "batches"),
    [
        ("POST /files", "before", 1),  # nothing was created yet
        ("POST /batches", "after", 1),  # created, but its id never arrived
        ("GET /batches/batch_0", "after", 1),  # waiting
        ("GET /files/file_1/content", "after", 1),  # downloading
    ],
)
def test_a_run_killed_at_any_moment_pays_once(
    serve: Any, tmp_path: Path, killed_at: str, when: str, batches: int
) -> None:
    client: subprocess.Popen[bytes] | None = None

    def kill(call: str) -> Reply | None:
        if call == killed_at and client is not None and client.poll() is None:
            client.send_signal(signal.SIGKILL)
            client.wait()
            return CUT, {}, ""
        return None

    server = serve(**{when: kill})
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    client = subprocess.Popen([sys.executable, "-c", _CLIENT, server.url, str(tmp_path)], env=environment)
    assert client.wait(timeout=60) == -signal.SIGKILL
    # The same at another concurrency.
    annotator = opened(server, tmp_path, concurrency=1)
    assert domains(annotator.annotate(DOMAIN, items(10))) == EXPECTED
    assert len(server.batches) == batches
    assert annotator.store.open_batches(annotator.batches.address) == []
    rows = sqlite3.connect(tmp_path / "calls.sqlite").execute("SELECT COUNT(*), COUNT(DISTINCT key) FROM calls")
    assert rows.fetchone() == (10, 10)
