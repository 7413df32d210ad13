"""A panel of judges: majorities, agreement, self-preference, and both stages with a rule-based judge and two served ones."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "annotate"))
from chat_server import Server, completion

import tiny_model
from aquilamed.annotate import ASPECTS, AnnotatorConfig
from aquilamed.config import Invalid
from aquilamed.evaluate import multiturn, pairwise
from aquilamed.evaluate.panel import judges_agree, majority, mean_scores, self_preference
from aquilamed.evaluate.tasks import BenchmarkConfig
from aquilamed.recipe import load_recipe
from aquilamed.report.dialogue_sections import pairwise as pairs_tables


@pytest.mark.parametrize(
    ("outcomes", "panel"),
    [
        (("win", "win", "loss"), "win"),
        (("win", "tie", "loss"), "tie"),
        (("win", "win", "unscored"), "win"),
        (("win", "loss", "unscored"), "tie"),
        (("win", "unscored", "unscored"), "unscored"),
        (("loss", "unscored"), "unscored"),
        (("loss", "tie"), "tie"),
        (("loss", "loss"), "loss"),
    ],
)
def test_more_than_half_decide(outcomes: tuple[str, ...], panel: str) -> None:
    assert majority(outcomes)[0] == panel
    assert majority(outcomes[::-1])[0] == panel


def test_scores_are_the_mean_of_those_that_answered() -> None:
    four, two = dict.fromkeys(ASPECTS, 4), dict.fromkeys(ASPECTS, 2)
    assert mean_scores([four, two, None]) == dict.fromkeys(ASPECTS, 3.0)
    assert mean_scores([four, None]) is None


def test_agreement_leaves_what_one_of_both_did_not_score_out() -> None:
    said = {"a": ["win", "loss", "tie", None], "b": ["win", "loss", "win", "win"], "c": [None] * 4}
    found = {tuple(f["judges"]): f for f in judges_agree(said)}
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert (found["a", "b"]["answered"], found["a", "b"]["failed"], found["a", "b"]["equal"]) == (3, 1, 2 / 3)
    assert found["a", "b"]["kappa"] == pytest.approx(1 - (1 / 3) / (6 / 9))
    assert found["a", "c"]["kappa"] is None


def test_a_judge_that_favours_its_own_is_found_out() -> None:
    outcomes = {"own": ["win"] * 20, "b": ["loss"] * 10 + ["win"] * 10, "c": ["tie"] * 19 + ["unscored"]}
    found = self_preference("own", outcomes, mirrored=False)
    assert (found["n"], found["given"]) == (20, 1.0)
    assert found["others"] == pytest.approx((10 * 0.25 + 9 * 0.75 + 1) / 20)
    assert found["interval"][0] > 0.2
    assert self_preference("own", outcomes, mirrored=True)["difference"] == pytest.approx(-found["difference"])
    assert self_preference("own", {"own": ["win"]}, mirrored=False)["difference"] is None


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Server]]:
    monkeypatch.setenv("TEST_JUDGE_KEY", "sk-none")

    def verdicts(side: str, score: int) -> Any:
        compare = json.dumps({"analysis": ""} | dict.fromkeys((*ASPECTS, "winner"), side))
        turn = json.dumps(dict.fromkeys(ASPECTS, score))
        return lambda n, request: completion(compare if "winner" in json.dumps(request) else turn)

    running = [Server(verdicts("A", 4)), Server(verdicts("tie", 2))]
    yield running
    for server in running:
        server.http.shutdown()
        server.http.server_close()


def context(tmp_path: Path, servers: list[Server]) -> Any:
    turns = [{"role": r, "content": f"{r} {n}: fever and cough"} for n in range(2) for r in ("user", "assistant")]
    for name, count in (("single", 2), ("multi", 4)):
        lines = [
            json.dumps({"lang": "en", "messages": [{**t, "content": f"{n} {t['content']}"} for t in turns[:count]]})
            for n in range(3)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    base = tiny_model.build(tmp_path / "base")
    ctx = tiny_model.context(tmp_path, base, {})
    common: dict[str, Any] = {"kind": "openai", "api_key_env": "TEST_JUDGE_KEY", "backoff": 0}
    judges = [AnnotatorConfig(model=f"judge-{n}", base_url=s.url, **common) for n, s in enumerate(servers)]
    benchmarks = [BenchmarkConfig(task=f"dialogues_{k}", path=f"{k}.jsonl") for k in ("single", "multi")]
    ctx.recipe.evaluate.benchmarks, ctx.recipe.evaluate.judges = benchmarks, judges
    ctx.recipe.data_folder = lambda: tmp_path  # type: ignore[method-assign]
    return ctx


def test_pairs_are_judged_by_all_and_decided_by_most(tmp_path: Path, servers: list[Server]) -> None:
    ctx = context(tmp_path, servers)
    config = pairwise.PairwiseConfig(models=["base"], against=["reference"], max_new_tokens=8)
    metrics = pairwise.run(ctx, config).metrics
    assert (metrics["judge"]["name"], [p["name"] for p in metrics["panel"]]) == ("offline", ["judge-0", "judge-1"])
    assert [len(s.requests) for s in servers] == [6, 6], "two orders of three pairs"
    [found] = metrics["comparisons"]
    offline, position, ties = found["judges"]
    assert position["position"]["first"]["share"] == 1.0
    assert (position["tie"], ties["tie"], found["tie"]) == (3, 3, 3)
    assert offline["loss"] == 3, "a random model's answers"
    assert found["agreement"][0]["judges"] == ["offline", "judge-0"]
    assert found["agreement"][2]["equal"] == 1.0
    assert "position" not in found
    kept = pl.read_parquet(ctx.out / "answers" / "*.parquet")
    assert kept["detail"].to_list() == ["loss 1, tie 2"] * 3
    assert set(json.loads(kept["verdicts"][0])) == {"offline", "judge-0", "judge-1"}
    again = pairwise.run(ctx, config).metrics
    assert again["comparisons"] == metrics["comparisons"]
    assert [len(s.requests) for s in servers] == [6, 6], "the store answers the second time"


def test_the_report_shows_the_panel() -> None:
    """Figures as the stage makes them, of a judge that is one of the contestants, through the report's tables."""
    said = {"own": [("win", "", None)] * 30, "other": [("loss", "", None)] * 15 + [("win", "", None)] * 15}
    sides = ["answer"] * 30, ["a longer answer"] * 30
    figures = pairwise._figures(said, sides, {"own": ["base"]}, "base", "reference")
    [partial] = figures["self_preference"]
    assert (partial["own"], partial["given"], partial["others"]) == ("base", 1.0, 0.5)
    assert (figures["win"], figures["tie"]) == (15, 15)
    comparison = {"model": "base", "against": "reference", "benchmark": "b", "n": 30} | figures
    tables = {t.caption: t for t in pairs_tables({"pairwise": [comparison]})}
    cells = [cell for t in tables.values() for row in t.rows for cell in row]
    assert {"b, own", "b, other", "own and other", "50.0 (33.3 to 66.7)", "100.0 %"} <= set(cells)
    assert {c[:15] for c in tables} >= {"How far the jud", "Self-preference"}


