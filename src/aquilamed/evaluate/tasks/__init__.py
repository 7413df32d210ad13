"""The benchmarks: one short file each, one line in `TASKS`.

A task's `read` turns its files into `Question`s (kind "choice") or `Dialogue`s with the reference answers (kinds "single"
and "multi"). Questions of split "dev" are few-shot examples; where a benchmark has none, examples are set apart from the
rest by hash and never scored.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, Self

from pydantic import Field, field_validator, model_validator

from aquilamed.config import Config, Invalid
from aquilamed.evaluate.tasks import (
    ceval,
    cmb,
    cmb_clin,
    cmb_exam,
    cmmlu,
    cmtmedqa,
    dialogues,
    exam,
    huatuo,
    medmcqa,
    medqa,
    mmlu,
    pubmedqa,
)
from aquilamed.evaluate.tasks.reading import Files
from aquilamed.records import Dialogue, Question, digest
from aquilamed.stage import Context

Kind = Literal["choice", "single", "multi"]
RESERVED = 5
"""How many questions are set apart as few-shot examples per subject-less benchmark without a dev split."""


@dataclass(frozen=True)
class Task:
    """A row of the table: `read` gets [(logical name, path)]; `lang` is the prompt's language ("" = the question's)."""

    kind: Kind
    lang: str
    read: Callable[[Files], list[Question]] | Callable[[Files], list[Dialogue]]

    @property
    def hash(self) -> str:
        """Of the file that reads it."""
        read = self.read.func if isinstance(self.read, partial) else self.read
        return digest(Path(read.__code__.co_filename).read_text("utf-8"))


TASKS: dict[str, Task] = {
    "mmlu": Task("choice", "en", mmlu.read),
    "ceval": Task("choice", "zh", ceval.read),
    "cmb": Task("choice", "zh", cmb.read),
    "cmb_exam": Task("choice", "zh", cmb_exam.read),
    "cmmlu": Task("choice", "zh", cmmlu.read),
    "mcmle": Task("choice", "zh", medqa.read_mcmle),
    "medqa": Task("choice", "en", medqa.read),
    "medmcqa": Task("choice", "en", medmcqa.read),
    "pubmedqa": Task("choice", "en", pubmedqa.read),
    "exam": Task("choice", "", exam.read),
    "huatuo": Task("single", "zh", huatuo.read),
    "cmtmedqa": Task("multi", "zh", cmtmedqa.read),
    "cmb_clin": Task("multi", "zh", cmb_clin.read),
    "dialogues_single": Task("single", "", dialogues.read_single),
    "dialogues_multi": Task("multi", "", dialogues.read_multi),
}


class BenchmarkConfig(Config):
    """A benchmark of the recipe."""

    task: str
    """Its row in the task table, e.g. mmlu, ceval, cmmlu, cmb, cmb_exam, medqa, mcmle, medmcqa, pubmedqa, exam, huatuo, cmb_clin."""
    path: str
    """Its files: a glob or folder below data_root, or sample://…"""
    answers: str | None = None
    """The file with the answers, where a benchmark publishes them apart (cmb_exam)."""
    limit: int | None = Field(default=None, ge=1)
    """Score at most so many items, chosen by seeded hash; null scores all."""
    shots: int | None = Field(default=None, ge=0)
    """Few-shot examples for this benchmark; null takes knowledge.shots."""

    @field_validator("task")
    @classmethod
    def _known(cls, task: str) -> str:
        if task not in TASKS:
            raise ValueError(f"unknown task {task!r}; known: {', '.join(TASKS)}")
        return task

    @model_validator(mode="after")
    def _needed(self) -> Self:
        if self.answers and self.task != "cmb_exam":
            raise ValueError(f"answers is for the task cmb_exam; the files of {self.task} hold theirs")
        return self

    @property
    def paths(self) -> list[str]:
        """All that it is read from."""
        return [self.path, *([self.answers] if self.answers else [])]

    @property
    def kind(self) -> Kind:
        """choice, single or multi."""
        return TASKS[self.task].kind


