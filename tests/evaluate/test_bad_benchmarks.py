"""A benchmark with a hole in it is refused before anything is scored: file, place, field, and what to do."""

import json
from pathlib import Path
from typing import Any

import pytest

import tiny_model
from aquilamed.config import Invalid
from aquilamed.evaluate.knowledge import KnowledgeConfig, run
from aquilamed.evaluate.multiturn import MultiturnConfig
from aquilamed.evaluate.multiturn import run as run_multiturn
from aquilamed.evaluate.tasks import TASKS, BenchmarkConfig, benchmark_texts, read_dialogues, read_questions
from aquilamed.stage import find_files

NAMES = {  # the file that a task looks for
    "mmlu": "anatomy_test.csv",
    "ceval": "physician_val.csv",
    "cmmlu": "test/virology.csv",
    "cmb_exam": "CMB-test-choice-question-merge.json",
    "pubmedqa": "ori_pqal.json",
    "huatuo": "h.json",
    "cmtmedqa": "c.json",
    "cmb_clin": "k.json",
}
NO_SENSE = ["", "5", "[]", "[5]", "{}", "null", '"text"', '{"x": 5}', '{"x": ', "a,b\n1,2,3\n", "[" * 5000, "\x00"]


def context(root: Path, task: str, path: str = "*") -> Any:
    ctx = tiny_model.context(root, root / "base", {})
    ctx.recipe.evaluate.benchmarks = [BenchmarkConfig(task=task, path=path)]
    ctx.recipe.data_folder = lambda: root / "data"
    return ctx


def read(ctx: Any) -> Any:
    (benchmark,) = ctx.recipe.evaluate.benchmarks
    benchmark_texts(ctx)
    return (read_questions if benchmark.kind == "choice" else read_dialogues)(ctx, benchmark)


def write(root: Path, name: str, data: bytes) -> None:
    path = root / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.mark.parametrize("task", TASKS)
def test_what_makes_no_sense_is_said_and_never_scored(tmp_path: Path, task: str) -> None:
    name = NAMES.get(task, "b.jsonl")
    ctx = context(tmp_path, task, path=f"{name.split('/')[0]}*")
    if task == "pubmedqa":
        write(tmp_path, "test_ground_truth.json", b'{"1": "yes"}')
        ctx = context(tmp_path, task, path="*.json")
    for text in NO_SENSE:
        write(tmp_path, name, text.encode())
        with pytest.raises(Invalid) as error:
            read(ctx)
        assert error.value.args[0], text
    write(tmp_path, name, "问,一,二,三,四,A\n".encode("gb18030"))
    with pytest.raises(Invalid, match=r"UTF-8|not JSON|an object|a JSON list|no question"):
        read(ctx)


