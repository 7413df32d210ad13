"""Stages instruct/dedup and instruct/decontaminate: the corpus' two filters over dialogues (paper, section 3, step 1).

Dialogues are compared whole: all turns one below the other.
"""

from collections.abc import Sequence

import polars as pl

from aquilamed.corpus.decontaminate import DecontaminateConfig, decontaminate_stage
from aquilamed.corpus.dedup import DedupConfig, dedup_stage
from aquilamed.records import Message
from aquilamed.stage import Context, Result


class InstructDedupConfig(DedupConfig):
    """Deduplication of dialogues."""

    first_question: bool = False
    """Compare the first user turn alone, so that one question stays with one answer."""


class InstructDecontaminateConfig(DecontaminateConfig):
    """When a dialogue holds a benchmark's question."""


def whole_texts(frame: pl.DataFrame) -> list[str]:
    """The turns of each dialogue one below the other."""
    return ["\n".join(m["content"] or "" for m in messages or ()) for messages in frame["messages"].to_list()]


def first_questions(frame: pl.DataFrame) -> list[str]:
    """The first user turn of each dialogue; a dialogue without one is compared whole."""
    wholes = whole_texts(frame)
    rows = zip(frame["messages"].to_list(), wholes, strict=True)
    return [_first(messages or ()) or whole for messages, whole in rows]


def _first(messages: Sequence[Message]) -> str | None:
    return next((m["content"] for m in messages if m["role"] == "user"), None)


def run_dedup(ctx: Context, config: InstructDedupConfig) -> Result:
    """Drop repeated dialogues; reasons dedup.exact and dedup.near."""
    return dedup_stage(ctx, config, "sources/dialogues", first_questions if config.first_question else whole_texts)


def run_decontaminate(ctx: Context, config: InstructDecontaminateConfig) -> Result:
    """Drop dialogues that hold a benchmark's question; reason decontaminate.benchmark_overlap."""
    return decontaminate_stage(ctx, config, ["instruct/dedup"], whole_texts)
