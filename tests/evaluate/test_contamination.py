"""The sets that were trained on are searched; a question that one holds is named with the set."""

import json
from pathlib import Path

import polars as pl
import pytest

import tiny_model
from aquilamed.evaluate import contamination
from aquilamed.evaluate.probe import cases
from aquilamed.evaluate.tasks import BenchmarkText

QUESTION = "Which of the following nerves is most often hurt when the shaft of the humerus breaks in its middle third"
OTHER = "孩子三天来反复发热，最高体温三十九度，伴有咳嗽和流涕，应该怎么处理"


def test_held_questions_are_named_with_their_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = [BenchmarkText("medqa", "1", QUESTION), BenchmarkText("cmb", "3", OTHER)]
    monkeypatch.setattr(contamination, "benchmark_texts", lambda ctx: questions)
    probed = max(cases(["en"]), key=lambda c: len(c.text))
    documents = pl.DataFrame({"id": ["a", "b"], "text": [f"A post: {probed.text} Help!", f"An exam: {QUESTION}?"]})
    turns = [{"role": "user", "content": QUESTION.upper()}, {"role": "assistant", "content": "The radial nerve."}]
    inputs = {
        "corpus/mix1": tiny_model.table(tmp_path, "corpus/mix1", documents, rows=1),
        "instruct/select": tiny_model.table(
            tmp_path, "instruct/select", pl.DataFrame({"id": ["c"], "messages": [turns]})
        ),
    }
    ctx = tiny_model.context(tmp_path, tmp_path, inputs)
    found = contamination.run(ctx, contamination.ContaminationConfig()).metrics["benchmarks"]
    leaked = json.loads((ctx.out / "leaked.json").read_text())
    assert leaked.pop("safety_probe") == {probed.id: ["corpus/mix1"]}
    assert leaked == {
        "medqa": {"1": ["corpus/mix1", "instruct/select"]},
        "cmb": {},
    }
    assert found["medqa"] == {"questions": 1, "leaked": 1, "sets": {"corpus/mix1": 1, "instruct/select": 1}}
    assert found["safety_probe"] == {"questions": 242, "leaked": 1, "sets": {"corpus/mix1": 1}}
    assert found["cmb"] == {"questions": 1, "leaked": 0, "sets": {}}
