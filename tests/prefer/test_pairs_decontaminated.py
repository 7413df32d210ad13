"""Preference pairs of both stages are searched for benchmark questions, answers included; nothing is lost."""

import json
from pathlib import Path

import polars as pl
import pytest

import tiny_model
from aquilamed.evaluate import tasks
from aquilamed.evaluate.tasks import BenchmarkText
from aquilamed.prefer.decontaminate import PreferDecontaminateConfig, run
from aquilamed.records import read_parts

QUESTION = "Which of the following nerves is most often hurt when the shaft of the humerus breaks in its middle third"
OTHER = "孩子三天来反复发热，最高体温三十九度，伴有咳嗽和流涕，应该怎么处理"


def pair(name: str, prompt: str, chosen: str, rejected: str) -> dict[str, object]:
    turns = {"prompt": ("user", prompt), "chosen": ("assistant", chosen), "rejected": ("assistant", rejected)}
    return {"id": name} | {key: [{"role": role, "content": text}] for key, (role, text) in turns.items()}


def test_pairs_with_a_question_are_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = [BenchmarkText("medqa", "1", QUESTION), BenchmarkText("medqa", "2", "Which one?"), BenchmarkText("cmb", "3", OTHER)]  # fmt: skip
    monkeypatch.setattr(tasks, "benchmark_texts", lambda ctx: questions)
    judged = [pair("a", QUESTION.upper(), "The radial.", "The ulnar."), pair("b", "Why?", "Because.", OTHER)]
    stated = [pair("c", "What helps against a cough at night?", "Honey.", "Nothing."), pair("d", "Eh?", QUESTION, "No")]
    inputs = {
        "prefer/subjective": tiny_model.table(tmp_path, "prefer/subjective", pl.DataFrame(judged)),
        "prefer/objective": tiny_model.table(tmp_path, "prefer/objective", pl.DataFrame(stated)),
    }
    ctx = tiny_model.context(tmp_path, tmp_path, inputs)
    result = run(ctx, PreferDecontaminateConfig())
    assert read_parts(ctx.out / "kept")["id"].to_list() == ["c"]
    dropped = read_parts(ctx.out / "dropped")
    assert sorted(dropped["id"]) == ["a", "b", "d"]
    assert set(dropped["reason"]) == {"decontaminate.benchmark_overlap"}
    assert result.metrics["benchmarks"] == {
        "cmb": {"questions": 1, "too_short": 0, "leaked_questions": 1, "leaked_share": 1.0, "documents_dropped": 1},
        "medqa": {"questions": 2, "too_short": 1, "leaked_questions": 1, "leaked_share": 0.5, "documents_dropped": 2},
    }
    assert json.loads((ctx.out / "contamination.json").read_text()) == result.metrics["benchmarks"]
