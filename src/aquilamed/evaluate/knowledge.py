"""Stage evaluate/knowledge: multiple-choice accuracy through lm-evaluation-harness (paper, section 5), n-shot, offline.

The prompt is ours and explicit: instruction in the benchmark's language, fixed examples of the same subject, context,
question, options, and a cue; the model's answer is the option letter of highest log-likelihood. Every letter is one
token, so that the harness scores a question in one forward pass.
"""

import contextlib
import io
import json
import logging
import math
import time
from collections import defaultdict
from typing import Any

import polars as pl
from pydantic import Field

from aquilamed.config import Config, Invalid
from aquilamed.evaluate.contestants import ModelName, contestants
from aquilamed.evaluate.tasks import TASKS, BenchmarkConfig, Questions, read_questions
from aquilamed.evaluate.tasks.reading import LETTERS
from aquilamed.models import load_model, load_tokenizer
from aquilamed.records import Question, digest, write_json, write_part
from aquilamed.stage import Context, Result

INSTRUCTION = {
    "en": "The following are multiple-choice questions about medicine. Give the letter of the right answer.",
    "zh": "以下是关于医学的选择题，请给出正确答案的字母。",
}
CUE = {"en": "Answer:", "zh": "答案："}


class KnowledgeConfig(Config):
    """Multiple-choice evaluation; the benchmarks are `evaluate.benchmarks`."""

    shots: int = Field(default=3, ge=0)
    """Few-shot examples before every question (the paper's base models: 3)."""
    limit: int | None = Field(default=None, ge=1)
    """Score at most so many questions per benchmark, chosen by seeded hash; null scores all."""
    models: list[ModelName] = ["base", "pretrain", "finetune", "align"]
    """Which models to score; those that the recipe does not make are left out."""
    batch_size: int = Field(default=8, ge=1)
    """Questions per forward pass."""


def run(ctx: Context, config: KnowledgeConfig) -> Result:
    """Score every model on every multiple-choice benchmark; `results.json`, and one row per question in predictions/.

    Raises `Invalid` when a prompt is longer than a model's context.
    """
    chosen = [b for b in ctx.recipe.evaluate.benchmarks if b.kind == "choice"]
    benchmarks = [(b, read_questions(ctx, b, config.limit)) for b in chosen]
    results, rows = [], []
    for name, (model_config, fingerprint) in contestants(ctx, config.models).items():
        loaded: Any = None
        for number, (benchmark, questions) in enumerate(benchmarks):
            kept = ctx.work / "results" / f"{name}-{number}.json"
            if not kept.exists():
                loaded = loaded or (load_model(model_config), load_tokenizer(model_config))
                ctx.progress.say(f"  {name} on {benchmark.task}: {len(questions.test):,} questions")
                scored = _score(loaded, benchmark, questions, config)
                scored["result"] |= {"model": name, "model_fingerprint": fingerprint}
                write_json(kept, scored)
            part = json.loads(kept.read_text("utf-8"))
            results.append(part["result"])
            rows += [{"model": name, "task": benchmark.task, **row} for row in part["rows"]]
    write_json(ctx.out / "results.json", results)
    if rows:
        write_part(ctx.out / "predictions" / "part-00000.parquet", pl.DataFrame(rows, infer_schema_length=None))
    return Result({"results": results})


def prompt(question: Question, examples: list[Question]) -> str:
    """The text before the answer letter."""
    blocks = [INSTRUCTION[question.lang if question.lang in INSTRUCTION else "en"]]
    blocks += [f"{_block(e)} {e.answer}" for e in examples]
    blocks.append(_block(question))
    return "\n\n".join(blocks)


def _block(question: Question) -> str:
    lines = [question.context] if question.context else []
    lines.append(question.question)
    lines += [f"{letter}. {option}" for letter, option in zip(LETTERS, question.options, strict=False)]
    lines.append(CUE[question.lang if question.lang in CUE else "en"])
    return "\n".join(lines)