def test_a_path_without_files(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(Invalid, match=r"no file matches 'gone.jsonl' below .*data; check the path"):
        read(context(tmp_path, "medqa", "gone.jsonl"))
    with pytest.raises(Invalid, match="no file matches"):
        find_files("empty", tmp_path)


MEDQA = {"question": "q", "options": {"A": "a", "B": "b", "C": "c", "D": "d"}, "answer_idx": "A"}
MEDMCQA = {"question": "q", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": 1}
CMB = {"question": "哪些对？", "option": "(A) 一\n(B) 二", "anwer": "(A)"}
PAIR = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SAID = {"lang": "en", "messages": PAIR}


@pytest.mark.parametrize(
    ("task", "good", "bad", "message"),
    [
        ("medqa", MEDQA, {"answer_idx": None}, "answer is None, which names no option of ABCD"),
        ("medqa", MEDQA, {"answer_idx": ["A"]}, "answer is"),
        ("medqa", MEDQA, {"question": None}, "question is None; a non-empty text is needed"),
        ("medqa", MEDQA, {"question": ["q"]}, "question is"),
        ("medqa", MEDQA, {"options": {**MEDQA["options"], "B": " "}}, "at least two non-empty ones"),  # type: ignore[dict-item]
        ("medqa", MEDQA, {"options": {**MEDQA["options"], "B": 4}}, "options are"),  # type: ignore[dict-item]
        ("medqa", MEDQA, {"options": ["a", "b"]}, "options is"),
        ("medmcqa", MEDMCQA, {"opc": None}, "options are"),
        ("medmcqa", MEDMCQA, {"cop": 0}, "cop is 0; 1 to 4"),
        ("medmcqa", MEDMCQA, {"cop": "1"}, "cop is '1'"),
        ("cmb", CMB, {"anwer": "(C)"}, "answer is 'C', which names no option of AB"),
        ("cmb", CMB, {"anwer": ""}, "which names no option"),
        ("cmb", CMB, {"anwer": None}, "anwer is None"),
        ("cmb", CMB, {"option": "一"}, "lines are needed"),
        ("dialogues_single", SAID, {"messages": [5, 6]}, "an object is needed"),
        ("dialogues_single", SAID, {"messages": PAIR[:1]}, "in pairs"),
        ("dialogues_single", SAID, {"messages": [PAIR[0], {"role": "assistant"}]}, "content is None"),
        ("dialogues_single", SAID, {"lang": "fr"}, "lang is 'fr'"),
    ],
)
def test_a_wrong_field_is_named_with_its_line(
    tmp_path: Path, task: str, good: dict[str, Any], bad: dict[str, Any], message: str
) -> None:
    lines = [json.dumps(good, ensure_ascii=False), "", json.dumps(good | bad, ensure_ascii=False)]
    write(tmp_path, "b.jsonl", "\n".join(lines).encode())
    with pytest.raises(Invalid, match=r"b\.jsonl:3: ") as error:
        read(context(tmp_path, task))
    assert message in str(error.value)


def test_a_cell_too_many_is_no_question(tmp_path: Path) -> None:
    write(tmp_path, "physician_val.csv", "id,question,A,B,C,D,answer\n0,问，a,b,一,二,三,四,A\n".encode())
    with pytest.raises(Invalid, match=r"physician_val\.csv:2: more cells than the header has; quote the commas"):
        read(context(tmp_path, "ceval"))


def test_pubmedqa_without_a_test_questions_label(tmp_path: Path) -> None:
    row = {"QUESTION": "q", "CONTEXTS": ["c"], "final_decision": "yes"}
    write(tmp_path, "ori_pqal.json", json.dumps({"1": row}).encode())
    write(tmp_path, "test_ground_truth.json", b'{"1": "yes", "7": "no"}')
    with pytest.raises(Invalid, match="1 test ids are not in it, such as '7'"):
        read(context(tmp_path, "pubmedqa"))


def exam(count: int, dev: int = 0, long: int = 0) -> bytes:
    """Questions of the generic form, the first ones for examples, some longer than the tiny model's context."""
    options = {"A": "heart", "B": "water", "C": "air", "D": "bone"}
    rows = [
        {
            "id": str(n),
            "lang": "en",
            "topic": "t",
            "question": f"{n}: which? {'fever ' * (600 if n >= count - long else 0)}",
        }
        | {"options": options, "answer": "A", "rationale": "", "split": "dev" if n < dev else "test"}
        for n in range(count)
    ]
    return "\n".join(map(json.dumps, rows)).encode()


def test_more_shots_than_examples_are_refused(tmp_path: Path) -> None:
    tiny_model.build(tmp_path / "base")
    write(tmp_path, "exam.jsonl", exam(8, dev=2))
    ctx = context(tmp_path, "exam")
    with pytest.raises(
        Invalid, match=r"exam: 3 shots are wanted, and there are 2 examples; set evaluate\.benchmarks\[\]\.shots to 2"
    ):
        run(ctx, KnowledgeConfig(models=["base"]))
    (found,) = run(ctx, KnowledgeConfig(models=["base"], shots=2)).metrics["results"]
    assert len(found["shot_ids"]) == 2


def test_every_question_sees_as_many_examples(public_data: Path) -> None:
    for task, path in (
        ("medmcqa", "medmcqa/dev.json"),
        ("cmb", "cmb/cmb-single_2000.jsonl"),
        ("mmlu", "mmlu"),
        ("ceval", "ceval"),
    ):
        benchmark = BenchmarkConfig(task=task, path=f"benchmarks/{path}")
        files: Any = type("C", (), {"files": staticmethod(lambda p: find_files(p, public_data)), "seed": 42})
        questions = read_questions(files, benchmark, 200)
        questions.check(task, 3)
        assert {len(questions.examples(q, 3)) for q in questions.test} == {3}


def test_only_examples_are_no_benchmark(tmp_path: Path) -> None:
    write(tmp_path, "exam.jsonl", exam(4))
    with pytest.raises(Invalid, match=r"exam: no question to score in \*; all 4 are few-shot examples"):
        run(context(tmp_path, "exam"), KnowledgeConfig(models=["base"]))


@pytest.mark.parametrize("mode", ["loglikelihood", "generate"])
def test_prompts_over_the_context_are_counted_and_fewer_shots_offered(tmp_path: Path, mode: Any) -> None:
    tiny_model.build(tmp_path / "base")
    write(tmp_path, "exam.jsonl", exam(12, dev=1, long=3))
    message = r"exam: 3 of 11 prompts are longer .* 512 tokens .* at 1 shots; set evaluate\.benchmarks\[\]\.shots lower than 1"
    with pytest.raises(Invalid, match=message):
        run(context(tmp_path, "exam"), KnowledgeConfig(models=["base"], shots=1, mode=mode))


def test_a_dialogue_over_the_context_is_unscored(tmp_path: Path) -> None:
    tiny_model.build(tmp_path / "base")
    turns = [{"role": r, "content": "fever"} for _ in range(2) for r in ("user", "assistant")]
    long = [*turns[:2], {"role": "user", "content": "fever " * 600}, turns[3]]
    rows = [{"lang": "en", "messages": m} for m in (turns, long)]
    write(tmp_path, "d.jsonl", "\n".join(map(json.dumps, rows)).encode())
    told = run_multiturn(
        context(tmp_path, "dialogues_multi"), MultiturnConfig(models=["base"], max_new_tokens=8)
    ).metrics
    assert (told["models"]["base"]["average"]["n"], told["models"]["base"]["average"]["unscored"]) == (3, 1)


def test_a_model_without_turns_is_refused_where_it_would_chat(tmp_path: Path) -> None:
    base = tiny_model.build(tmp_path / "base")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (base / name).read_text("utf-8")
        (base / name).write_text(text.replace("<|im_start|>", "<|begin|>"), "utf-8")
    (base / "chat_template.jinja").unlink(missing_ok=True)
    write(tmp_path, "exam.jsonl", exam(8, dev=1))
    with pytest.raises(Invalid, match=r"no chat template .*set evaluate\.knowledge\.chat: false, or leave base out"):
        run(context(tmp_path, "exam"), KnowledgeConfig(models=["base"], shots=1, chat=True))
    (found,) = run(context(tmp_path, "exam"), KnowledgeConfig(models=["base"], shots=1)).metrics["results"]
    assert found["n"] == 7
    write(tmp_path, "d.jsonl", json.dumps({"lang": "en", "messages": PAIR * 2}).encode())
    with pytest.raises(Invalid, match="leave base out of this evaluation's models"):
        run_multiturn(context(tmp_path, "dialogues_multi", "d.jsonl"), MultiturnConfig(models=["base"]))
