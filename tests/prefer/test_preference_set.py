"""Judged pairs and truth against a wrong option: who is chosen, what is dropped, and that a seed decides the same again."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

import tiny_model
from aquilamed.annotate import ASPECTS, Answer, CallError, Verdict
from aquilamed.config import Invalid, StageFailed
from aquilamed.evaluate.tasks import BenchmarkConfig
from aquilamed.prefer import objective, subjective
from aquilamed.prefer.objective import ObjectiveConfig
from aquilamed.prefer.subjective import SubjectiveConfig
from aquilamed.records import read_parts
from aquilamed.sources.questions import QuestionSource
from aquilamed.stage import Context

ANSWERS = {
    "better": "a much longer and better answer",
    "worse": "short",
    "tie": "ORIGINAL TIE",
    "order": "order",
    "fails": "fails",
    "same": "original same",
    "empty": " ",
}


class Doctor:
    """Answers from a table; judges by length, with its moods."""

    kind = name = "test"

    def annotate(self, rubric: Any, items: list[dict[str, str]], round: int = 1) -> list[Any]:
        return [self.answer(i) if rubric.name == "answer" else self.judge(i) for i in items]

    def answer(self, item: dict[str, str]) -> Any:
        topic = item["dialogue"].split()[-1]
        return Answer(answer=ANSWERS[topic]) if topic in ANSWERS else CallError("timeout", "60 s")

    def judge(self, item: dict[str, str]) -> Any:
        a, b = item["answer_a"], item["answer_b"]
        if "fails" in (a, b):
            return CallError("bad_json", "no object")
        winner = "tie" if len(a) == len(b) else "A" if len(a) > len(b) else "B"
        aspects = dict.fromkeys(ASPECTS, winner)
        if "original worse" in (a, b):  # the judge weighs one aspect against two
            aspects |= {"fluency": "A" if winner == "B" else "B", "relevance": "tie"}
        return Verdict(**aspects | {"winner": "A" if "order" in (a, b) else winner})

    def statistics(self) -> dict[str, Any]:
        return {}


class Judged(Context):
    """A context with the test's annotator."""

    def annotator(self) -> Any:
        return Doctor()


def sft_set(tmp_path: Path, annotator: bool = True) -> Context:
    rows = [
        {"id": t, "source": "s", "license": "CC0", "origin": f"f:{t}", "kind": "single_turn_QA_en", "lang": "en"}
        | {"messages": [{"role": "user", "content": f"about {t}"}, {"role": "assistant", "content": f"original {t}"}]}
        for t in [*ANSWERS, "unanswered"]
    ]
    before = tiny_model.table(tmp_path, "instruct/select", pl.DataFrame(rows))
    ctx = tiny_model.context(tmp_path, tmp_path, {"instruct/select": before})
    values = {f.name: getattr(ctx, f.name) for f in dataclasses.fields(Context)}
    return Judged(**values) if annotator else ctx


def test_subjective_pairs(tmp_path: Path) -> None:
    ctx = sft_set(tmp_path)
    result = subjective.run(ctx, SubjectiveConfig())
    kept = {r["origin"]: r for r in read_parts(ctx.out / "kept").to_dicts()}
    dropped = {r["origin"]: r["reason"] for r in read_parts(ctx.out / "dropped").to_dicts()}
    assert set(kept) == {"f:better", "f:worse"}
    assert kept["f:better"]["chosen"][0]["content"] == ANSWERS["better"]
    assert kept["f:worse"]["chosen"][0]["content"] == "original worse", "the original answer may win"
    assert kept["f:better"]["margin"] == 1.0
    assert kept["f:worse"]["margin"] == 0.25, "two aspects won, one lost, one tied, in both orders"
    said = json.loads(kept["f:worse"]["verdicts"])
    assert [s["order"] for s in said] == ["answer, original", "original, answer"]
    assert {s["winner"] for s in said} == {"original"}
    assert {s["fluency"] for s in said} == {"answer"}
    assert dropped == {
        "f:tie": "subjective.tie",
        "f:order": "subjective.order_disagreement",
        "f:fails": "subjective.call_failed",
        "f:same": "subjective.identical",
        "f:empty": "subjective.empty_answer",
        "f:unanswered": "subjective.call_failed",
    }
    assert result.records_in == 8
    assert (result.metrics["original_wins"], result.metrics["answer_wins"]) == (1, 1)


def test_the_offline_annotator_cannot_answer(tmp_path: Path) -> None:
    ctx = sft_set(tmp_path, annotator=False)
    from aquilamed.annotate import AnnotatorConfig

    ctx.recipe.annotator = AnnotatorConfig()  # type: ignore[misc]
    with pytest.raises(StageFailed, match="writes no answers"):
        subjective.run(ctx, SubjectiveConfig())


