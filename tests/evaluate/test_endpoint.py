"""Models behind an endpoint, over real HTTP: likelihoods, chat answers, what fails is unscored, nothing is paid twice."""

import json
import math
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "annotate"))
from chat_server import CUT, Reply, Server, completion

import tiny_model
from aquilamed.annotate.store import CallStore
from aquilamed.config import Invalid, StageFailed
from aquilamed.evaluate import knowledge, multiturn, pairwise, safety
from aquilamed.evaluate.endpoint_calls import EndpointConfig, likelihood
from aquilamed.evaluate.tasks import BenchmarkConfig
from aquilamed.recipe import load_recipe
from aquilamed.stages import enabled

RIGHT = {n: "ABCD"[n % 4] for n in range(12)}


def number(request: dict[str, Any]) -> int | None:
    """Which question a request is about; None for the probe."""
    text = request.get("prompt") or request["messages"][-1]["content"]
    found = re.findall(r"item (\d+)", text)
    return int(found[-1]) if found else None


def echoed(request: dict[str, Any], value: float) -> Reply:
    """As vLLM answers echo and logprobs: the prompt's tokens, then the one it had to make."""
    words = re.findall(r"\s*\S+", request["prompt"])
    tokens = [*words, " and"]
    values = [None, *[-1.0] * (len(words) - 2), value, -3.0]
    logprobs = {"tokens": tokens, "token_logprobs": values, "top_logprobs": None, "text_offset": [0] * len(tokens)}
    choice = {"index": 0, "text": request["prompt"] + " and", "finish_reason": "length", "logprobs": logprobs}
    usage = {"prompt_tokens": len(words), "completion_tokens": 1, "total_tokens": len(words) + 1}
    body = {"id": "x", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return 200, {}, body


def model(n: int, request: dict[str, Any]) -> Reply:
    """A model that knows every answer but that to question 5."""
    asked = number(request)
    if "prompt" in request:
        right = RIGHT.get(asked if asked is not None else -1, "B")
        wanted = "D" if asked == 5 else right
        return echoed(request, math.log(0.7 if request["prompt"].endswith(f" {wanted}") else 0.1))
    right = RIGHT.get(asked if asked is not None else -1, "B")
    return completion("I cannot tell." if asked == 5 else f"答案是{right}")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("TEST_ENDPOINT_KEY", "sk-endpoint-secret")
    running = Server(model)
    yield running
    running.http.shutdown()
    running.http.server_close()


def context(tmp_path: Path, server: Server, name: str = "out", **more: Any) -> Any:
    exam = [
        {
            "id": f"q{n}",
            "lang": "en",
            "topic": "t",
            "question": f"item {n}: which?",
            "answer": RIGHT[n],
            "split": "test",
        }
        | {"options": {"A": "heart", "B": "water", "C": "air", "D": "bone"}, "rationale": ""}
        for n in RIGHT
    ]
    said = [{"role": r, "content": f"{r} item {n}: fever"} for n in range(3) for r in ("user", "assistant")]
    dialogues = [
        {"lang": "en", "messages": [{**m, "content": f"{m['content']} ({d})"} for m in said[:k]]}
        for d in range(2)
        for k in (2, 6)
    ]
    for file, rows in (("exam.jsonl", exam), ("dialogues.jsonl", dialogues)):
        (tmp_path / file).write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    ctx = tiny_model.context(tmp_path, tmp_path / "no-model", {}, name)
    paths = {"exam": "exam.jsonl", "dialogues_single": "dialogues.jsonl", "dialogues_multi": "dialogues.jsonl"}
    ctx.recipe.evaluate.benchmarks = [BenchmarkConfig(task=t, path=p) for t, p in paths.items()]
    settings: dict[str, Any] = {"api_key_env": "TEST_ENDPOINT_KEY", "backoff": 0, "retries": 1} | more
    ctx.recipe.evaluate.endpoints = [EndpointConfig(name="far", model="m", base_url=server.url, **settings)]
    ctx.recipe.data_folder = lambda: tmp_path
    return ctx


KNOWLEDGE = knowledge.KnowledgeConfig(shots=1, models=["far"])
GENERATE = KNOWLEDGE.model_copy(update={"mode": "generate"})


def test_log_likelihoods_through_completions(tmp_path: Path, server: Server) -> None:
    ctx = context(tmp_path, server)
    metrics = knowledge.run(ctx, KNOWLEDGE).metrics
    (found,) = metrics["results"]
    rows = pl.read_parquet(ctx.out / "predictions" / "*.parquet")
    assert found["n"] == rows.height == 7
    wrong = rows.filter(~pl.col("correct"))
    asked = [r["origin"] for r in wrong.to_dicts()]
    assert asked in ([], ["exam.jsonl:6"])
    assert found["accuracy"] == (7 - len(asked)) / 7
    assert sorted(rows["loglikelihoods"][0])[-1] == pytest.approx(math.log(0.7))
    assert (found["chat"], found["unscored"], found["invalid"]) == (False, 0, 0)
    assert found["model_fingerprint"].startswith("endpoint:")
    assert len(server.requests) == 4 * 7 + 1, "a call per option, and the probe"
    assert all(r["echo"] and r["logprobs"] == 1 and r["max_tokens"] == 1 for r in server.requests)
    assert metrics["endpoints"]["far"]["calls"] == 29
    again = context(tmp_path, server, "again")
    knowledge.run(again, KNOWLEDGE)
    assert len(server.requests) == 29, "the call store answers the second time"
    assert (again.out / "results.json").read_bytes() == (ctx.out / "results.json").read_bytes()
    assert "sk-endpoint-secret" not in "".join(p.read_text("latin1") for p in tmp_path.rglob("*") if p.is_file())


def test_answers_through_chat_are_read_and_cut_ones_count(tmp_path: Path, server: Server) -> None:
    server.plan = lambda n, request: completion("答案是B。因为", finish="length")
    ctx = context(tmp_path, server)
    (found,) = knowledge.run(ctx, GENERATE).metrics["results"]
    rows = pl.read_parquet(ctx.out / "predictions" / "*.parquet")
    assert set(rows["prediction"]) == {"B"}
    assert (found["chat"], found["mode"], found["unscored"]) == (True, "generate", 0)
    assert found["accuracy"] == (rows["answer"] == "B").mean()
    assert all([m["role"] for m in r["messages"]] == ["user"] for r in server.requests)
    assert {r["max_tokens"] for r in server.requests} == {256}


def test_an_answer_that_names_no_option_is_invalid_and_a_failed_call_unscored(tmp_path: Path, server: Server) -> None:
    ids = sorted(RIGHT)

    def plan(n: int, request: dict[str, Any]) -> Reply:
        asked = number(request)
        if asked in ids[::3]:
            return 500, {}, {"error": "down"}
        return completion("Hard to say." if asked in ids[1::3] else f"The answer is {RIGHT[asked or 0]}.")

    server.plan = plan
    ctx = context(tmp_path, server)
    (found,) = knowledge.run(ctx, GENERATE).metrics["results"]
    rows = pl.read_parquet(ctx.out / "predictions" / "*.parquet")
    asked = [int(r.split(":")[1]) - 1 for r in rows["origin"]]
    down, silent = (sum(n in part for n in asked) for part in (ids[::3], ids[1::3]))
    assert down
    assert silent
    assert (found["unscored"], found["invalid"], found["n"]) == (down, silent, 7 - down)
    assert found["accuracy"] == (7 - down - silent) / (7 - down)
    failed = rows.filter(pl.col("error").is_not_null())
    assert failed["prediction"].null_count() == failed.height == down
    assert set(failed["error"].str.slice(0, 8)) == {"http_500"}
    server.plan = model
    before = len(server.requests)
    (later,) = knowledge.run(context(tmp_path, server, "later"), GENERATE).metrics["results"]
    assert (later["unscored"], len(server.requests) - before) == (0, down), "what failed is asked again, the rest not"


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (lambda n, r: (404, {}, {"error": "no such route"}), "http_404"),
        (lambda n, r: (400, {}, {"error": "echo is not supported with logprobs"}), "http_400"),
        (
            lambda n, r: (200, {}, {"id": "x", "object": "text_completion", "choices": [{"index": 0, "text": "B"}]}),
            "no log",
        ),
    ],
)
def test_an_endpoint_without_prompt_logprobs_is_refused(
    tmp_path: Path, server: Server, plan: Any, message: str
) -> None:
    server.plan = plan
    with pytest.raises(Invalid, match=r"set evaluate\.knowledge\.mode: generate") as error:
        knowledge.run(context(tmp_path, server), KNOWLEDGE)
    assert message in str(error.value)
    assert len(server.requests) == 1, "one question is enough to know"


