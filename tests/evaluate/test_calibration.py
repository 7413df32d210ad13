"""Judges against people: agreement, bias for a position and for answers of their own, on pairs that both judge."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "annotate"))
from chat_server import Reply, Server, completion

import tiny_model
from aquilamed.annotate import ASPECTS, AnnotatorConfig
from aquilamed.config import Invalid
from aquilamed.evaluate.calibration import CalibrationConfig, run
from aquilamed.prefer.judgements import shown_hash
from aquilamed.prefer.select import PreferSelectConfig
from aquilamed.report.calibration_sections import calibration

FILE = CalibrationConfig(files=["judged.jsonl"])


def answers(request: dict[str, Any]) -> tuple[str, str]:
    """The two answers that a judge is shown."""
    prompt = request["messages"][0]["content"]
    a, b = (prompt.split(f"[BEGIN answer_{x} ")[1].split("]\n", 1)[1].split("\n[END")[0] for x in "ab")
    return a, b


def says(winner: str) -> Reply:
    return completion(json.dumps({"analysis": ""} | dict.fromkeys((*ASPECTS, "winner"), winner)))


def by_length(n: int, request: dict[str, Any]) -> Reply:
    a, b = answers(request)
    return says("A" if len(a) > len(b) else "B")


def its_own(n: int, request: dict[str, Any]) -> Reply:
    a, b = answers(request)
    return says("A" if "mine" in a else "B" if "mine" in b else "tie")


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Server]]:
    monkeypatch.setenv("TEST_KEY", "sk-none")
    running = [Server(by_length), Server(lambda n, request: says("A")), Server(its_own)]
    yield running
    for server in running:
        server.http.shutdown()
        server.http.server_close()


def context(tmp_path: Path, servers: list[Server], inputs: dict[str, Any] | None = None) -> Any:
    ctx = tiny_model.context(tmp_path, tmp_path / "none", inputs or {})
    judges = [
        AnnotatorConfig(kind="openai", model=name, base_url=s.url, api_key_env="TEST_KEY", backoff=0, retries=0)
        for name, s in zip(("length", "place", "vain"), servers, strict=True)
    ]
    ctx.recipe.annotator, ctx.recipe.evaluate.judges = judges[0], judges[1:]
    ctx.recipe.prefer = SimpleNamespace(select=PreferSelectConfig())
    ctx.recipe.data_folder = lambda: tmp_path
    return ctx


def lines(count: int = 24) -> list[dict[str, Any]]:
    """People prefer the longer answer; "vain" wrote the shorter one of every second pair."""
    found = []
    for n in range(count):
        long, short = f"{n}: rest, drink water, see a doctor", f"{n}: {'mine' if n % 2 else 'rest'}"
        swapped = n % 3 == 0
        a, b = (short, long) if swapped else (long, short)
        by = {("by_a" if swapped else "by_b"): "vain"} if n % 2 else {}
        found.append({"prompt": f"q{n}", "answer_a": a, "answer_b": b, "verdict": "B" if swapped else "A"} | by)
    return found


def write(tmp_path: Path, rows: list[Any]) -> None:
    (tmp_path / "judged.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def test_judges_stand_beside_people_and_each_other(tmp_path: Path, servers: list[Server]) -> None:
    write(tmp_path, lines())
    metrics = run(context(tmp_path, servers), FILE).metrics
    people = {a["judges"][1]: a for a in metrics["with_people"]}
    assert set(people) == {"length", "place", "vain"}
    assert (people["length"]["equal"], people["length"]["kappa"]) == (1.0, 1.0)
    assert people["place"]["equal"] == 0, "A in both orders is a tie"
    assert people["vain"]["kappa"] < 0
    assert len(metrics["among"]) == 3
    bias = {j["judge"]: j["position"]["first"]["share"] for j in metrics["judges"]}
    assert bias == {"length": 0.0, "place": 1.0, "vain": 0.0}
    (own,) = metrics["self_preference"]
    assert (own["judge"], own["n"], own["given"]) == ("vain", 12, 1.0)
    assert own["others"] == pytest.approx((0 + 0 + 0.5) / 3), "people, the length and the place"
    assert own["interval"][0] > 0
    assert json.loads((tmp_path / "out" / "results.json").read_text())["pairs"] == 24
    tables = calibration({"calibration": metrics})
    assert [len(t.rows) for t in tables] == [6, 3, 1]
    assert tables[0].rows[0][:2] == ["people and length", "100.0 %"]
    assert calibration({"calibration": None}) == []


def test_the_workspaces_reviewed_pairs_count_by_what_most_said(tmp_path: Path, servers: list[Server]) -> None:
    frame = tiny_model.preferences(6).with_columns(
        pl.lit(json.dumps([{"winner": "answer"}, {"winner": "answer"}])).alias("verdicts")
    )
    before = tiny_model.table(tmp_path, "prefer/decontaminate", frame)
    subjective = SimpleNamespace(manifest={"params": {"config": {"answers": "annotator"}}})
    ctx = context(tmp_path, servers, {"prefer/decontaminate": before, "prefer/subjective": subjective})
    said = []
    for n, row in enumerate(frame.to_dicts()[:4]):
        shown = shown_hash(row["prompt"], row["rejected"], row["chosen"])  # the chosen answer stood as B
        for rater in ("a", "b", "c") if n else ("a", "b"):
            verdict = "A" if n == 0 and rater == "a" else "B"
            said.append({"pair": row["id"], "shown": shown, "rater": rater, "verdict": verdict})
    (tmp_path / "review").mkdir()
    (tmp_path / "review" / "verdicts.jsonl").write_text("\n".join(map(json.dumps, said)))
    metrics = run(ctx, CalibrationConfig()).metrics
    assert metrics["pairs"] == 3, "one is undecided, two were not judged"
    assert metrics["with_people"][0]["equal"] == 1.0, "the chosen answers are the longer ones"
    (own,) = metrics["self_preference"]
    assert (own["judge"], own["given"]) == ("length", 1.0), "the annotator wrote the new answers"


def test_a_judge_that_fails_is_unscored(tmp_path: Path, servers: list[Server]) -> None:
    write(tmp_path, lines(4))
    servers[1].plan = lambda n, request: completion("甲更好")
    metrics = run(context(tmp_path, servers), FILE).metrics
    assert [j["unscored"] for j in metrics["judges"]] == [0, 4, 0]
    assert metrics["with_people"][1]["answered"] == 0
    assert metrics["with_people"][1]["kappa"] is None


def test_without_verdicts_nobody_is_asked(tmp_path: Path, servers: list[Server]) -> None:
    metrics = run(context(tmp_path, servers), CalibrationConfig()).metrics
    assert (metrics["pairs"], metrics["self_preference"]) == (0, [])
    assert [len(s.requests) for s in servers] == [0, 0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": "C"}, "judged.jsonl:2: field 'verdict'"),
        ({"answer_b": ""}, "judged.jsonl:2: field 'answer_b'"),
        ({"verdikt": "A"}, "judged.jsonl:2: field 'verdikt'"),
        (None, "judged.jsonl:2: 'somebody' judged this pair before, at judged.jsonl:1"),
    ],
)
def test_lines_that_do_not_fit_are_named(tmp_path: Path, servers: list[Server], change: Any, message: str) -> None:
    first, second = lines(2)
    write(tmp_path, [first, first if change is None else second | change])
    with pytest.raises(Invalid, match=message):
        run(context(tmp_path, servers), FILE)