def test_rounds_are_scored_by_all_and_averaged(tmp_path: Path, servers: list[Server]) -> None:
    ctx = context(tmp_path, servers)
    config = multiturn.MultiturnConfig(models=["base"], max_new_tokens=8)
    metrics = multiturn.run(ctx, config).metrics
    told = metrics["models"]["base"]
    means = {judge: found["fluency"] for judge, found in told["judges"].items()}
    assert (means["judge-0"], means["judge-1"]) == (4, 2)
    assert told["average"]["fluency"] == pytest.approx(sum(means.values()) / 3)
    assert (told["average"]["n"], told["average"]["dialogues"]) == (6, 3)
    assert {a["judges"][1] for a in metrics["agreement"]["fluency"]} == {"judge-0", "judge-1"}
    kept = pl.read_parquet(ctx.out / "answers" / "*.parquet")
    assert [r["fluency"] for r in json.loads(kept["judges"][0])][1:] == [4, 2]


RECIPE = """\
name: panel
data_root: .
sources: {documents: {sources: [{name: w, path: w.jsonl}]}}
annotator: {kind: openai, model: one, budget: 5, prices: {one: {input: 1, output: 1}}}
evaluate:
  judges:
    - %s
"""


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ("{kind: openai, model: one, prices: {one: {input: 1, output: 1}}}", "one judges twice"),
        ("{kind: openai, model: two}", "needs a price of 'two'"),
        (
            "{kind: openai, model: two, budget: 1, prices: {two: {input: 1, output: 1}}}",
            "the budget is annotator.budget",
        ),
    ],
)
def test_a_panel_that_cannot_be_is_refused(tmp_path: Path, judge: str, message: str) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE % judge)
    with pytest.raises(Invalid, match=message):
        load_recipe(tmp_path / "recipe.yaml")
