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
    good = {"question": "q", "options": {"A": "a", "B": "b", "C": "c", "D": "d"}, "answer_idx": "A"}
    lines = [json.dumps(good), json.dumps(good | {"answer_idx": "E"})]
    assert "m.jsonl:2: answer is 'E'" in bad(tmp_path, "m.jsonl", "\n".join(lines), "medqa")
    assert "m.jsonl:1: options is None" in bad(tmp_path, "m.jsonl", '{"question": "q"}', "medqa")
    five = good | {"options": good["options"] | {"E": "e"}}
    assert "m.jsonl:1: options is {" in bad(tmp_path, "m.jsonl", json.dumps(five), "mcmle")
    both = json.dumps(good | {"answer_idx": "AC"})
    assert "m.jsonl:1: answer is 'AC', but every question" in bad(tmp_path, "m.jsonl", both, "mcmle")
    assert "m.jsonl:1: not JSON" in bad(tmp_path, "m.jsonl", "{", "medqa")
    assert "anatomy_test.csv:1: 3 columns" in bad(tmp_path, "anatomy_test.csv", "q,a,b\n", "mmlu")
    assert "cop is 7" in bad(tmp_path, "d.json", json.dumps({"question": "q", "cop": 7}), "medmcqa")
    twice = "\n".join(json.dumps({"id": "x", "question": "q", "cop": 1} | {f"op{o}": o for o in "abcd"}) for _ in "12")
    assert "d.json:2: the id 'x' was used before, at d.json:1" in bad(tmp_path, "d.json", twice, "medmcqa")
    ceval = "id,question,A,B,C,D,answer\n0,q,a,b,c,d,A\n0,r,a,b,c,d,AC\n"
    assert "physician_val.csv:3: the id '0'" in bad(tmp_path, "physician_val.csv", ceval, "ceval")
    ceval = ceval.replace("\n0,r", "\n1,r")
    assert "physician_val.csv:3: answer is 'AC'" in bad(tmp_path, "physician_val.csv", ceval, "ceval")
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


def test_cmmlu_reads_its_medical_subjects_by_folder(tmp_path: Path) -> None:
    header = ",Question,A,B,C,D,Answer\n"
    for split in ("dev", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "virology.csv").write_text(f'{header}0,{split} 问,"一,壹",二,三,四,B\n', encoding="utf-8")
        (tmp_path / split / "arts.csv").write_text(f"{header}0,问,一,二,三,四,B\n", encoding="utf-8")
    benchmark = BenchmarkConfig(task="cmmlu", path="*/*.csv")
    found = read_questions(context(tmp_path, [benchmark]), benchmark)
    assert [(q.question, q.subject, q.options[0], q.answer) for q in found.test] == [
        ("test 问", "virology", "一,壹", "B")
    ]
    assert [q.question for q in found.shots] == ["dev 问"]
    row = "0,问,一,二,三,四,B\n"
    assert "test/virology.csv:3: the id '0' was used" in bad(tmp_path, "test/virology.csv", header + row + row, "cmmlu")
    wrong = header + row.replace(",B", ",AC")
    assert "test/virology.csv:2: answer is 'AC'" in bad(tmp_path, "test/virology.csv", wrong, "cmmlu")
    five = header.replace("D,", "D,E,") + row.replace("四,", "四,五,")
    assert "test/virology.csv:2: the header must be" in bad(tmp_path, "test/virology.csv", five, "cmmlu")
    missing = header + row.replace("四,B", "四,")
    assert "test/virology.csv:2: answer is ''" in bad(tmp_path, "test/virology.csv", missing, "cmmlu")


