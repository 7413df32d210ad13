"""Stage instruct/select: the SFT set (paper, section 3): thresholds on Deita and Context Relevance, then, best s first,
diversity (`diverse.py`) and composition (`compose.py`).

A multi-turn dialogue passes when the mean CR over its turns is not above a quantile of the set (its turns do not belong
together; CR > 1: the history hurts) and its least CR not below another (a turn repeats the history; one is enough, and in the mean it
would drown: AUROC .98 against .95, docs/benchmarks.md).
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import polars as pl
from pydantic import Field, model_validator

from aquilamed.config import Config
from aquilamed.instruct.compose import PAPER_SHARE, apportion, refill
from aquilamed.instruct.diverse import Chosen, DiversityConfig, Verdict, embed, take_all
from aquilamed.instruct.rounds import spread
from aquilamed.instruct.topics import counted
from aquilamed.records import iter_parts, read_parts, write_part
from aquilamed.stage import Context, Result

Walk = Callable[[Sequence[int], Callable[[int], bool]], Iterator[Verdict]]


class SelectConfig(Config):
    """What enters the SFT set."""

    deita_threshold: float | None = None
    """Keep s = c·q at or above this value; null takes `deita_quantile` of every kind instead."""
    deita_quantile: float = Field(default=0.2, ge=0, lt=1)
    """The share of each kind's dialogues with the lowest s to drop (the paper gives no threshold). Per kind, because the
    short rounds of a conversation score lower than a case told at once: over all, whole kinds would go."""
    relevance_low: float = Field(default=0.02, ge=0, lt=1)
    """Quantile of the dialogues' least CR below which one repeats itself (the paper gives none)."""
    relevance_high: float = Field(default=0.95, gt=0, le=1)
    """Quantile of mean CR above which its turns are unrelated."""
    target: int | None = Field(default=None, ge=1)
    """Size of the set; null keeps all that pass. With a target, kinds fill it by `shares`, best s first."""
    shares: dict[str, float] = PAPER_SHARE
    """Shares per kind (and so per language) for `target`; kinds that are not named get none then."""
    fill: bool = False
    """Whether the other kinds fill up what one of them lacks; else the set is smaller than `target` then."""
    diversity: DiversityConfig | None = None
    """Deita's diversity step; null leaves it out."""

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
    scores = read_parts(source.kept, columns).with_columns(
        cr=pl.col("relevance").list.mean(), least=pl.col("relevance").list.min()
    )
    thresholds = _thresholds(scores, config)
    judged = _judge(scores, thresholds)
    walk: Walk = take_all
    if config.diversity is not None:
        walk = Chosen(embed(ctx, config.diversity, source.kept_parts()), config.diversity.similarity).walk
    verdicts, kinds = choose(judged, config, ctx.seed, walk)
    for path, frame in zip(source.kept_parts(), iter_parts(source.kept), strict=True):
        told = frame.join(verdicts, on="id", how="left", maintain_order="left")
        kept = pl.col("reason").is_null()
        write_part(ctx.out / "dropped" / path.name, told.filter(~kept))
        write_part(ctx.out / "kept" / path.name, told.filter(kept).drop("reason", "detail"))
    return Result({**_metrics(ctx, scores, thresholds), "target": config.target, "kinds": kinds})


def _thresholds(scores: pl.DataFrame, config: SelectConfig) -> dict[str, Any]:
    """`deita` (one value for all, or null), `deita_by_kind`, `relevance_low` and `relevance_high`."""
    kinds = sorted(scores["kind"].unique().to_list())
    cut = config.deita_threshold
    own = {k: _quantile(scores.filter(pl.col("kind") == k)["deita"], config.deita_quantile) for k in kinds}
    return {
        "deita": cut,
        "deita_by_kind": own if cut is None else dict.fromkeys(kinds, cut),
        "relevance_low": _quantile(scores["least"], config.relevance_low),
        "relevance_high": _quantile(scores["cr"], config.relevance_high),
    }


def _quantile(values: pl.Series, share: float) -> float | None:
    found = values.drop_nulls().quantile(share, "linear")
    return None if found is None else float(found)


