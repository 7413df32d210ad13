"""Stage prefer/objective: truth against a wrong option (paper, section 4, against the "alignment tax").

For a question with a known answer, chosen states the truth and rejected one of the other options, drawn by seeded hash. Of
several right options the rejected answer has one exchanged for a wrong one: as many letters on both sides.

Both answers are worded alike, so that nothing but the option tells them apart: a rationale stands behind both. Behind a
wrong option it contradicts that option, which is one more reason to reject it; on the chosen side alone it would teach
that longer is better.
"""

import hashlib
from collections import Counter
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from aquilamed.config import Config, Invalid
from aquilamed.corpus.decontaminate import DecontaminateConfig, build_index, leaks
from aquilamed.evaluate.tasks import benchmark_texts
from aquilamed.evaluate.tasks.reading import LETTERS
from aquilamed.prefer.pairs import write_pairs
from aquilamed.records import Question, record_id
from aquilamed.sources.files import BadRecord
from aquilamed.sources.licenses import of_sources, stated
from aquilamed.sources.questions import QuestionSource, read_source
from aquilamed.sources.source import distinct_names
from aquilamed.stage import Context, Result

Style = Literal["letter", "letter_text", "rationale"]
INSTRUCTION = {
    "en": "Answer this multiple-choice question with the right option.",
    "zh": "请选出下面这道选择题的正确答案。",
}
SEVERAL = {
    "en": "More than one option of this multiple-choice question is right. Name all right options.",
    "zh": "下面这道多选题有不止一个正确选项，请选出所有正确答案。",
}


class ObjectiveConfig(Config):
    """Pairs from questions with a known answer."""

    questions: list[QuestionSource] = Field(min_length=1)
    """The questions; never a benchmark's."""
    splits: list[str] = ["train"]
    """Which splits are used; CMB-Exam's published questions count as train."""
    limit: int = Field(default=3708, ge=1)
    """How many pairs, chosen by seeded hash (the paper: 3,708)."""
    styles: list[Style] = Field(default=["letter", "letter_text", "rationale"], min_length=1)
    """How the answers are worded; each question gets one, by seeded hash. Without a rationale: letter and text."""
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    """How overlap with the benchmarks is found."""

    @model_validator(mode="after")
    def _names(self) -> Self:
        distinct_names(self.questions)
        return self


def run(ctx: Context, config: ObjectiveConfig) -> Result:
    """Kept: pairs. Dropped: what is no sound question, and questions that overlap a benchmark, repeat another, have no wrong
    option, or exceed the limit. Metrics: also `licenses`, name → url, redistribute and note.

    Raises `Invalid` when there is no question of these splits.
    """
    read = [(s, q) for s in config.questions for q in read_source(s, ctx.files(s.path))]
    questions = [q for _, q in read if isinstance(q, Question) and q.split in config.splits]
    unread = [_unread(s, q) for s, q in read if isinstance(q, BadRecord)]
    if not questions:
        first = f"; the first unusable one: {unread[0]['detail']}" if unread else ""
        paths = ", ".join(s.path for s in config.questions)
        raise Invalid(f"prefer.objective: no question of split {', '.join(config.splits)} in {paths}{first}")
    questions.sort(key=lambda q: _hash(ctx.seed, "order", q.id))
    texts = ["\n".join([q.question, *q.options]) for q in questions]
    overlaps = leaks(texts, build_index(benchmark_texts(ctx), config.decontaminate))
    records, seen, styles, letters, several = [], set[str](), Counter[str](), Counter[str](), 0
    for question, text, overlap in zip(questions, texts, overlaps, strict=True):
        reason, detail = None, None
        if overlap:
            reason, detail = "objective.benchmark_overlap", str(overlap)
        elif text in seen:
            reason, detail = "objective.duplicate", "the same question and options came before"
        elif len(question.answer) == len(question.options):
            reason, detail = "objective.no_wrong_option", f"all options, {question.answer}, are right"
        elif sum(styles.values()) >= config.limit:
            reason, detail = "objective.over_limit", f"{config.limit} pairs are enough"
        seen.add(text)
        record, style = _pair(question, config, ctx.seed)
        records.append(record | {"reason": reason, "detail": detail})
        if reason is None:
            styles[style] += 1
            letters.update(question.answer)
            several += len(question.answer) > 1
    records += unread
    kept = write_pairs(ctx, records)
    metrics = {
        "pairs": kept.height,
        "languages": dict(sorted(kept["lang"].value_counts().iter_rows())),
        "styles": dict(sorted(styles.items())),
        "answer_letters": dict(sorted(letters.items())),
        "several_answers": several,
        "licenses": stated(of_sources(config.questions)),
    }
    return Result(metrics, records_in=len(records))


def _unread(source: QuestionSource, bad: BadRecord) -> dict[str, Any]:
    """What could not be read, as a dropped pair without words; the detail names file and line."""
    return {
        "id": record_id("objective", record_id(source.name, bad.origin)),
        "source": source.name,
        "license": source.terms().name,
        "origin": bad.origin,
        "kind": "objective",
        "lang": "",
        "prompt": [],
        "chosen": [],
        "rejected": [],
        "margin": 0.0,
        "reason": bad.reason,
        "detail": bad.detail,
    }


def _hash(seed: int, what: str, record: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{what}\0{record}".encode(), digest_size=8).digest(), "big")


def _pair(question: Question, config: ObjectiveConfig, seed: int) -> tuple[dict[str, Any], Style]:
    letters = LETTERS[: len(question.options)]
    style = config.styles[_hash(seed, "style", question.id) % len(config.styles)]
    if style == "rationale" and not question.rationale:
        style = "letter_text"
    options = "\n".join(f"{letter}. {option}" for letter, option in zip(letters, question.options, strict=True))
    instructions = INSTRUCTION if len(question.answer) == 1 else SEVERAL
    instruction = instructions[question.lang if question.lang in instructions else "en"]
    prompt = "\n".join(filter(None, [instruction, question.context, question.question, options]))
    record = {
        "id": record_id("objective", question.id),
        "source": question.source,
        "license": question.license,
        "origin": question.origin,
        "kind": "objective",
        "lang": question.lang,
        "prompt": [{"role": "user", "content": prompt}],
        "chosen": [{"role": "assistant", "content": _wording(question, question.answer, style)}],
        "rejected": [{"role": "assistant", "content": _wording(question, _wrong(question, letters, seed), style)}],
        "margin": 1.0,
    }
    return record, style


def _wrong(question: Question, letters: str, seed: int) -> str:
    """The answer with one of its letters exchanged for a wrong one (the answer itself where every option is right)."""
    wrong = [letter for letter in letters if letter not in question.answer]
    if not wrong:
        return question.answer
    out = question.answer[_hash(seed, "out", question.id) % len(question.answer)]
    into = wrong[_hash(seed, "wrong", question.id) % len(wrong)]
    return "".join(sorted(question.answer.replace(out, into)))


def _wording(question: Question, answer: str, style: Style) -> str:
    if style == "letter":
        return answer
    stated = "\n".join(f"{letter}. {question.options[LETTERS.index(letter)]}" for letter in answer)
    return f"{stated}\n{question.rationale}" if style == "rationale" else stated