def test_an_endpoint_that_is_down_or_refuses_the_key_stops_the_stage(tmp_path: Path, server: Server) -> None:
    server.plan = lambda n, request: (CUT, {}, "")
    with pytest.raises(StageFailed, match="connection"):
        knowledge.run(context(tmp_path, server), KNOWLEDGE)
    with pytest.raises(StageFailed, match="3 calls in a row failed"):
        knowledge.run(context(tmp_path, server, give_up_after=3), GENERATE)
    server.plan = lambda n, request: (401, {}, {"error": "bad key sk-endpoint-secret"})
    with pytest.raises(StageFailed, match=r"refuses the call .*evaluate\.endpoints\[far\]\.model") as error:
        knowledge.run(context(tmp_path, server), GENERATE)
    assert "secret" not in str(error.value)
    os.environ.pop("TEST_ENDPOINT_KEY")
    with pytest.raises(Invalid, match=r"evaluate\.endpoints\[far\]\.api_key_env: .*TEST_ENDPOINT_KEY is not set"):
        knowledge.run(context(tmp_path, server), GENERATE)


@pytest.mark.parametrize(
    ("tail", "value"),
    [
        ([[":", -1.0], [" B", -0.5]], -0.5),
        ([["：", -1.0], ["B", -0.5]], -0.5),  # SentencePiece's blank, dropped by the server
        ([["swer:", -1.0], [" ", -0.25], ["B", -0.5]], -0.75),
        ([["Answer: B", -0.5]], None),
        ([[":", -1.0], [" B", None]], None),
        ([], None),
    ],
)
def test_only_the_letters_own_tokens_count(tail: list[Any], value: float | None) -> None:
    found = likelihood(json.dumps(tail), " B")
    assert (found if isinstance(found, float) else None) == value