def _score(loaded: Any, benchmark: BenchmarkConfig, questions: Questions, config: KnowledgeConfig) -> dict[str, Any]:
    """One model on one benchmark."""
    started = time.perf_counter()
    model, tokenizer = loaded
    shots = config.shots if benchmark.shots is None else benchmark.shots
    single, docs = documents(questions, shots)
    _check_length(docs, model, tokenizer, benchmark.task, shots)
    found = likelihoods(_open(model, tokenizer, config.batch_size), benchmark.task, docs) if docs else {}
    rows = []
    for q, doc in zip(single, docs, strict=True):
        values = found[q.id]
        guess = max(range(len(values)), key=values.__getitem__)
        rows.append(
            {
                "id": q.id,
                "origin": q.origin,
                "subject": q.subject,
                "answer": q.answer,
                "prediction": LETTERS[guess],
                "correct": guess == doc["gold"],
                "loglikelihoods": values,
            }
        )
    result = _summary(rows) | {
        "task": benchmark.task,
        "lang": TASKS[benchmark.task].lang,
        "shots": shots,
        "chance": sum(1 / len(q.options) for q in single) / len(single) if single else None,
        "unsupported": len(questions.test) - len(single),  # several right answers: not to be told by one letter
        "shot_ids": sorted({shot for d in docs for shot in d["shots"]}),
        "hashes": {"prompts": digest([d["prompt"] for d in docs]), "answers": digest([d["gold"] for d in docs])},
        "seconds": round(time.perf_counter() - started, 2),
    }
    return {"result": result, "rows": rows}


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """n, accuracy, its standard error, and accuracy per subject; accuracy is None without questions."""
    n = len(rows)
    if not n:
        return {"n": 0, "accuracy": None, "stderr": None, "subjects": {}}
    accuracy = sum(r["correct"] for r in rows) / n
    subjects: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        subjects[row["subject"]].append(row["correct"])
    return {
        "n": n,
        "accuracy": accuracy,
        "stderr": math.sqrt(accuracy * (1 - accuracy) / (n - 1)) if n > 1 else None,
        "subjects": {s: {"n": len(v), "accuracy": sum(v) / len(v)} for s, v in sorted(subjects.items()) if s},
    }


def _check_length(docs: list[dict[str, Any]], model: Any, tokenizer: Any, task: str, shots: int) -> None:
    limit = model.config.max_position_embeddings
    lengths = [len(ids) for ids in tokenizer([d["prompt"] for d in docs])["input_ids"]] if docs else []
    over = sum(length + 1 > limit for length in lengths)
    if over:
        raise Invalid(
            f"{task}: {over} of {len(docs)} prompts are longer than the model's context of {limit} tokens "
            f"(longest {max(lengths)}) at {shots} shots; set evaluate.benchmarks[].shots lower"
        )


def documents(questions: Questions, shots: int) -> tuple[list[Question], list[dict[str, Any]]]:
    """The questions with one right letter, and the harness' document of each."""
    single = [q for q in questions.test if len(q.answer) == 1]
    docs = []
    for q in single:
        examples = [e for e in questions.examples(q, shots) if e.id != q.id]
        docs.append(
            {
                "id": q.id,
                "prompt": prompt(q, examples),
                "choices": [f" {letter}" for letter in LETTERS[: len(q.options)]],
                "gold": LETTERS.index(q.answer),
                "shots": [e.id for e in examples],
            }
        )
    return single, docs


def _open(model: Any, tokenizer: Any, batch_size: int) -> Any:
    """The model as the harness sees it."""
    from aquilamed.evaluate.shared_prefix import SharedPrefixLM

    length = model.config.max_position_embeddings
    return SharedPrefixLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, max_length=length)


def likelihoods(lm: Any, task: str, docs: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Log-likelihood of every option letter, per question id, from lm-evaluation-harness.

    Args:
        lm: a model class of the harness.
    """
    import datasets
    import lm_eval
    from lm_eval.api.task import ConfigurableTask

    class LocalTask(ConfigurableTask):  # type: ignore[misc]
        """A harness task on questions in memory: nothing is downloaded."""

        def download(self, dataset_kwargs: Any = None, **kwargs: Any) -> None:
            self.dataset = datasets.DatasetDict({"test": datasets.Dataset.from_list(docs)})

    harness_task = LocalTask(
        config={
            "task": f"aquilamed_{task}",
            "output_type": "multiple_choice",
            "test_split": "test",
            "doc_to_text": "prompt",
            "doc_to_choice": "choices",
            "doc_to_target": "gold",
            "target_delimiter": "",
            "num_fewshot": 0,  # the examples are in the prompt: fixed, and named in the result
            "metadata": {"version": 1},
        }
    )

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    with contextlib.redirect_stderr(io.StringIO()):  # the harness draws bars that cannot be switched off
        output = lm_eval.simple_evaluate(
            model=lm,
            tasks=[harness_task],
            bootstrap_iters=0,
            log_samples=True,
            random_seed=0,
            numpy_random_seed=0,
            torch_random_seed=0,
        )
    (samples,) = output["samples"].values()
    return {s["doc"]["id"]: [float(r[0]) for r in s["filtered_resps"]] for s in samples}
