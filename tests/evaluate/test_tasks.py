"""Every benchmark's reader on its real file, and errors that name file, line and field."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aquilamed.config import Invalid
from aquilamed.evaluate.tasks import TASKS, BenchmarkConfig, benchmark_texts, read_dialogues, read_questions
from aquilamed.stage import find_files

REAL = {
    # task: path, scored questions (few-shot examples apart) or dialogues
    "mmlu": ("benchmarks/mmlu", 1089),
    "ceval": ("benchmarks/ceval", 113),
    "cmb": ("benchmarks/cmb/cmb-single_2000.jsonl", 1995),
    "medqa": ("benchmarks/medqa/phrases_no_exclude_test.jsonl", 1268),
    "medmcqa": ("benchmarks/medmcqa/dev.json", 4178),
    "pubmedqa": ("benchmarks/pubmedqa", 500),
    "huatuo": ("benchmarks/huatuo/huatuo26M_test.json", 6000),
    "cmtmedqa": ("benchmarks/cmtmedqa/CMtMedQA_test.json", 1144),
    "cmb_clin": ("benchmarks/cmb/CMB-Clin.json", 74),
}


def context(root: Path, benchmarks: list[BenchmarkConfig]) -> Any:
    return SimpleNamespace(
        files=lambda pattern: find_files(pattern, root),
        seed=42,
        recipe=SimpleNamespace(evaluate=SimpleNamespace(benchmarks=benchmarks)),
    )


@pytest.mark.parametrize("task", REAL)
def test_real_files(public_data: Path, task: str) -> None:
    path, count = REAL[task]
    benchmark = BenchmarkConfig(task=task, path=path)
    ctx = context(public_data, [benchmark])
    if benchmark.kind == "choice":
        questions = read_questions(ctx, benchmark)
        assert len(questions.test) == count
        assert questions.shots
        assert not {q.id for q in questions.shots} & {q.id for q in questions.test}
        few = read_questions(ctx, benchmark, limit=7)
        assert len(few.test) == 7
        assert few == read_questions(ctx, benchmark, limit=7)
        assert {q.id for q in few.test} <= {q.id for q in questions.test}
    else:
        dialogues = read_dialogues(ctx, benchmark)
        assert len(dialogues) == count
        assert all(d.messages[-1]["role"] == "assistant" for d in dialogues)
    texts = benchmark_texts(ctx)
    assert len(texts) >= count
    assert all(t.text.strip() and t.benchmark == task for t in texts)


def bad(tmp_path: Path, name: str, text: str, task: str) -> str:
    (tmp_path / name).write_text(text, encoding="utf-8")
    benchmark = BenchmarkConfig(task=task, path=name)
    with pytest.raises(Invalid) as error:
        benchmark_texts(context(tmp_path, [benchmark]))
    return str(error.value)


def test_bad_rows_are_named(tmp_path: Path) -> None:
    good = {"question": "q", "options": {"A": "a", "B": "b"}, "answer_idx": "A"}
    lines = [json.dumps(good), json.dumps(good | {"answer_idx": "E"})]
    assert "m.jsonl:2: answer is 'E'" in bad(tmp_path, "m.jsonl", "\n".join(lines), "medqa")
    assert "m.jsonl:1: options is None" in bad(tmp_path, "m.jsonl", '{"question": "q"}', "medqa")
    assert "m.jsonl:1: not JSON" in bad(tmp_path, "m.jsonl", "{", "medqa")
    assert "anatomy_test.csv:1: 3 columns" in bad(tmp_path, "anatomy_test.csv", "q,a,b\n", "mmlu")
    assert "cop is 7" in bad(tmp_path, "d.json", json.dumps({"question": "q", "cop": 7}), "medmcqa")
    assert "h.json:1: instruction and output" in bad(tmp_path, "h.json", '[{"instruction": "x"}]', "huatuo")
    assert "history must be" in bad(
        tmp_path, "c.json", '[{"history": ["x"], "instruction": "a", "output": "b"}]', "cmtmedqa"
    )
    roles = json.dumps(
        {"lang": "en", "messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]}
    )
    assert "roles must be" in bad(tmp_path, "s.jsonl", roles, "dialogues_single")


def test_cmb_reads_several_right_letters_and_broken_lines(tmp_path: Path) -> None:
    row = {"question": "哪些对？", "option": "(A) 一\n(B) 二\n续行\n(C) 三", "anwer": "(A)(C)"}
    (tmp_path / "c.jsonl").write_text(json.dumps(row), encoding="utf-8")
    (question,) = TASKS["cmb"].read([("c.jsonl", tmp_path / "c.jsonl")])
    assert question.answer == "AC"
    assert question.options == ["一", "二\n续行", "三"]