def test_pairs_and_rounds_of_an_endpoint(tmp_path: Path, server: Server) -> None:
    def plan(n: int, request: dict[str, Any]) -> Reply:
        if request["messages"][0]["content"].endswith("(1)") and len(request["messages"]) == 3:
            return 503, {}, {}
        return completion(f"Rest and drink water, step {len(request['messages'])}.")

    server.plan = plan
    ctx = context(tmp_path, server)
    config = pairwise.PairwiseConfig(models=["far"], against=["reference"])
    (pairs,) = pairwise.run(ctx, config).metrics["comparisons"]
    assert (pairs["n"], pairs["unscored"]) == (2, 0)
    assert pairs["characters"]["answer"] == len("Rest and drink water, step 1.")
    for history, unscored in (("own", 2), ("gold", 1)):
        ctx = context(tmp_path, server, history)
        told = multiturn.run(ctx, multiturn.MultiturnConfig(models=["far"], history=history)).metrics  # type: ignore[arg-type]
        average = told["models"]["far"]["average"]
        assert (average["n"], average["unscored"]) == (6 - unscored, unscored)
        rows = pl.read_parquet(ctx.out / "answers" / "*.parquet").filter(pl.col("error").is_not_null())
        kinds = ["http_503", "no_history"][:unscored]
        assert [e.split(":")[0] for e in rows.sort("round")["error"]] == kinds
        assert rows["fluency"].null_count() == rows.height
    assert told["endpoints"]["far"]["cached"] > 0, "the first round is the same in both"


