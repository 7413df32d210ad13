"""Stage evaluate/knowledge: multiple-choice accuracy through lm-evaluation-harness (paper, section 5), n-shot, offline.

By log-likelihood the model's answer is the option letter that it finds most likely; by generation it is what `choices.py` reads out of
its words, and words that name no option are counted as invalid. Questions with several right letters are always answered by generation
and are right only when exactly the right set is named.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal

import polars as pl
from pydantic import Field

from aquilamed.annotate.contract import CallError
from aquilamed.config import Config
from aquilamed.evaluate import harness
from aquilamed.evaluate.backends import Backend, open_backend
from aquilamed.evaluate.choices import parse_letters
from aquilamed.evaluate.contamination import leaked_ids
from aquilamed.evaluate.contestants import Contestant, contestants, require_turns
from aquilamed.evaluate.endpoint import Endpoint
from aquilamed.evaluate.kept import Kept
from aquilamed.evaluate.prompts import Sheet, sheets, unturned
from aquilamed.evaluate.statistics import interval, paired, stderr
from aquilamed.evaluate.tasks import TASKS, BenchmarkConfig, Questions, read_questions
from aquilamed.models import ModelConfig
from aquilamed.records import digest, write_json, write_part
from aquilamed.stage import Context, Result

Row = dict[str, Any]


class KnowledgeConfig(Config):
    """Multiple-choice evaluation; the benchmarks are `evaluate.benchmarks`."""

    shots: int = Field(default=3, ge=0)
    """Few-shot examples before every question (the paper's base models: 3)."""
    limit: int | None = Field(default=None, ge=1)
    """Score at most so many questions per benchmark, chosen by seeded hash; null scores all."""
    models: list[str] = ["base", "pretrain", "finetune", "align"]
    """Which models to score: these, as far as the recipe makes them, and names of `evaluate.endpoints`."""
    mode: Literal["loglikelihood", "generate"] = "loglikelihood"
    """The likeliest letter, or letters read out of a generated answer."""
    chat: bool = False
    """Put the prompt into the chat template, as a user's message; base models answer better without. What an endpoint
    generates is always a chat completion."""
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
    for benchmark, questions in benchmarks:
        questions.check(benchmark.task, shots_of(benchmark, config))
    leaked = leaked_ids(ctx)
    results: list[dict[str, Any]] = []
    seconds: list[float] = []
    rows: list[Row] = []
    asked: dict[str, Any] = {}
    for name, contestant in contestants(ctx, config.models).items():
        backend: Backend | None = None
        for number, (benchmark, questions) in enumerate(benchmarks):
            done = ctx.work / "results" / f"{name}-{number}.json"
            if not done.exists():
                backend = backend or _open(ctx, contestant, config)
                ctx.progress.say(f"  {name} on {benchmark.task}: {len(questions.test):,} questions")
                kept = Kept(ctx.work / "predictions" / f"{name}-{number}.jsonl")
                write_json(done, _score(backend, kept, benchmark, questions, config) | {"seconds": kept.seconds})
            part = json.loads(done.read_text("utf-8"))
            mine = [{"model": name, "task": benchmark.task, **row} for row in part["rows"]]
            told = part["result"] | summary(mine, leaked.get(benchmark.task, frozenset()))
            told["hashes"]["model"] = contestant.fingerprint
            results.append(told | {"model": name, "model_fingerprint": contestant.fingerprint})
            seconds.append(round(part["seconds"], 2))
            rows += mine
        if isinstance(backend, Endpoint):
            asked[name] = backend.statistics()
    comparisons = compare(rows)
    write_json(ctx.out / "results.json", {"results": results, "comparisons": comparisons})
    if rows:
        write_part(ctx.out / "predictions" / "part-00000.parquet", pl.DataFrame(rows, infer_schema_length=None))
    # How long it took is in the manifest alone: two runs give equal files.
    timed = [r | {"seconds": s} for r, s in zip(results, seconds, strict=True)]
    return Result({"results": timed, "comparisons": comparisons} | ({"endpoints": asked} if asked else {}))


def _open(ctx: Context, contestant: Contestant, config: KnowledgeConfig) -> Backend:
    if config.chat and isinstance(contestant.model, ModelConfig):
        advice = f"set evaluate.knowledge.chat: false, or leave {contestant.name} out of evaluate.knowledge.models"
        require_turns(contestant.model, advice)
    return open_backend(ctx, contestant.model, config.batch_size)


def _score(
    backend: Backend, kept: Kept, benchmark: BenchmarkConfig, questions: Questions, config: KnowledgeConfig
) -> dict[str, Any]:
    """One model on one benchmark."""
    shots = shots_of(benchmark, config)
    asked = sheets(questions, shots)
    likely = [s for s in asked if _by_likelihood(s, config)]
    backend.check(benchmark.task, likely, shots, config.chat, 1)
    backend.check(benchmark.task, [s for s in asked if s not in likely], shots, config.chat, _room(config))
    rows = _answers(backend, kept, benchmark.task, asked, config)
    if config.turns:
        unturned: set[str] = set()  # a call failed in some order
        for turn, again in list(orders(questions, shots, config))[1:]:
            found = {r["id"]: r for r in _answers(backend, kept, benchmark.task, again, config)}
            for row in rows:
                if other := found.get(row["id"]):
                    row["turned"].append(_original(other["prediction"], len(other["options"]), turn))
                    unturned |= {row["id"]} if other["error"] else set()
        for row in rows:
            row["turned"] = [] if row["id"] in unturned else row["turned"]
    chat = backend.chats(config.mode, config.chat)
    task = TASKS[benchmark.task]
    hashes = {
        "data": digest([[s.question.id, s.question.question, s.question.options] for s in asked]),
        "answers": digest([s.question.answer for s in asked]),
        "prompts": digest([s.prompt for s in asked]),
        "template": digest(backend.template(chat)),
        "task": task.hash,
    }
    result = {
        "task": benchmark.task,
        "lang": task.lang,
        "mode": config.mode,
        "chat": chat,
        "shots": shots,
        "chance": sum(_chance(s) for s in asked) / len(asked) if asked else None,
        "shot_ids": sorted({shot for s in asked for shot in s.shots}),
        "hashes": hashes,
    }
    for row in rows:
        del row["options"]
    return {"result": result, "rows": rows}


def orders(questions: Questions, shots: int, config: KnowledgeConfig) -> Iterator[tuple[int, list[Sheet]]]:
    """(places that the options are turned by, the questions so) for all that a model is asked; the first is as they stand."""
    yield 0, sheets(questions, shots)
    most = max((len(q.options) for q in questions.test), default=0)
    for turn in range(1, most if config.turns else 0):
        yield turn, [s for s in sheets(questions, shots, turn) if turn < len(s.question.options)]


def shots_of(benchmark: BenchmarkConfig, config: KnowledgeConfig) -> int:
    return config.shots if benchmark.shots is None else benchmark.shots


def _by_likelihood(sheet: Sheet, config: KnowledgeConfig) -> bool:
    return len(sheet.question.answer) == 1 and config.mode == "loglikelihood"


def _room(config: KnowledgeConfig) -> int:
    """Tokens of a generated answer."""
    return config.max_new_tokens if config.chat else harness.ANSWER_TOKENS


def ask(
    backend: Backend, kept: Kept | None, task: str, asked: list[Sheet], config: KnowledgeConfig
) -> dict[str, list[float] | str | CallError]:
    """Question id → the log-likelihoods of its letters, or the words of its answer."""
    scored = [s for s in asked if _by_likelihood(s, config)]
    worded = [s for s in asked if not _by_likelihood(s, config)]
    most = config.max_new_tokens if backend.chats("generate", config.chat) else harness.ANSWER_TOKENS
    said = [
        *backend.likelihoods(task, scored, config.chat, kept),
        *backend.generations(task, worded, config.chat, most, kept),
    ]
    return {s.question.id: one for s, one in zip([*scored, *worded], said, strict=True)}


def _answers(backend: Backend, kept: Kept, task: str, asked: list[Sheet], config: KnowledgeConfig) -> list[Row]:
    """A row per question: what the model answers, None where its words name no option; `error` where nothing came."""
    answers = ask(backend, kept, task, asked, config)
    rows = []
    for sheet in asked:
        q = sheet.question
        said = answers[q.id]
        prediction: str | None = None
        if isinstance(said, list):
            prediction = sheet.letters[max(range(len(said)), key=said.__getitem__)]
        elif isinstance(said, str):
            prediction = parse_letters(said, len(q.options), several=len(q.answer) > 1)
        rows.append(
            {
                "id": q.id,
                "origin": q.origin,
                "subject": q.subject,
                "answer": q.answer,
                "prediction": prediction,
                "correct": prediction == q.answer,
                "error": f"{said.kind}: {said.detail}" if isinstance(said, CallError) else None,
                "loglikelihoods": said if isinstance(said, list) else None,
                "text": said if isinstance(said, str) else None,
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

    Returns `n` (questions scored), `accuracy`, `stderr`, `interval` (95 %, bootstrap), `invalid` (answers that name no
    option: wrong, and counted here), `unscored` (an endpoint's calls that failed: in no other figure), `subjects`,
    `leaked` and `clean` (accuracy on questions that a training set holds, and on the others), and `turned` when the
    options were turned: `accuracy` over all orders, `per_order`, and `flipped`, the share of questions whose answer changes.
    """
    scored = [r for r in rows if not r.get("error")]
    subjects: dict[str, list[bool]] = defaultdict(list)
    for row in scored:
        subjects[row["subject"]].append(bool(row["correct"]))
    found = {
        **_accuracy([bool(r["correct"]) for r in scored]),
        "invalid": sum(r["prediction"] is None for r in scored),
        "unscored": len(rows) - len(scored),
        "several": sum(len(r["answer"]) > 1 for r in scored),
        "subjects": {s: _accuracy(v) for s, v in sorted(subjects.items()) if s},
        "leaked": _accuracy([bool(r["correct"]) for r in scored if r["id"] in leaked]),
        "clean": _accuracy([bool(r["correct"]) for r in scored if r["id"] not in leaked]),
    }
    if any(r["turned"] for r in scored):
        found["turned"] = _turned([r for r in scored if r["turned"]])
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
        if not row.get("error"):
            answers[row["task"]][row["model"]][row["id"]] = bool(row["correct"])
    found = []
    for task, models in answers.items():
        for first, second in pairwise(models):
            ids = [i for i in models[first] if i in models[second]]
            result = paired([models[first][i] for i in ids], [models[second][i] for i in ids])
            found.append({"task": task, "model": second, "against": first, **result})
    return found
