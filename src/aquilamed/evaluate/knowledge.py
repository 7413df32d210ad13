"""Stage evaluate/knowledge: multiple-choice accuracy through lm-evaluation-harness (paper, section 5), n-shot, offline.

By log-likelihood the model's answer is the option letter that it finds most likely; by generation it is what `choices.py` reads out of
its words, and words that name no option are counted as invalid. Questions with several right letters are always answered by generation
and are right only when exactly the right set is named.
"""

import json
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import Field

from aquilamed.config import Config, Invalid
from aquilamed.evaluate import harness
from aquilamed.evaluate.choices import parse_letters
from aquilamed.evaluate.contestants import ModelName, contestants
from aquilamed.evaluate.prompts import Sheet, sheets, unturned
from aquilamed.evaluate.statistics import interval, paired, stderr
from aquilamed.evaluate.tasks import TASKS, BenchmarkConfig, Questions, read_questions
from aquilamed.models import chat_template, load_model, load_tokenizer, prompt_ids
from aquilamed.records import digest, write_json, write_part
from aquilamed.stage import Context, Result

Row = dict[str, Any]


class KnowledgeConfig(Config):
    """Multiple-choice evaluation; the benchmarks are `evaluate.benchmarks`."""

    shots: int = Field(default=3, ge=0)
    """Few-shot examples before every question (the paper's base models: 3)."""
    limit: int | None = Field(default=None, ge=1)
    """Score at most so many questions per benchmark, chosen by seeded hash; null scores all."""
    models: list[ModelName] = ["base", "pretrain", "finetune", "align"]
    """Which models to score; those that the recipe does not make are left out."""
    mode: Literal["loglikelihood", "generate"] = "loglikelihood"
    """The likeliest letter, or letters read out of a generated answer."""
    chat: bool = False
    """Put the prompt into the chat template, as a user's message; base models answer better without."""
    max_new_tokens: int = Field(default=256, ge=1)
    """Length of a generated answer with `chat`; without, an answer is one line."""
    turns: bool = False
    """Ask every question once per order of its options, turned in a circle: how far does the order decide?"""
    batch_size: int = Field(default=8, ge=1)
    """Questions per forward pass."""


def run(ctx: Context, config: KnowledgeConfig) -> Result:
    """Score every model on every multiple-choice benchmark; `results.json`, and one row per question in predictions/.

    Raises `Invalid` when a prompt is longer than a model's context.
    """
    chosen = [b for b in ctx.recipe.evaluate.benchmarks if b.kind == "choice"]
    benchmarks = [(b, read_questions(ctx, b, config.limit)) for b in chosen]
    leaked = _leaked(ctx)
    results: list[dict[str, Any]] = []
    rows: list[Row] = []
    for name, (model_config, fingerprint) in contestants(ctx, config.models).items():
        loaded: Any = None
        for number, (benchmark, questions) in enumerate(benchmarks):
            kept = ctx.work / "results" / f"{name}-{number}.json"
            if not kept.exists():
                loaded = loaded or (load_model(model_config), load_tokenizer(model_config))
                ctx.progress.say(f"  {name} on {benchmark.task}: {len(questions.test):,} questions")
                write_json(kept, _score(loaded, benchmark, questions, config))
            part = json.loads(kept.read_text("utf-8"))
            mine = [{"model": name, "task": benchmark.task, **row} for row in part["rows"]]
            results.append(
                part["result"]
                | summary(mine, leaked.get(benchmark.task, frozenset()))
                | {"model": name, "model_fingerprint": fingerprint}
            )
            rows += mine
    comparisons = compare(rows)
    write_json(ctx.out / "results.json", {"results": results, "comparisons": comparisons})
    if rows:
        write_part(ctx.out / "predictions" / "part-00000.parquet", pl.DataFrame(rows, infer_schema_length=None))
    return Result({"results": results, "comparisons": comparisons})


def _score(loaded: Any, benchmark: BenchmarkConfig, questions: Questions, config: KnowledgeConfig) -> dict[str, Any]:
    """One model on one benchmark."""
    started = time.perf_counter()
    model, tokenizer = loaded
    shots = config.shots if benchmark.shots is None else benchmark.shots
    asked = sheets(questions, shots)
    _check_length(asked, loaded, benchmark.task, shots, config.chat)
    lm = harness.open_model(model, tokenizer, config.batch_size)
    rows = _answers(lm, benchmark.task, asked, config)
    if config.turns:
        most = max((len(q.options) for q in questions.test), default=0)
        for turn in range(1, most):
            again = [s for s in sheets(questions, shots, turn) if turn < len(s.question.options)]
            found = {r["id"]: r for r in _answers(lm, benchmark.task, again, config)}
            for row in rows:
                if other := found.get(row["id"]):
                    row["turned"].append(_original(other["prediction"], len(other["options"]), turn))
    template = chat_template(tokenizer) if config.chat else ""
    hashes = {
        "prompts": digest([s.prompt for s in asked]),
        "answers": digest([s.question.answer for s in asked]),
        "template": digest(template),
        "task": digest(Path(TASKS[benchmark.task].read.__code__.co_filename).read_text("utf-8")),
    }
    result = {
        "task": benchmark.task,
        "lang": TASKS[benchmark.task].lang,
        "mode": config.mode,
        "chat": config.chat,
        "shots": shots,
        "chance": sum(_chance(s) for s in asked) / len(asked) if asked else None,
        "shot_ids": sorted({shot for s in asked for shot in s.shots}),
        "hashes": hashes,
        "seconds": round(time.perf_counter() - started, 2),
    }
    for row in rows:
        del row["options"]
    return {"result": result, "rows": rows}


