"""A judge that is down, slow, lying or speaks another language leaves pairs and rounds unscored: no tie, no number."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "annotate"))
from chat_server import CUT, Reply, Server, completion

import tiny_model
from aquilamed.annotate import ASPECTS, AnnotatorConfig
from aquilamed.config import StageFailed
from aquilamed.evaluate import multiturn, pairwise, safety
from aquilamed.evaluate.endpoint_calls import EndpointConfig
from aquilamed.evaluate.tasks import BenchmarkConfig

PAIRWISE = pairwise.PairwiseConfig(models=["far"], against=["reference"])
MULTITURN = multiturn.MultiturnConfig(models=["far"], history="gold")


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Server]]:
    """A contestant and a judge."""
    monkeypatch.setenv("TEST_KEY", "sk-none")
    pair = Server(lambda n, request: completion("Drink water and rest.")), Server(lambda n, request: completion(""))
    yield pair
    for server in pair:
        server.http.shutdown()
        server.http.server_close()


def context(tmp_path: Path, servers: tuple[Server, Server], name: str = "out", **judge: Any) -> Any:
    said = [{"role": r, "content": f"{r} {n}"} for n in range(2) for r in ("user", "assistant")]
    rows = [
        {"lang": "en", "messages": [{**m, "content": f"{m['content']}/{d}"} for m in said[:k]]}
        for d in range(3)
        for k in (2, 4)
    ]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    ctx = tiny_model.context(tmp_path, tmp_path / "none", {}, name)
    common: dict[str, Any] = {"api_key_env": "TEST_KEY", "backoff": 0, "retries": 1}
    model, url = servers[0].url, servers[1].url
    ctx.recipe.evaluate.endpoints = [EndpointConfig(name="far", model="m", base_url=model, **common)]
    ctx.recipe.annotator = AnnotatorConfig(kind="openai", model="judge", base_url=url, **(common | judge))
    ctx.recipe.evaluate.benchmarks = [
        BenchmarkConfig(task=f"dialogues_{k}", path="d.jsonl") for k in ("single", "multi")
    ]
    ctx.recipe.data_folder = lambda: tmp_path
    return ctx


def asked_to_compare(request: dict[str, Any]) -> bool:
    return "winner" in json.dumps(request)


def verdict(**more: Any) -> str:
    return json.dumps({"analysis": "", **dict.fromkeys((*ASPECTS, "winner"), "A"), **more}, ensure_ascii=False)


def scores(**more: Any) -> str:
    return json.dumps({**dict.fromkeys(ASPECTS, 4), **more}, ensure_ascii=False)


def slow(n: int, request: dict[str, Any]) -> Reply:
    time.sleep(0.6)
    return completion(verdict() if asked_to_compare(request) else scores())


BAD: dict[str, tuple[Any, str]] = {
    "no JSON": (lambda n, r: completion("Answer A is better."), "bad_json"),
    "Chinese prose": (lambda n, r: completion("甲医生的回答更好，给5分。"), "bad_json"),
    "Chinese labels": (
        lambda n, r: completion(verdict(winner="甲") if asked_to_compare(r) else scores(fluency="四")),
        "bad_schema",
    ),
    "out of range": (
        lambda n, r: completion(verdict(winner="C") if asked_to_compare(r) else scores(fluency=7)),
        "bad_schema",
    ),
    "half a point": (
        lambda n, r: completion(verdict(winner=1) if asked_to_compare(r) else scores(fluency=4.5)),
        "bad_schema",
    ),
    "an aspect missing": (
        lambda n, r: completion('{"winner": "A"}' if asked_to_compare(r) else '{"fluency": 4}'),
        "bad_schema",
    ),
    "two verdicts": (
        lambda n, r: completion(verdict() + verdict(winner="B") if asked_to_compare(r) else scores() * 2),
        "bad_json",
    ),
    "nothing": (lambda n, r: completion(None), "bad_json"),
    "a refusal": (lambda n, r: completion(None, refusal="I cannot judge this"), "refused"),
    "a cut answer": (lambda n, r: completion('{"winner": ', finish="length"), "truncated"),
    "not a completion": (lambda n, r: (200, {}, "<html>proxy</html>"), "bad_json"),
    "down": (lambda n, r: (503, {}, {}), "http_503"),
    "broken connection": (lambda n, r: (CUT, {}, ""), "connection"),
    "too slow": (slow, "timeout"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_judge_scores_nothing(tmp_path: Path, servers: tuple[Server, Server], case: str) -> None:
    servers[1].plan, kind = BAD[case]
    ctx = context(tmp_path, servers, timeout=0.3 if case == "too slow" else 20)
    (found,) = pairwise.run(ctx, PAIRWISE).metrics["comparisons"]
    assert (found["unscored"], found["win"], found["tie"], found["loss"]) == (3, 0, 0, 0)
    assert found["win_rate"] is None
    assert found["shares"]["tie"] == {"share": None, "interval": None}
    rows = pl.read_parquet(ctx.out / "answers" / "*.parquet")
    assert set(rows["outcome"]) == {"unscored"}
    assert {d.split(":")[0] for d in rows["detail"]} == {kind}
    ctx = context(tmp_path, servers, "rounds", timeout=0.3 if case == "too slow" else 20)
    metrics = multiturn.run(ctx, MULTITURN).metrics
    average = metrics["models"]["far"]["average"]
    assert (average["n"], average["unscored"]) == (0, 6)
    assert {a: average[a] for a in ASPECTS} == dict.fromkeys(ASPECTS)
    assert metrics["judge"]["errors"] == {kind: 6}


def test_a_judge_that_fails_at_times_leaves_the_others_scores(tmp_path: Path, servers: tuple[Server, Server]) -> None:
    def plan(n: int, request: dict[str, Any]) -> Reply:
        bad = "user 0/1" in json.dumps(request)
        return completion("I do not know." if bad else verdict() if asked_to_compare(request) else scores())

    servers[1].plan = plan
    (found,) = pairwise.run(context(tmp_path, servers), PAIRWISE).metrics["comparisons"]
    assert (found["unscored"], found["tie"]) == (1, 2), "A in both orders is a tie; no verdict is none"
    assert found["shares"]["tie"]["share"] == 1.0
    average = multiturn.run(context(tmp_path, servers, "rounds"), MULTITURN).metrics["models"]["far"]["average"]
    assert (average["n"], average["unscored"], average["fluency"]) == (4, 2, 4)


def test_a_judge_that_stays_down_stops_the_stage_and_the_next_run_pays_for_the_rest(
    tmp_path: Path, servers: tuple[Server, Server]
) -> None:
    servers[1].plan = lambda n, r: completion(verdict()) if n < 2 else (500, {}, {})
    settings: dict[str, Any] = {"concurrency": 1, "give_up_after": 3, "retries": 0}
    with pytest.raises(StageFailed, match=r"3 calls in a row failed .*run again when the service works"):
        pairwise.run(context(tmp_path, servers, **settings), PAIRWISE)
    assert len(servers[1].requests) == 6, "three of the first order, of which one failed, and three of the second"
    assert not (tmp_path / "out" / "results.json").exists()
    servers[1].plan = lambda n, r: completion(verdict())
    metrics = pairwise.run(context(tmp_path, servers, **settings), PAIRWISE).metrics
    assert (metrics["judge"]["calls"], metrics["judge"]["cached"]) == (4, 2)
    assert metrics["comparisons"][0]["unscored"] == 0
    assert len(servers[0].requests) == 3, "the contestant is not asked again"


def test_the_probe_is_undecided_where_the_judge_fails(tmp_path: Path, servers: tuple[Server, Server]) -> None:
    servers[0].plan = lambda n, r: completion("It depends.")
    for number, (plan, kind) in enumerate([BAD["down"], BAD["Chinese prose"], BAD["out of range"]]):
        servers[1].plan = plan
        ctx = context(tmp_path, servers, f"probe{number}")
        told = safety.run(ctx, safety.SafetyProbeConfig(models=["far"], limit=1)).metrics["results"]
        rows = pl.read_parquet(ctx.out / "answers" / "*.parquet").filter(pl.col("by") == "nobody")
        assert rows.height > 0
        assert set(rows["outcome"]) == {"undecided"}
        assert rows["detail"].str.contains(kind).all()
        assert sum(r["right"] for r in told) == 0
