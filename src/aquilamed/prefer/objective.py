"""Stage prefer/objective: truth against a wrong option (paper, section 4, against the "alignment tax").

For a question with a known answer, chosen states the truth and rejected one of the other options, drawn by seeded hash.
"""

import hashlib
from collections import Counter
from typing import Any, Literal

from pydantic import Field

from aquilamed.config import Config, Invalid
from aquilamed.corpus.decontaminate import DecontaminateConfig, build_index, leaks
from aquilamed.evaluate.tasks import benchmark_texts
from aquilamed.evaluate.tasks.reading import LETTERS
from aquilamed.prefer.pairs import write_pairs
from aquilamed.records import Question, record_id
from aquilamed.sources.questions import read_exam
from aquilamed.stage import Context, Result

Style = Literal["letter", "letter_text", "rationale"]
INSTRUCTION = {
    "en": "Answer this multiple-choice question with the right option.",
    "zh": "请选出下面这道选择题的正确答案。",
}


class ObjectiveConfig(Config):
    """Pairs from questions with a known answer."""

    questions: list[str] = Field(min_length=1)
    """Files of questions in the exam form (below data_root, or sample://…); never a benchmark."""
    splits: list[str] = ["train"]
    """Which splits of those files are used."""
    limit: int = Field(default=3708, ge=1)
    """How many pairs, chosen by seeded hash (the paper: 3,708)."""
    styles: list[Style] = Field(default=["letter", "letter_text", "rationale"], min_length=1)
    """How the answers are worded; each question gets one, by seeded hash. Without a rationale: letter and text."""
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    """How overlap with the benchmarks is found."""


def run(ctx: Context, config: ObjectiveConfig) -> Result:
    """Kept: pairs. Dropped: questions that overlap a benchmark, repeat another, have several answers, or exceed the limit."""
    names = [named for pattern in config.questions for named in ctx.files(pattern)]
    questions = [q for name, path in names for q in read_exam(path, name) if q.split in config.splits]
    if not questions:
        raise Invalid(
            f"prefer.objective: no question of split {', '.join(config.splits)} in {', '.join(config.questions)}"
        )
    questions.sort(key=lambda q: _hash(ctx.seed, "order", q.id))
    texts = ["\n".join([q.question, *q.options]) for q in questions]
    overlaps = leaks(texts, build_index(benchmark_texts(ctx), config.decontaminate))
    records, seen, styles, letters = [], set[str](), Counter[str](), Counter[str]()
    for question, text, overlap in zip(questions, texts, overlaps, strict=True):
        reason, detail = None, None
        if overlap:
            reason, detail = "objective.benchmark_overlap", str(overlap)
        elif text in seen:
            reason, detail = "objective.duplicate", "the same question and options came before"
        elif len(question.answer) != 1:
            reason, detail = "objective.several_answers", f"the answer is {question.answer}"
        elif sum(styles.values()) >= config.limit:
            reason, detail = "objective.over_limit", f"{config.limit} pairs are enough"
        seen.add(text)
        record, style = _pair(question, config, ctx.seed)
        records.append(record | {"reason": reason, "detail": detail})
        if reason is None:
            styles[style] += 1
            letters[question.answer] += 1
    kept = write_pairs(ctx, records)
    metrics = {
        "pairs": kept.height,
        "languages": dict(sorted(kept["lang"].value_counts().iter_rows())),
        "styles": dict(sorted(styles.items())),
        "answer_letters": dict(sorted(letters.items())),
    }
    return Result(metrics, records_in=len(records))


def _hash(seed: int, what: str, record: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{what}\0{record}".encode(), digest_size=8).digest(), "big")


def _pair(question: Question, config: ObjectiveConfig, seed: int) -> tuple[dict[str, Any], Style]:
    letters = LETTERS[: len(question.options)]
    wrong = [letter for letter in letters if letter not in question.answer]
    style = config.styles[_hash(seed, "style", question.id) % len(config.styles)]
    if style == "rationale" and not question.rationale:
        style = "letter_text"
    rejected = wrong[_hash(seed, "wrong", question.id) % len(wrong)] if wrong else question.answer
    options = "\n".join(f"{letter}. {option}" for letter, option in zip(letters, question.options, strict=True))
    instruction = INSTRUCTION[question.lang if question.lang in INSTRUCTION else "en"]
    prompt = "\n".join(filter(None, [instruction, question.context, question.question, options]))
    record = {
        "id": record_id("objective", question.id),
        "source": question.source,
        "license": question.license,
        "origin": question.origin,
        "kind": "objective",
        "lang": question.lang,
        "prompt": [{"role": "user", "content": prompt}],
        "chosen": [{"role": "assistant", "content": _wording(question, question.answer[0], style, right=True)}],
        "rejected": [{"role": "assistant", "content": _wording(question, rejected, style, right=False)}],
        "margin": 1.0,
    }
    return record, style


def _wording(question: Question, letter: str, style: Style, right: bool) -> str:
    """The answer in words. Only the truth has a rationale to give: a wrong option gets its text alone."""
    if style == "letter":
        return letter
    stated = f"{letter}. {question.options[LETTERS.index(letter)]}"
    if style == "rationale" and right:
        return f"{stated}\n{question.rationale}"
    return stated
