"""Stages instruct/dedup, instruct/questions and instruct/decontaminate: the corpus' two filters over dialogues (paper,
section 3, step 1).

Duplicates are looked for twice, within and across sources: whole dialogues (all turns one below the other), then the
user's turns alone, so that one question stays with one answer.
"""

import re

import polars as pl
from pydantic import Field

from aquilamed.annotate.terms import Text, occurrences
from aquilamed.corpus.decontaminate import DecontaminateConfig, decontaminate_stage
from aquilamed.corpus.dedup import DedupConfig, dedup_stage
from aquilamed.stage import Context, Result

# What a question may open or close with and would not miss.
_FORMULA = re.compile(
    r"(?:尊敬的)?(?:医生|大夫|专家|医师|主任|老师)|[你您]好|请问(?:一下)?|在吗|谢谢(?:[你您了]|医生)*|麻烦(?:[你您]了?)?|想?(?:咨询|问)(?:一下|下)"
    r"|\b(?:hello|hi|hey|dear|good (?:morning|evening|day)|doctor|dr|sir|madam|please|thanks?(?: you)?|regards)\b",
    re.IGNORECASE,
)


class InstructDedupConfig(DedupConfig):
    """Deduplication of whole dialogues."""


class QuestionsConfig(DedupConfig):
    """Deduplication of questions: the user's turns one below the other."""

    min_words: float | None = Field(default=4, ge=0)
    """Shorter questions (1.6 Chinese characters count as one word, greetings and thanks as none) tell too little and are
    not compared, nor are those of up to three times as many words without a medical term ("what do you mean by that?").
    Null compares none: a question may then stay with several answers."""


class InstructDecontaminateConfig(DecontaminateConfig):
    """When a dialogue holds a benchmark's question."""


def whole_texts(frame: pl.DataFrame) -> list[str]:
    """The turns of each dialogue one below the other."""
    return ["\n".join(m["content"] or "" for m in messages or ()) for messages in frame["messages"].to_list()]


def spoken(frame: pl.DataFrame, role: str) -> list[str]:
    """One side's turns of each dialogue one below the other."""
    rows = frame["messages"].to_list()
    return ["\n".join(m["content"] or "" for m in messages or () if m["role"] == role) for messages in rows]


def searched_texts(frame: pl.DataFrame) -> list[str]:
    """What benchmark questions are looked for in: the turns, and where there are several rounds the user's turns once
    more by themselves. A question asked in several turns would else be torn apart by the answers between them."""
    pairs = zip(whole_texts(frame), spoken(frame, "user"), frame["messages"].to_list(), strict=True)
    return [whole + "\n" + asked if len(messages or ()) > 3 else whole for whole, asked, messages in pairs]


class _Questions:
    """What questions are compared by: a picklable function of a frame."""

    def __init__(self, min_words: float | None) -> None:
        self.min_words = min_words

    def __call__(self, frame: pl.DataFrame) -> list[str]:
        return [q if self._telling(Text(_FORMULA.sub(" ", q))) else "" for q in spoken(frame, "user")]

    def _telling(self, question: Text) -> bool:
        least = self.min_words
        if least is None or question.size < least:
            return False
        return question.size >= 3 * least or bool(question.medical)


def answer_terms(frame: pl.DataFrame) -> list[float]:
    """How many different medical terms the answers hold, less two for every word of advertising: an advert or "see a
    doctor" under the same question loses."""
    return [
        len(Text(answer).medical) - 2.0 * sum(1 for _ in occurrences(answer.lower(), "adverts"))
        for answer in spoken(frame, "assistant")
    ]


def run_dedup(ctx: Context, config: InstructDedupConfig) -> Result:
    """Drop repeated dialogues; reasons dedup.exact and dedup.near."""
    return dedup_stage(ctx, config, "sources/dialogues", whole_texts)


def run_questions(ctx: Context, config: QuestionsConfig) -> Result:
    """Drop dialogues whose questions are asked elsewhere; reasons questions.exact and questions.near.

    The longest question stays, of equal ones that whose answers hold the most medical terms and no advertising, then the lowest id.
    """
    return dedup_stage(ctx, config, "instruct/dedup", _Questions(config.min_words), answer_terms, "questions")


def run_decontaminate(ctx: Context, config: InstructDecontaminateConfig) -> Result:
    """Drop dialogues that hold a benchmark's question; reason decontaminate.benchmark_overlap."""
    return decontaminate_stage(ctx, config, ["instruct/questions"], searched_texts)
