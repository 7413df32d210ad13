"""Mixing the two pre-training corpora and holding some documents out (paper, section 2).

Stage corpus/mix1 mixes rule-filtered domain text with general text in a given token ratio, which keeps the model from
forgetting. Stage corpus/mix2 joins quality-filtered domain text and the SFT dialogues as plain text.
Which documents are taken and which are held out is decided by seeded hashes of their ids alone (`proportions.py`).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from aquilamed.config import Config
from aquilamed.corpus.proportions import (
    FIELDS,
    OFF,
    OVER_CAP,
    OVER_RATIO,
    OVER_SOURCE,
    Pool,
    Wanted,
    choose,
    hash_number,
)
from aquilamed.engine import Counts
from aquilamed.records import DOCUMENT, Message, iter_parts, write_json, write_part
from aquilamed.stage import Context, Result

DOMAIN, QUALITY, DIALOGUES = "corpus/domain", "corpus/quality", "instruct/safety"
COLUMNS = [*DOCUMENT.names, "lang", "domain", "tokens", "split"]
LEAST_FOR_HELDOUT = 10
ROLES = {
    "zh": {"system": "说明：", "user": "问：", "assistant": "答："},
    "en": {"system": "Instructions: ", "user": "Question: ", "assistant": "Answer: "},
}
_REASONS = {
    OVER_RATIO: "mix.over_ratio",
    OVER_CAP: "mix.over_cap",
    OVER_SOURCE: "mix.over_source_cap",
    OFF: "mix.dialogues_off",
}


class _MixConfig(Config):
    """What both mixes have in common."""

    weights: dict[str, float] = Field(default={})
    """Source → its part of the tokens (of its side of the ratio) relative to the others'; unnamed ones have 1. Empty: as they come."""
    caps: dict[str, int] = Field(default={})
    """Source → most tokens that it may give."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Most tokens in all (script-aware count of the rule filter); none takes as much as the ratios allow."""
    heldout: float = Field(default=0.05, ge=0, lt=1)
    """Share of documents kept out of training for measuring perplexity; the same documents in both mixes."""


class Mix1Config(_MixConfig):
    """Stage 1: rule-filtered domain and general text."""

    domain: str = "medical"
    """The label of the domain's documents; every other label counts as general text."""
    domain_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the tokens that is domain text; the paper says "a given ratio" and gives none."""


class Mix2Config(_MixConfig):
    """Stage 2: quality-filtered domain text and the SFT dialogues as text."""

    domain: str = "medical"
    """The domain label that dialogues get."""
    dialogues: bool = True
    """Whether the safe SFT dialogues go in as text, as in the paper."""


def run_stage1(ctx: Context, config: Mix1Config) -> Result:
    """Mix corpus/domain's documents to `domain_share`.

    Raises `StageFailed` when one side of the ratio, or a weighted source, is missing altogether.
    """
    parts = ctx.inputs[DOMAIN].kept_parts()
    pool = Pool(ctx.seed)
    for part in iter_parts(ctx.inputs[DOMAIN].kept, FIELDS):
        pool.add(part, (part["domain"] != config.domain).to_numpy().astype(np.uint8))
    shares = {config.domain: config.domain_share, "general": 1 - config.domain_share}
    wanted = choose(
        pool, shares, config.weights, config.caps, config.max_tokens, f"corpus.mix1 ({len(pool)} documents)"
    )
    ratio = f"{config.domain_share:g} of the tokens to be {config.domain}"
    details = {
        OVER_RATIO: f"the mix asks for {ratio}; that part already had its {{n:,}} tokens",
        OVER_CAP: f"the mix is capped at {config.max_tokens} tokens, {ratio}; that part had its {{n:,}}",
        OVER_SOURCE: "its source is capped and already had its tokens",
    }
    metrics = _write(ctx, pool, wanted, parts, config, details)
    mine = wanted.verdict[pool.side == 0] == 0
    total = metrics["tokens"]
    reached = int(pool.tokens[pool.side == 0][mine].sum()) / total if total else None
    return Result({**metrics, "asked_share": config.domain_share, "reached_share": reached and round(reached, 6)})


def run_stage2(ctx: Context, config: Mix2Config) -> Result:
    """Join corpus/quality's documents and instruct/safety's dialogues, the latter as plain text."""
    parts = ctx.inputs[QUALITY].kept_parts()
    pool = Pool(ctx.seed)
    for part in iter_parts(ctx.inputs[QUALITY].kept, FIELDS):
        pool.add(part, np.zeros(part.height, np.uint8))
    documents = len(pool)
    if DIALOGUES in ctx.inputs:
        parts += ctx.inputs[DIALOGUES].kept_parts()
        for part in iter_parts(ctx.inputs[DIALOGUES].kept):
            pool.add(_with_text(part, config.domain), np.full(part.height, 0 if config.dialogues else OFF, np.uint8))
    wanted = choose(pool, {"all": 1.0}, config.weights, config.caps, config.max_tokens, "corpus.mix2")
    details = {
        OVER_RATIO: "the mix weights its sources; this one already had its {n:,} tokens",
        OVER_CAP: f"the mix is capped at {config.max_tokens} tokens and already had them",
        OVER_SOURCE: "its source is capped and already had its tokens",
        OFF: "corpus.mix2.dialogues is off",
    }
    metrics = _write(ctx, pool, wanted, parts, config, details)
    total = metrics["tokens"]
    talk = int(pool.tokens[documents:][wanted.verdict[documents:] == 0].sum())
    return Result({**metrics, "dialogue_share": round(talk / total, 6) if total else None})


def dialogue_text(messages: list[Message], lang: str) -> str:
    """A dialogue as plain text, each turn behind a label in the dialogue's language."""
    labels = ROLES["zh" if lang.startswith("zh") else "en"]
    return "\n".join(labels[m["role"]] + m["content"] for m in messages)