def exam(tmp_path: Path) -> tuple[Context, ObjectiveConfig]:
    stem = "A woman of {n} years has swelling of the left calf, a warm leg and pain after a flight of eleven hours; what is the most likely diagnosis for patient number {n}?"
    rows = [
        {"id": str(n), "lang": "en", "topic": "t", "question": stem.format(n=40 + n * n), "rationale": f"because {n}"}
        | {"options": {"A": "deep vein thrombosis", "B": "gout", "C": "a muscle tear", "D": f"cellulitis {n}"}}
        | {"answer": "ABCD"[n % 4], "split": "train"}
        for n in range(12)
    ]
    several = "A boy of {n} years drinks and passes much water, loses weight and breathes deeply; which findings are expected in patient number {n}?"
    rows += [
        {**rows[0], "id": f"several {a}", "question": several.format(n=len(a) + 8), "answer": a} for a in ("AC", "ABCD")
    ]
    leaked = "Which enzyme is measured first when a young man with drooling, fever and a muffled voice sits leaning forward in the emergency room?"
    rows.append(
        {
            **rows[0],
            "id": "leak",
            "question": leaked,
            "options": {"A": "amylase", "B": "lipase", "C": "none of them", "D": "both"},
        }
    )
    rows.append({**rows[0], "id": "test", "split": "test"})
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    (tmp_path / "bench.jsonl").write_text(json.dumps({**rows[14], "split": "test"}), encoding="utf-8")
    ctx = tiny_model.context(tmp_path, tmp_path, {})
    ctx.recipe.evaluate = SimpleNamespace(benchmarks=[BenchmarkConfig(task="exam", path="bench.jsonl")])  # type: ignore[misc]
    ctx.recipe.data_folder = lambda: tmp_path  # type: ignore[method-assign]
    return ctx, ObjectiveConfig(questions=[QuestionSource(name="exam", path="train.jsonl")])


def test_objective_pairs(tmp_path: Path) -> None:
    ctx, config = exam(tmp_path)
    result = objective.run(ctx, config)
    kept, dropped = read_parts(ctx.out / "kept"), read_parts(ctx.out / "dropped")
    assert result.records_in == 15, "the test split is not looked at"
    assert sorted(dropped["reason"]) == ["objective.benchmark_overlap", "objective.no_wrong_option"]
    rows = {int(r["origin"].rsplit(":", 1)[1]) - 1: r for r in kept.to_dicts()}
    several = rows.pop(12)
    for n, row in rows.items():
        chosen, rejected = row["chosen"][0]["content"], row["rejected"][0]["content"]
        assert chosen[0] == "ABCD"[n % 4]
        assert rejected[0] in "ABCD"
        assert rejected[0] != chosen[0]
        assert ("because" in rejected) == ("because" in chosen), "both sides are worded alike"
    stated = [[line[0] for line in several[k][0]["content"].splitlines()] for k in ("chosen", "rejected")]
    if len(several["chosen"][0]["content"]) == 2:  # letters alone
        stated = [list(several[k][0]["content"]) for k in ("chosen", "rejected")]
    assert stated[0][:2] == ["A", "C"]
    assert len(set(stated[1][:2]) & {"A", "C"}) == 1, "one right letter is exchanged for a wrong one"
    assert "More than one" in several["prompt"][0]["content"]
    assert sum(result.metrics["styles"].values()) == kept.height == 13
    assert result.metrics["several_answers"] == 1
    again = tiny_model.context(tmp_path, tmp_path, {}, "again")
    again.recipe.evaluate, again.recipe.data_folder = ctx.recipe.evaluate, ctx.recipe.data_folder  # type: ignore[misc, method-assign]
    objective.run(again, config)
    assert read_parts(again.out / "kept").equals(kept)


def test_cmb_exam_as_published_and_what_cannot_be_used(tmp_path: Path) -> None:
    options = {"A": "发热", "B": "咳嗽", "C": "皮疹", "D": "水肿", "E": ""}
    row = {"exam_subject": "内科学", "question_type": "单项选择题", "option": options, "answer": "B"}
    asked = "慢性支气管炎患者每年冬季反复出现的最主要的症状是下列哪一项"
    rows = [
        {**row, "question": asked},
        {**row, "question": f"{asked}，请选出全部", "question_type": "多项选择题", "answer": "BD"},
        {**row, "question": f"{asked}（答案缺失）", "answer": "E"},
        {**row, "question": f"{asked}（单选多答）", "answer": "AB"},
    ]
    (tmp_path / "CMB-train.json").write_text(json.dumps(rows), encoding="utf-8")
    ctx = tiny_model.context(tmp_path, tmp_path, {})
    ctx.recipe.evaluate = SimpleNamespace(benchmarks=[])  # type: ignore[misc]
    ctx.recipe.data_folder = lambda: tmp_path  # type: ignore[method-assign]
    source = QuestionSource(name="cmb", path="CMB-train.json", form="cmb_exam")
    result = objective.run(ctx, ObjectiveConfig(questions=[source], styles=["letter"]))
    kept, dropped = read_parts(ctx.out / "kept"), read_parts(ctx.out / "dropped")
    assert result.records_in == 4
    assert sorted(c[0]["content"] for c in kept["chosen"].to_list()) == ["B", "BD"]
    assert set(kept["source"]) == {"cmb"}
    assert set(kept["license"]) == {"Apache-2.0"}
    assert result.metrics["licenses"]["Apache-2.0"]["redistribute"] is True
    assert dropped["reason"].to_list() == ["sources.answer"] * 2
    assert sorted(d.split(": ")[0] for d in dropped["detail"]) == ["CMB-train.json:3", "CMB-train.json:4"]


def test_the_limit_and_an_empty_split(tmp_path: Path) -> None:
    ctx, config = exam(tmp_path)
    objective.run(ctx, config.model_copy(update={"limit": 5}))
    assert read_parts(ctx.out / "kept").height == 5
    with pytest.raises(Invalid, match="no question of split dev"):
        objective.run(ctx, config.model_copy(update={"splits": ["dev"]}))