def _judge(scores: pl.DataFrame, thresholds: dict[str, Any]) -> pl.DataFrame:
    """id, kind, deita, reason, detail."""
    cuts, low, high = (thresholds[k] for k in ("deita_by_kind", "relevance_low", "relevance_high"))
    rows = []
    for record, kind, deita, cr, least in scores.select("id", "kind", "deita", "cr", "least").iter_rows():
        reason = detail = None
        if deita < cuts[kind]:
            reason, detail = "select.deita_below_threshold", f"s = {deita:.3f} < {cuts[kind]:.3f}"
        elif cr is not None and high is not None and cr > high:
            reason, detail = "select.relevance_too_high", f"mean CR {cr:.3f} > {high:.3f}: turns unrelated"
        elif least is not None and low is not None and least < low:
            reason, detail = "select.relevance_too_low", f"least CR {least:.3f} < {low:.3f}: a turn repeats its history"
        rows.append((record, kind, deita, reason, detail))
    types = {"id": pl.String, "kind": pl.String, "deita": pl.Float64, "reason": pl.String, "detail": pl.String}
    return pl.DataFrame(rows, schema=types, orient="row")


def choose(
    judged: pl.DataFrame, config: SelectConfig, seed: int, walk: Walk
) -> tuple[pl.DataFrame, dict[str, dict[str, int | None]]]:
    """Best s first, ties by seeded hash: what is not too near to a better one, until its kind is full.

    Returns:
        id, reason and detail; and per kind `asked` (null without a target), `available` (passed the thresholds),
        `not_diverse` and `taken`.
    """
    ids, kinds, s = (judged[c].to_list() for c in ("id", "kind", "deita"))
    reasons, details = judged["reason"].to_list(), judged["detail"].to_list()
    passed = [row for row, reason in enumerate(reasons) if reason is None]
    order = sorted(passed, key=lambda row: (-s[row], _hash(ids[row], seed)))
    available = Counter(kinds[row] for row in passed)
    asked = None if config.target is None else apportion(config.target, config.shares)
    quotas = dict(asked or {})
    taken: Counter[str] = Counter()
    near: Counter[str] = Counter()

    def wanted(row: int) -> bool:
        return asked is None or taken[kinds[row]] < quotas.get(kinds[row], 0)

    waiting = order
    while waiting:
        done = set()
        for row, close in walk(waiting, wanted):
            done.add(row)
            if close is None:
                taken[kinds[row]] += 1
                continue
            near[kinds[row]] += 1
            reasons[row] = "select.not_diverse"
            details[row] = f"cosine {close[1]:.3f} with {ids[close[0]]}, whose s is {s[close[0]]:.3f}"
        waiting = [row for row in waiting if row not in done]
        if not config.fill or config.target is None:
            break
        more = refill(
            config.shares, Counter(kinds[row] for row in waiting), sum((asked or {}).values()) - taken.total()
        )
        if not more:
            break
        quotas = {kind: taken[kind] + more.get(kind, 0) for kind in quotas}
    for row in waiting:
        full = f"is full with {taken[kinds[row]]}" if config.shares.get(kinds[row]) else "has no share of the target"
        reasons[row], details[row] = "select.over_target", f"{kinds[row]} {full}"
    verdicts = pl.DataFrame({"id": ids, "reason": reasons, "detail": details}, schema=dict.fromkeys(("id", "reason", "detail"), pl.String))  # fmt: skip
    table = {
        kind: {
            "asked": None if asked is None else asked.get(kind, 0),
            "available": available[kind],
            "not_diverse": near[kind],
            "taken": taken[kind],
        }
        for kind in sorted({*available, *(asked or ())})
    }
    return verdicts, table


def _hash(record: str, seed: int) -> str:
    return hashlib.blake2b(f"{seed}\0{record}".encode(), digest_size=8).hexdigest()


def _metrics(ctx: Context, scores: pl.DataFrame, thresholds: dict[str, Any]) -> dict[str, Any]:
    kept = read_parts(ctx.out / "kept", ["kind", "lang", "department", "diseases"])
    n = kept.height
    composition = dict(sorted(kept["kind"].value_counts().iter_rows()))
    return {
        "composition": composition,
        "composition_share": {k: v / n for k, v in composition.items()},
        "paper_share": PAPER_SHARE,
        "paper_languages": {"zh": 0.86, "en": 0.14},
        "languages": dict(sorted(kept["lang"].value_counts().iter_rows())),
        "thresholds": thresholds,
        "histograms": {
            "deita": spread([scores], "deita")["histogram"],
            "relevance": spread([scores], "cr")["histogram"],
        },
        "topics": counted(kept),
    }