def _with_text(frame: pl.DataFrame, domain: str) -> pl.DataFrame:
    """Dialogues with the columns of documents added."""
    rows = zip(frame["messages"].to_list(), frame["lang"].to_list(), strict=True)
    texts = pl.Series("text", [dialogue_text(m, lang or "") for m, lang in rows], pl.String)
    return frame.with_columns(texts).with_columns(
        pl.lit(domain).alias("domain"),
        # A Han character is about a token, elsewhere a word is: only shares and caps are counted with this.
        pl.col("text").str.count_matches(r"\p{Han}|[^\s\p{Han}]+").cast(pl.Int64).alias("tokens"),
    )


def _write(
    ctx: Context,
    pool: Pool,
    wanted: Wanted,
    parts: list[Path],
    config: Mix1Config | Mix2Config,
    details: dict[int, str],
) -> dict[str, Any]:
    """Write every part's kept and dropped documents as engine tasks; returns the mix's metrics."""
    held = _heldout(parts, pool, wanted, config, ctx.seed)
    ctx.work.mkdir(parents=True, exist_ok=True)
    np.save(ctx.work / "verdicts.npy", wanted.verdict)
    np.save(ctx.work / "cells.npy", wanted.cell)
    np.save(ctx.work / "heldout.npy", held)
    write_json(
        ctx.work / "details.json", {str(code): [d.format(n=n) for n in wanted.tokens] for code, d in details.items()}
    )
    starts = np.cumsum([0, *pool.heights]).tolist()
    jobs = [
        (p, ctx.out, n, ctx.work, start, config.domain) for n, (p, start) in enumerate(zip(parts, starts, strict=False))
    ]
    ctx.engine.run(_write_part, jobs, ctx.work / "written", "mix")
    return pool.summary(wanted.verdict == 0, held)


def _write_part(job: tuple[Path, Path, int, Path, int, str]) -> Counts:
    source, out, number, work, start, domain = job
    frame = pl.read_parquet(source, glob=False)
    here = slice(start, start + frame.height)
    verdicts, cells, held = (
        np.load(work / f"{name}.npy", mmap_mode="r")[here].tolist() for name in ("verdicts", "cells", "heldout")
    )
    details = json.loads((work / "details.json").read_text(encoding="utf-8"))
    marked = frame.with_columns(
        pl.Series("split", ["heldout" if h else "train" for h in held], pl.String),
        pl.Series("reason", [_REASONS.get(v) for v in verdicts], pl.String),
        pl.Series(
            "detail", [details[str(v)][c] if v else None for v, c in zip(verdicts, cells, strict=True)], pl.String
        ),
    )
    kept = marked.filter(pl.col("reason").is_null())
    kept = _with_text(kept, domain) if "messages" in kept.columns else kept
    name = f"part-{number:05d}.parquet"
    write_part(out / "dropped" / name, marked.filter(pl.col("reason").is_not_null()).drop("split"))
    write_part(out / "kept" / name, kept.select(COLUMNS).cast({"tokens": pl.Int64}))
    return {"documents": frame.height}


def _ids(parts: list[Path]) -> Iterator[list[str]]:
    for part in parts:
        yield pl.read_parquet(part, columns=["id"], glob=False)["id"].to_list()


def _heldout(
    parts: list[Path], pool: Pool, wanted: Wanted, config: Mix1Config | Mix2Config, seed: int
) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Which documents are held out. A language with ten kept documents or more has at least one: the lowest hash of its domain.

    That one exception could be another document in the other mix; it needs a mix so small that its 5 % are none.
    """
    held = np.zeros(len(pool), np.bool_)
    if not config.heldout:
        return held
    limit = int(config.heldout * 2**64)
    first: dict[int, tuple[bool, int, str, int]] = {}
    place = 0
    domain = pool.names("domain").index(config.domain) if config.domain in pool.names("domain") else -1
    for ids in _ids(parts):
        for identity in ids:
            if wanted.verdict[place] == 0:
                draw = hash_number("heldout", seed, identity)
                held[place] = draw < limit
                key = (bool(pool.domain[place] != domain), draw, identity, place)
                lang = int(pool.lang[place])
                first[lang] = min(first.get(lang, key), key)
            place += 1
    for lang, (*_, chosen) in first.items():
        mine = (pool.lang == lang) & (wanted.verdict == 0)
        if pool.names("lang")[lang] is not None and mine.sum() >= LEAST_FOR_HELDOUT and not held[mine].any():
            held[chosen] = True
    return held
