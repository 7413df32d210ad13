"""A pool: a sample is scored, a regressor scores the rest; failures are dropped, and what was scored stays."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import tiny_model
from aquilamed.config import StageFailed
from aquilamed.instruct import deita
from aquilamed.instruct.deita import DeitaConfig, run
from aquilamed.instruct.rounds import Round
from aquilamed.records import read_parts

WORDS = ("fever", "cough", "headache", "rash", "nausea", "fatigue")


def dialogue(i: int) -> list[dict[str, str]]:
    """Its complexity is one and the number of "because", its quality the number of "rest"."""
    asked = f"I have {WORDS[i % 6]} and {WORDS[i // 6 % 6]}" + " because it hurts" * (i % 4)
    said = f"Take care of the {WORDS[i % 6]}." + " You should rest." * (1 + i % 3)
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    return turns * (1 + (i % 10 == 0))


def truth(items: list[Round]) -> list[tuple[float, float] | str]:
    return [(1.0 + r.question.count("because"), float(r.answer.count("rest"))) for r in items]


def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, score: Callable, name: str = "out", **config) -> tuple:
    frame = pl.DataFrame(
        {
            "id": [f"d{i:04d}" for i in range(400)],
            "kind": ["multi_turn_QA_en" if i % 10 == 0 else "single_turn_QA_en" for i in range(400)],
            "messages": [dialogue(i) for i in range(400)],
        }
    )
    before = tiny_model.table(tmp_path, "instruct/topics", frame, rows=150)
    ctx = tiny_model.context(tmp_path, tmp_path, {"instruct/topics": before}, name)

    class Scorer:
        def __init__(self, *_: object) -> None: ...

        def __call__(self, items: list[Round]) -> list[tuple[float, float] | str]:
            return score(items)

        def statistics(self) -> dict[str, int]:
            return {}

    monkeypatch.setattr(deita, "ModelScorer", Scorer)
    metrics = run(ctx, DeitaConfig(sample=120, **config)).metrics
    return read_parts(ctx.out / "kept"), read_parts(ctx.out / "dropped"), metrics


def test_the_rest_is_predicted_and_the_sample_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, dropped, metrics = pool(tmp_path, monkeypatch, truth)
    assert kept.height == 400
    assert dropped.height == 0
    assert metrics["scored_by"] == {"model": 120, "regressor": 280}
    assert metrics["sampled"] == 120
    figures = metrics["regressor"]
    assert figures["heldout"] == 24
    assert min(figures[c]["spearman"] for c in ("complexity", "quality", "deita")) > 0.9
    for row in kept.iter_rows(named=True):
        c, q = truth([Round(row["messages"][0]["content"], row["messages"][1]["content"])])[0]
        off = 0 if row["scored_by"] == "model" else 0.8
        assert row["complexity"] == pytest.approx(c, abs=off)
        assert row["quality"] == pytest.approx(q, abs=off)
    # The small kind is sampled as often as the big one.
    assert kept.filter(pl.col("scored_by") == "model")["kind"].value_counts()["count"].max() <= 80


def test_a_failure_in_the_sample_is_dropped_and_the_same_again_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moody(items: list[Round]) -> list[tuple[float, float] | str]:
        found = truth(items)
        return ["no answer came" if "rash" in r.question else f for r, f in zip(items, found, strict=True)]

    kept, dropped, metrics = pool(tmp_path, monkeypatch, moody)
    assert dropped.height > 0
    assert set(dropped["reason"]) == {"deita.unscored"}
    assert set(dropped["detail"]) == {"no answer came"}
    assert kept.height + dropped.height == 400
    assert metrics["scored_by"]["model"] == 120 - dropped.height
    again = pool(tmp_path, monkeypatch, moody, name="again")
    assert again[0].equals(kept)


def test_a_crash_does_not_score_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def broken(items: list[Round]) -> list[tuple[float, float] | str]:
        calls.append(len(items))
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return truth(items)

    with pytest.raises(RuntimeError):
        pool(tmp_path, monkeypatch, broken)
    pool(tmp_path, monkeypatch, broken)
    assert len(calls) == 3


def test_a_scorer_that_never_answers_stops_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StageFailed, match="no score for any of 120 dialogues"):
        pool(tmp_path, monkeypatch, lambda items: ["down"] * len(items))