def test_mcmle_is_medqa_in_chinese(tmp_path: Path) -> None:
    rows = [
        {
            "question": f"问 {n}",
            "options": dict(zip("ABCD", "一二三四", strict=True)),
            "answer_idx": "C",
            "answer": "三",
        }
        for n in range(7)
    ]
    (tmp_path / "test.jsonl").write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    benchmark = BenchmarkConfig(task="mcmle", path="test.jsonl")
    found = read_questions(context(tmp_path, [benchmark]), benchmark)
    assert len(found.test) == 2
    assert {(q.source, q.lang, q.answer) for q in [*found.test, *found.shots]} == {("mcmle", "zh", "C")}


def cmb_exam(tmp_path: Path, change: Any = None) -> Any:
    """The published files in small: two test questions, their answers elsewhere, one question for an example."""
    single = {"exam_type": "护理考试", "exam_class": "护士", "question_type": "单项选择题", "question": "哪项对？"}
    single |= {"exam_subject": "内科", "option": {"A": "一", "B": "二", "C": "三", "D": ""}}
    files: dict[str, Any] = {
        "question": [single | {"id": 1}, single | {"id": 2, "question_type": "多项选择题", "question": "哪些对？"}],
        "answer": [{"id": 1, "answer": "B"}, {"id": 2, "answer": "CA"}],
        "val": [single | {"answer": "A", "explanation": "因为。"}],
    }
    if change:
        change(files)
    (tmp_path / "exam").mkdir(exist_ok=True)
    names = {"question": "exam/CMB-test-choice-question-merge.json", "answer": "CMB-test-choice-answer.json"}
    for part, name in (names | {"val": "exam/CMB-val-merge.json"}).items():
        (tmp_path / name).write_text(json.dumps(files[part], ensure_ascii=False), encoding="utf-8")
    benchmark = BenchmarkConfig(task="cmb_exam", path="exam/*.json", answers="CMB-test-choice-answer.json")
    return read_questions(context(tmp_path, [benchmark]), benchmark)


def test_cmb_exam_joins_its_answers(tmp_path: Path) -> None:
    found = cmb_exam(tmp_path)
    assert sorted((q.question, q.answer, q.subject) for q in found.test) == [
        ("哪些对？", "AC", "护理考试"),
        ("哪项对？", "B", "护理考试"),
    ]
    assert found.test[0].options == ["一", "二", "三"]
    assert [(q.answer, q.split) for q in found.shots] == [("A", "dev")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f["question"][1].update(id=1), "question-merge.json:2: the id '1' was used before"),
        (lambda f: f["answer"].pop(), "question-merge.json:2: CMB-test-choice-answer.json has no answer"),
        (lambda f: f["answer"][0].update(answer="AC"), "question-merge.json:1: a question with one answer"),
        (lambda f: f["answer"][0].update(answer="E"), "question-merge.json:1: answer 'E'"),
        (lambda f: f["answer"][0].update(answer=""), "question-merge.json:1: the answer is empty"),
        (lambda f: f["answer"].append({"id": 1, "answer": "A"}), "answer.json:3: the id '1' has another answer"),
        (lambda f: f["question"][0].update(question=" "), "question-merge.json:1: field 'question' is empty"),
        (lambda f: f["question"].append(5), "question-merge.json:3: an object is needed"),
    ],
)
def test_cmb_exam_names_what_is_wrong(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        cmb_exam(tmp_path, change)


def test_answers_apart_are_asked_for_and_belong_to_one_task(tmp_path: Path) -> None:
    cmb_exam(tmp_path)
    benchmark = BenchmarkConfig(task="cmb_exam", path="exam/*.json")
    with pytest.raises(Invalid, match="name the file of answers"):
        benchmark_texts(context(tmp_path, [benchmark]))
    with pytest.raises(ValueError, match="answers is for the task cmb_exam"):
        BenchmarkConfig(task="medqa", path="x", answers="y")


def test_every_task_has_a_hash_of_its_file() -> None:
    hashes = {name: task.hash for name, task in TASKS.items()}
    assert hashes["medqa"] == hashes["mcmle"], "one file"
    assert len(set(hashes.values())) == len(TASKS) - 2, "the two of dialogues.py are one file as well"