@dataclass(frozen=True)
class Questions:
    """What is scored, and the examples that may stand before it (by subject where the benchmark has subjects)."""

    test: list[Question]
    shots: list[Question]

    def examples(self, question: Question, count: int) -> list[Question]:
        """The first `count` fixed examples of the question's subject, else of the benchmark in the question's language.

        Questions with several right letters get examples with several. Where there are not enough of those, the next
        wider choice counts; there may be fewer than `count` in all.
        """
        several = len(question.answer) > 1
        other = [s for s in self.shots if s.id != question.id]
        spoken = [s for s in other if s.lang == question.lang]
        alike = [s for s in spoken if (len(s.answer) > 1) == several]
        choices = [[s for s in alike if s.subject == question.subject], alike, spoken, other]
        return next((c for c in choices if len(c) >= count), other)[:count]

    def check(self, task: str, count: int) -> None:
        """Raises `Invalid` when a question would see fewer than `count` examples: the score would not be what it is called."""
        least = min((len(self.examples(q, count)) for q in self.test), default=count)
        if least < count:
            raise Invalid(
                f"{task}: {count} shots are wanted, and there are {least} examples; set evaluate.benchmarks[].shots to "
                f"{least}, or add questions of the benchmark's dev part"
            )


@dataclass(frozen=True)
class BenchmarkText:
    """A text that must not occur in training data."""

    benchmark: str
    id: str
    text: str


def by_hash(item_id: str, seed: int) -> str:
    """The sort key of every seeded choice of benchmark items."""
    return hashlib.blake2b(f"{seed}\0{item_id}".encode(), digest_size=8).hexdigest()


class Reader(Protocol):
    """Where benchmarks are read from: a stage's `Context`, or what is `Known` before a run."""

    @property
    def seed(self) -> int:
        """Of every choice of items."""
        ...

    def files(self, pattern: str) -> list[tuple[str, Path]]:
        """See `Context.files`."""
        ...


def _read(ctx: Reader, benchmark: BenchmarkConfig) -> list[Question] | list[Dialogue]:
    found = {path: name for pattern in benchmark.paths for name, path in ctx.files(pattern)}
    return TASKS[benchmark.task].read([(name, path) for path, name in found.items()])


def read_questions(ctx: Reader, benchmark: BenchmarkConfig, limit: int | None = None) -> Questions:
    """A multiple-choice benchmark: at most `limit` (or the benchmark's own limit) scored questions, and its examples.

    Raises `Invalid` naming file, line and field of a bad row.
    """
    questions = [q for q in _read(ctx, benchmark) if isinstance(q, Question)]
    shots = [q for q in questions if q.split == "dev"]
    test = sorted((q for q in questions if q.split == "test"), key=lambda q: by_hash(q.id, ctx.seed))
    if not shots:
        for lang in sorted({q.lang for q in test}):
            for several in (False, True):
                alike = [q for q in test if q.lang == lang and (len(q.answer) > 1) == several]
                shots += alike[:RESERVED] if len(alike) > RESERVED or not several else []
        reserved = {q.id for q in shots}
        test = [q for q in test if q.id not in reserved]
    if not test:
        apart = f"; all {len(shots)} are few-shot examples" if shots else ""
        raise Invalid(
            f"{benchmark.task}: no question to score in {benchmark.path}{apart}; check the path and the files"
        )
    most = benchmark.limit if benchmark.limit is not None else limit
    return Questions(sorted(test[:most], key=lambda q: q.id), shots)


def read_dialogues(ctx: Reader, benchmark: BenchmarkConfig, limit: int | None = None) -> list[Dialogue]:
    """A dialogue benchmark's items with their reference answers, chosen by seeded hash when limited."""
    items = [d for d in _read(ctx, benchmark) if isinstance(d, Dialogue)]
    if not items:
        raise Invalid(f"{benchmark.task}: no dialogue in {benchmark.path}; check the path and the files")
    most = benchmark.limit if benchmark.limit is not None else limit
    chosen = sorted(items, key=lambda d: by_hash(d.id, ctx.seed))[:most]
    return sorted(chosen, key=lambda d: d.id)


def benchmark_texts(ctx: Context) -> list[BenchmarkText]:
    """Every item of every benchmark of the recipe as the text to keep out of training data; limits do not apply."""
    texts = []
    for benchmark in ctx.recipe.evaluate.benchmarks:
        for item in _read(ctx, benchmark):
            if isinstance(item, Question):
                if item.split == "test":
                    texts.append(BenchmarkText(benchmark.task, item.id, "\n".join([item.question, *item.options])))
            else:
                asked = "\n".join(m["content"] for m in item.messages if m["role"] == "user")
                texts.append(BenchmarkText(benchmark.task, item.id, asked))
    return texts