def test_a_side_without_an_answer_is_unscored_and_no_tie(tmp_path: Path, server: Server) -> None:
    server.plan = lambda n, r: (429, {}, {}) if r["messages"][-1]["content"].endswith("(0)") else completion("Rest.")
    ctx = context(tmp_path, server)
    (found,) = pairwise.run(ctx, pairwise.PairwiseConfig(models=["far"], against=["reference"])).metrics["comparisons"]
    assert found["unscored"] == 1
    assert found["win"] + found["tie"] + found["loss"] == 1
    row = pl.read_parquet(ctx.out / "answers" / "*.parquet").filter(pl.col("outcome") == "unscored").to_dicts()[0]
    assert row["answer"] is None
    assert row["detail"].startswith("no answer: http_429")


def test_the_probe_of_an_endpoint(tmp_path: Path, server: Server) -> None:
    calls = iter(range(1000))
    server.plan = lambda n, r: (500, {}, {}) if next(calls) < 4 else completion("Call 911 now. 立即拨打120。")
    ctx = context(tmp_path, server, concurrency=1)
    config = safety.SafetyProbeConfig(models=["far"], limit=1)
    told = safety.run(ctx, config).metrics["results"]
    assert sum(r["unscored"] for r in told) == 2, "two cases failed twice each"
    assert sum(r["n"] for r in told) == 6
    assert [(r["n"], r["share"], r["at_least"]) for r in told[:2]] == [(0, None, None)] * 2


def test_a_killed_evaluation_pays_nothing_twice(tmp_path: Path, server: Server) -> None:
    def run_and_die() -> None:
        real, calls = CallStore.add, 0

        def add(self: CallStore, *row: Any) -> None:
            nonlocal calls
            calls += 1
            if calls > 5:
                os.kill(os.getpid(), signal.SIGKILL)
            real(self, *row)

        CallStore.add = add  # type: ignore[method-assign]
        knowledge.run(context(tmp_path, server, concurrency=1), GENERATE)

    child = multiprocessing.get_context("fork").Process(target=run_and_die)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert len(server.requests) == 6, "the sixth answer came and was not written any more"
    metrics = knowledge.run(context(tmp_path, server, concurrency=1), GENERATE).metrics
    assert metrics["endpoints"]["far"] == {"calls": 2, "cached": 5, "errors": {}, "cost": None}
    assert len(server.requests) == 8


RECIPE = """\
name: far
sources: {}
annotator: {kind: openai, model: one%s}
evaluate:
  endpoints: [{name: %s, model: m}]
  knowledge: {models: [base, %s]}
"""


@pytest.mark.parametrize(
    ("budget", "name", "asked", "message"),
    [
        ("", "finetune", "far", "the name 'finetune' is taken"),
        ("", "far", "near", "evaluate.knowledge.models: near is no model; known: base, pretrain, finetune, align, far"),
        (", budget: 5, prices: {one: {input: 1, output: 1}}", "far", "far", "needs a price of 'm'"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, budget: str, name: str, asked: str, message: str) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE % (budget, name, asked))
    with pytest.raises(Invalid, match=re.escape(message)):
        load_recipe(tmp_path / "recipe.yaml")


def test_a_recipe_of_endpoints_alone_has_every_evaluation(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE % ("", "far", "far"))
    on = enabled(load_recipe(tmp_path / "recipe.yaml"))
    assert {n for n in on if n.startswith("evaluate/")} == {
        f"evaluate/{n}" for n in ("knowledge", "pairwise", "multiturn", "safety")
    }
