"""The harness' scores equal a direct computation; what cannot be scored is said, not counted as wrong."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import tiny_model
from aquilamed.config import Invalid
from aquilamed.evaluate.choices import parse_letters
from aquilamed.evaluate.knowledge import KnowledgeConfig, compare, run, summary
from aquilamed.evaluate.prompts import prompt, turned, unturned
from aquilamed.evaluate.tasks import BenchmarkConfig, read_questions
from aquilamed.models import ModelConfig, load_model, load_tokenizer
from aquilamed.records import read_parts


def question(number: int, answer: str = "B", **more: str) -> dict:
    return {
        "id": f"q{number}",
        "lang": "zh" if number % 2 else "en",
        "topic": "cardiology",
        "question": f"{'问题' if number % 2 else 'Question'} {number}: which sign goes with fever?",
        "options": {"A": "heart", "B": "water", "C": "发热", "D": "oxygen"},
        "answer": answer,
        "rationale": "",
        "split": "test",
        **more,
    }


def stage(tmp_path: Path, rows: list[dict], name: str = "out") -> SimpleNamespace:
    (tmp_path / "exam.jsonl").write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    base = tmp_path / "base"
    if not base.exists():
        tiny_model.build(base)
    ctx = tiny_model.context(tmp_path, base, {}, name)
    benchmark = BenchmarkConfig(task="exam", path="exam.jsonl")
    ctx.recipe.evaluate.benchmarks = [benchmark]
    ctx.recipe.data_folder = lambda: tmp_path
    return ctx


def test_predictions_are_those_of_a_direct_forward_pass(tmp_path: Path) -> None:
    ctx = stage(tmp_path, [question(n, "ABCD"[n % 4]) for n in range(20)] + [question(20, "AC")])
    (result,) = run(ctx, KnowledgeConfig(shots=1, batch_size=4)).metrics["results"]
    assert (result["n"], result["several"], result["shots"]) == (11, 1, 1)
    assert result["chance"] == pytest.approx((10 / 4 + 1 / 11) / 11)  # 11 sets of two or more of four options
    config = ModelConfig(path=str(tmp_path / "base"))
    model, tokenizer = load_model(config), load_tokenizer(config)
    questions = read_questions(ctx, ctx.recipe.evaluate.benchmarks[0])
    rows = {r["id"]: r for r in read_parts(ctx.out / "predictions").to_dicts()}
    right = 0
    several = next(q for q in questions.test if len(q.answer) > 1)
    assert rows[several.id]["loglikelihoods"] is None
    assert rows[several.id]["prediction"] == parse_letters(rows[several.id]["text"], 4, several=True)
    assert result["invalid"] == (rows[several.id]["prediction"] is None)
    for q in (q for q in questions.test if len(q.answer) == 1):
        text = prompt(q, questions.examples(q, 1))
        head = tokenizer(text)["input_ids"]
        for number, letter in enumerate("ABCD"):
            ids = tokenizer(f"{text} {letter}")["input_ids"]
            with torch.no_grad():
                logs = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
            likelihood = sum(float(logs[p - 1, ids[p]]) for p in range(len(head), len(ids)))
            assert rows[q.id]["loglikelihoods"][number] == pytest.approx(likelihood, abs=1e-3)
        right += rows[q.id]["correct"]
    assert result["accuracy"] == (right + rows[several.id]["correct"]) / 11
    low, high = result["interval"]
    assert low <= result["accuracy"] <= high
    assert set(result["shot_ids"]) <= {s.id for s in questions.shots}


def test_two_runs_are_identical_and_a_finished_benchmark_is_not_scored_again(tmp_path: Path) -> None:
    rows = [question(n) for n in range(14)]
    first = stage(tmp_path, rows)
    run(first, KnowledgeConfig(shots=0))
    second = stage(tmp_path, rows, "again")
    run(second, KnowledgeConfig(shots=0))
    one, two = ((c.out / "predictions" / "part-00000.parquet").read_bytes() for c in (first, second))
    assert one == two
    kept = second.work / "results" / "base-0.json"
    kept.write_text(kept.read_text().replace('"task": "exam"', '"task": "kept"'))
    assert run(second, KnowledgeConfig(shots=0)).metrics["results"][0]["task"] == "kept"


def test_a_prompt_over_the_context_is_refused(tmp_path: Path) -> None:
    rows = [question(n) for n in range(14)]
    rows[3]["question"] = "fever " * 600
    rows[8]["question"] = "fever " * 600
    with pytest.raises(Invalid, match=r"prompts are longer than the model's context of 512 tokens"):
        run(stage(tmp_path, rows), KnowledgeConfig(shots=0))


def test_turned_options_keep_their_answer(tmp_path: Path) -> None:
    ctx = stage(tmp_path, [question(n, "ABCD"[n % 4]) for n in range(16)])
    asked = read_questions(ctx, ctx.recipe.evaluate.benchmarks[0]).test
    assert asked
    for q in asked:
        right = q.options["ABCD".index(q.answer)]
        for places in range(4):
            shown = turned(q, places)
            assert shown.options["ABCD".index(shown.answer)] == right
            assert unturned(shown.answer, 4, places) == q.answer


def test_every_order_of_the_options_is_asked(tmp_path: Path) -> None:
    ctx = stage(tmp_path, [question(n, "ABCD"[n % 4]) for n in range(14)])
    (result,) = run(ctx, KnowledgeConfig(shots=0, turns=True)).metrics["results"]
    rows = read_parts(ctx.out / "predictions").to_dicts()
    answers = [[r["prediction"], *r["turned"]] for r in rows]
    assert all(len(a) == 4 for a in answers)
    assert result["turned"]["per_order"][0] == result["accuracy"]
    assert result["turned"]["flipped"] == sum(len(set(a)) > 1 for a in answers) / len(answers)


def test_a_generated_answer_counts_only_when_it_names_an_option(tmp_path: Path) -> None:
    ctx = stage(tmp_path, [question(n, "ABCD"[n % 4]) for n in range(14)])
    config = KnowledgeConfig(shots=0, mode="generate", chat=True, max_new_tokens=8)
    (result,) = run(ctx, config).metrics["results"]
    rows = read_parts(ctx.out / "predictions").to_dicts()
    assert [r["prediction"] for r in rows] == [parse_letters(r["text"], 4) for r in rows]
    assert result["invalid"] == sum(r["prediction"] is None for r in rows)
    assert result["n"] == len(rows)


def row(number: int, model: str, correct: bool, prediction: str | None = "A") -> dict:
    found = {"id": f"q{number}", "task": "exam", "model": model, "subject": "s", "answer": "A"}
    return found | {"prediction": prediction, "correct": correct, "turned": []}


def test_leaked_questions_stand_beside_the_others() -> None:
    rows = [row(n, "base", n < 3, None if n == 9 else "A") for n in range(10)]
    found = summary(rows, frozenset({"q0", "q1", "q9"}))
    assert (found["leaked"]["n"], found["leaked"]["accuracy"]) == (3, 2 / 3)
    assert (found["clean"]["n"], found["clean"]["accuracy"]) == (7, 1 / 7)
    assert found["invalid"] == 1
    assert found["subjects"]["s"]["n"] == 10


def test_models_are_compared_on_the_same_questions() -> None:
    rows = [row(n, "base", n < 3) for n in range(10)] + [row(n, "align", n < 5) for n in range(10)]
    (found,) = compare(rows)
    assert (found["model"], found["against"], found["gained"], found["lost"]) == ("align", "base", 2, 0)
    assert found["difference"] == pytest.approx(0.2)
    assert found["noise"]