def _answers(lm: Any, task: str, asked: list[Sheet], config: KnowledgeConfig) -> list[Row]:
    """A row per question: what the model answers, None where its words name no option."""
    scored = [s for s in asked if len(s.question.answer) == 1 and config.mode == "loglikelihood"]
    values = dict(zip((s.question.id for s in scored), harness.likelihoods(lm, task, scored, config.chat), strict=True))
    worded = [s for s in asked if s.question.id not in values]
    most = config.max_new_tokens if config.chat else harness.ANSWER_TOKENS
    texts = dict(
        zip((s.question.id for s in worded), harness.generations(lm, task, worded, config.chat, most), strict=True)
    )
    rows = []
    for sheet in asked:
        q = sheet.question
        if q.id in values:
            best = max(range(len(values[q.id])), key=values[q.id].__getitem__)
            prediction: str | None = sheet.letters[best]
        else:
            prediction = parse_letters(texts[q.id], len(q.options), several=len(q.answer) > 1)
        rows.append(
            {
                "id": q.id,
                "origin": q.origin,
                "subject": q.subject,
                "answer": q.answer,
                "prediction": prediction,
                "correct": prediction == q.answer,
                "loglikelihoods": values.get(q.id),
                "text": texts.get(q.id),
                "turned": [],
                "options": q.options,
            }
        )
    return rows


def _chance(sheet: Sheet) -> float:
    """What guessing gives: one option, or one of the sets of two and more options."""
    n = len(sheet.question.options)
    return 1 / n if len(sheet.question.answer) == 1 else 1 / (2**n - n - 1)


def _original(prediction: str | None, count: int, turn: int) -> str | None:
    """An answer's letters in the original order of the options."""
    return None if prediction is None else "".join(sorted(unturned(letter, count, turn) for letter in prediction))


def summary(rows: list[Row], leaked: frozenset[str] = frozenset()) -> dict[str, Any]:
    """What a model's rows on one benchmark say; accuracies are None without questions.

    Returns `n`, `accuracy`, `stderr`, `interval` (95 %, bootstrap), `invalid` (answers that name no option), `subjects`,
    `leaked` and `clean` (accuracy on questions that a training set holds, and on the others), and `turned` when the
    options were turned: `accuracy` over all orders, `per_order`, and `flipped`, the share of questions whose answer changes.
    """
    correct = [bool(r["correct"]) for r in rows]
    subjects: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        subjects[row["subject"]].append(bool(row["correct"]))
    found = {
        **_accuracy(correct),
        "invalid": sum(r["prediction"] is None for r in rows),
        "several": sum(len(r["answer"]) > 1 for r in rows),
        "subjects": {s: _accuracy(v) for s, v in sorted(subjects.items()) if s},
        "leaked": _accuracy([bool(r["correct"]) for r in rows if r["id"] in leaked]),
        "clean": _accuracy([bool(r["correct"]) for r in rows if r["id"] not in leaked]),
    }
    if any(r["turned"] for r in rows):
        found["turned"] = _turned(rows)
    return found


def _accuracy(correct: list[bool]) -> dict[str, Any]:
    n = len(correct)
    accuracy = sum(correct) / n if n else None
    return {"n": n, "accuracy": accuracy, "stderr": stderr(correct), "interval": interval([float(c) for c in correct])}


def _turned(rows: list[Row]) -> dict[str, Any]:
    answers = [[r["prediction"], *r["turned"]] for r in rows]
    orders = max(map(len, answers))
    per_order = []
    for order in range(orders):
        asked = [(a[order], r["answer"]) for a, r in zip(answers, rows, strict=True) if order < len(a)]
        per_order.append(sum(said == right for said, right in asked) / len(asked))
    right = [said == r["answer"] for a, r in zip(answers, rows, strict=True) for said in a]
    return {
        "accuracy": sum(right) / len(right),
        "per_order": per_order,
        "flipped": sum(len(set(a)) > 1 for a in answers) / len(answers),
    }


def compare(rows: list[Row]) -> list[dict[str, Any]]:
    """Each model against the one before it on the same questions (see `statistics.paired`), per benchmark."""
    answers: dict[str, dict[str, dict[str, bool]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        answers[row["task"]][row["model"]][row["id"]] = bool(row["correct"])
    found = []
    for task, models in answers.items():
        for first, second in pairwise(models):
            ids = [i for i in models[first] if i in models[second]]
            result = paired([models[first][i] for i in ids], [models[second][i] for i in ids])
            found.append({"task": task, "model": second, "against": first, **result})
    return found


def _leaked(ctx: Context) -> dict[str, frozenset[str]]:
    """Benchmark → ids of the questions that evaluate/contamination found in a training set."""
    if "evaluate/contamination" not in ctx.inputs:
        return {}
    table = json.loads((ctx.inputs["evaluate/contamination"].path / "leaked.json").read_text("utf-8"))
    return {task: frozenset(ids) for task, ids in table.items()}


def _check_length(asked: list[Sheet], loaded: Any, task: str, shots: int, chat: bool) -> None:
    model, tokenizer = loaded
    limit = model.config.max_position_embeddings
    if chat:
        lengths = [len(prompt_ids(tokenizer, [{"role": "user", "content": s.prompt}])) for s in asked]
    else:
        lengths = [len(ids) for ids in tokenizer([s.prompt for s in asked])["input_ids"]] if asked else []
    over = sum(length + 1 > limit for length in lengths)
    if over:
        raise Invalid(
            f"{task}: {over} of {len(asked)} prompts are longer than the model's context of {limit} tokens "
            f"(longest {max(lengths)}) at {shots} shots; set evaluate.benchmarks[].shots lower"
        )
