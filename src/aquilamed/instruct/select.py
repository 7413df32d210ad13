"""Stage instruct/select: the SFT set (paper, section 3): thresholds on Deita and Context Relevance, then composition.

A multi-turn dialogue passes when the mean CR over its turns lies between two quantiles of the set: above, its turns do not
belong together (CR > 1: the history hurts); below, it repeats itself.
"""

import hashlib
from typing import Any

import polars as pl
from pydantic import Field, model_validator

from aquilamed.config import Config
from aquilamed.engine import no_reason
from aquilamed.instruct.rounds import spread
from aquilamed.records import count_rows, iter_parts, parts, read_parts, write_part
from aquilamed.stage import Context, Result

PAPER_SHARE = {
    "single_turn_QA_zh": 0.272,
    "single_turn_QA_en": 0.140,
    "single_turn_option_zh": 0.248,
    "multi_turn_QA_zh": 0.340,
}
"""The paper's composition of about 320,000 records (it writes _ch where we write _zh)."""


class SelectConfig(Config):
    """What enters the SFT set."""

    deita_threshold: float | None = None
    """Keep s = c·q at or above this value; null takes `deita_quantile` of the set instead."""
    deita_quantile: float = Field(default=0.2, ge=0, lt=1)
    """The share of dialogues with the lowest s to drop (the paper gives no threshold)."""
    relevance_low: float = Field(default=0.02, ge=0, lt=1)
    """Quantile of mean CR below which a multi-turn dialogue repeats itself (the paper gives none)."""
    relevance_high: float = Field(default=0.95, gt=0, le=1)
    """Quantile of mean CR above which its turns are unrelated."""
    target: int | None = Field(default=None, ge=1)
    """Size of the set; null keeps all that pass. With a target, kinds fill it by `shares`, best s first."""
    shares: dict[str, float] = PAPER_SHARE
    """Shares per kind for `target`; kinds that are not named get none then."""

    @model_validator(mode="after")
    def _sane(self) -> "SelectConfig":
        if self.relevance_low >= self.relevance_high:
            raise ValueError("relevance_low must be below relevance_high")
        if any(share < 0 for share in self.shares.values()) or sum(self.shares.values()) > 1.001:
            raise ValueError("shares must not be negative, nor sum to more than 1")
        return self


def run(ctx: Context, config: SelectConfig) -> Result:
    """Every dialogue of instruct/relevance, kept or dropped with the number that decided."""
    source = ctx.inputs["instruct/relevance"]
    columns = ["id", "kind", "deita", "relevance"]
    scores = read_parts(source.kept, columns).with_columns(cr=pl.col("relevance").list.mean())
    thresholds = _thresholds(scores, config)
    verdicts = _over_target(_judge(scores, thresholds), config, ctx.seed)
    for path, frame in zip(source.kept_parts(), iter_parts(source.kept), strict=True):
        judged = no_reason(frame).drop("reason", "detail").join(verdicts, on="id", how="left", maintain_order="left")
        kept = pl.col("reason").is_null()
        write_part(ctx.out / "dropped" / path.name, judged.filter(~kept))
        write_part(ctx.out / "kept" / path.name, judged.filter(kept).drop("reason", "detail"))
    return Result(_metrics(ctx, scores, thresholds))


def _thresholds(scores: pl.DataFrame, config: SelectConfig) -> dict[str, float | None]:
    s = config.deita_threshold
    if s is None:
        s = _quantile(scores["deita"], config.deita_quantile)
    return {
        "deita": s,
        "relevance_low": _quantile(scores["cr"], config.relevance_low),
        "relevance_high": _quantile(scores["cr"], config.relevance_high),
    }


def _quantile(values: pl.Series, share: float) -> float | None:
    found = values.drop_nulls().quantile(share, "linear")
    return None if found is None else float(found)


def _judge(scores: pl.DataFrame, thresholds: dict[str, float | None]) -> pl.DataFrame:
    """id, kind, deita, reason, detail."""
    s, low, high = (thresholds[k] for k in ("deita", "relevance_low", "relevance_high"))
    rows = []
    for record, kind, deita, cr in scores.select("id", "kind", "deita", "cr").iter_rows():
        reason = detail = None
        if s is not None and deita < s:
            reason, detail = "select.deita_below_threshold", f"s = {deita:.3f} < {s:.3f}"
        elif cr is not None and high is not None and cr > high:
            reason, detail = "select.relevance_too_high", f"mean CR {cr:.3f} > {high:.3f}: turns unrelated"
        elif cr is not None and low is not None and cr < low:
            reason, detail = "select.relevance_too_low", f"mean CR {cr:.3f} < {low:.3f}: repeats its history"
        rows.append((record, kind, deita, reason, detail))
    types = {"id": pl.String, "kind": pl.String, "deita": pl.Float64, "reason": pl.String, "detail": pl.String}
    return pl.DataFrame(rows, schema=types, orient="row")


def _over_target(judged: pl.DataFrame, config: SelectConfig, seed: int) -> pl.DataFrame:
    """Cut kinds to their part of the target, best s first, ties by seeded hash."""
    verdicts = judged.select("id", "reason", "detail")
    if config.target is None:
        return verdicts
    over: dict[str, str] = {}
    for (kind,), frame in judged.filter(pl.col("reason").is_null()).group_by(["kind"], maintain_order=True):
        most = round(config.target * config.shares.get(str(kind), 0.0))
        order = sorted(frame.iter_rows(named=True), key=lambda r: (-r["deita"], _hash(r["id"], seed)))
        over |= {r["id"]: f"{kind} is full with {most}" for r in order[most:]}
    full = pl.col("id").is_in(list(over))
    return verdicts.with_columns(
        reason=pl.when(full).then(pl.lit("select.over_target")).otherwise("reason"),
        detail=pl.when(full).then(pl.col("id").replace_strict(over, default=None)).otherwise("detail"),
    )


def _hash(record: str, seed: int) -> str:
    return hashlib.blake2b(f"{seed}\0{record}".encode(), digest_size=8).hexdigest()


def _metrics(ctx: Context, scores: pl.DataFrame, thresholds: dict[str, float | None]) -> dict[str, Any]:
    kept = read_parts(ctx.out / "kept", ["kind", "lang"])
    n = count_rows(parts(ctx.out / "kept"))
    composition = dict(sorted(kept["kind"].value_counts().iter_rows()))
    return {
        "composition": composition,
        "composition_share": {k: v / n for k, v in composition.items()},
        "paper_share": PAPER_SHARE,
        "languages": dict(sorted(kept["lang"].value_counts().iter_rows())),
        "thresholds": thresholds,
        "histograms": {
            "deita": spread([scores], "deita")["histogram"],
            "relevance": spread([scores], "cr")["histogram"],
        },
    }
