"""Stage prefer/select: human verdicts applied, then what a preference set should not teach is audited and filtered.

A doctor's verdict outranks the model's judge: the answers change places, a corrected answer becomes the chosen one, a tie or
a dangerous answer drops the pair. Pairs that no doctor judged leave when the chosen answer refuses without need or is not in the
prompt's language, or when both answers are nearly the same. Objective pairs are true by their key and alike by design: only the
length balance looks at them. The audit stands in the metrics as it was before and after.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import polars as pl
from pydantic import Field

from aquilamed.config import Config, Invalid
from aquilamed.prefer.agreement import agreement
from aquilamed.prefer.audit import OBJECTIVE, audit, measure
from aquilamed.prefer.balance import fewest
from aquilamed.prefer.judgements import Decision, Placed, Vote, decide, read_judgements, shown_hash, text, vote
from aquilamed.records import read_parts, write_parts
from aquilamed.stage import WORKSPACE, Context, Result

VERDICTS = f"{WORKSPACE}review/verdicts.jsonl"
"""The workspace's own verdicts: what `aquilamed review import` and the web page write."""
HUMAN_REASONS = ("select.human_tie", "select.undecided", "select.dangerous")


class PreferSelectConfig(Config):
    """Human verdicts, audit and filters of the preference set."""

    verdicts: list[str] = []
    """Files of human judgements (JSONL, below data_root) beside the workspace's own review/verdicts.jsonl."""
    raters: list[str] = []
    """Who may judge; a judgement of somebody else is an error. Empty: anybody."""
    adjudicators: list[str] = []
    """Raters whose verdict outranks the others'."""
    stale_verdicts: Literal["error", "skip"] = "error"
    """What a judgement is of which the pair or its texts are no longer there: an error, or left out and counted."""
    refusals: bool = True
    """Drop pairs whose chosen answer refuses a request that is not unsafe."""
    language: bool = True
    """Drop pairs whose chosen answer is not in the prompt's language."""
    near_identical: float = Field(default=0.9, gt=0, le=1)
    """Drop pairs whose answers share this much (Jaccard of shingles); 1 drops only equal ones."""
    min_margin: float | None = Field(default=None, ge=-1, le=1)
    """Drop subjective pairs with a smaller margin; none keeps all."""
    balance_length: float | None = Field(default=None, ge=0, le=0.5)
    """Drop the fewest pairs so that, per kind, the chosen answer is the longer one in 50 % of the pairs ± this share."""


def run(ctx: Context, config: PreferSelectConfig) -> Result:
    """Kept: the preference set, with `human` (JSON counts of the votes, null where nobody judged).

    Raises `Invalid` with file and line for a judgement of an unknown pair or rater, a second one, or of changed texts.
    """
    frame = read_parts(ctx.inputs["prefer/decontaminate"].kept).sort("id")
    rows = frame.to_dicts()
    before = audit(frame, measure(frame), config.near_identical)
    votes, stale = human_votes(ctx, config, rows)
    decisions = {pair: decide(said, config.adjudicators) for pair, said in votes.items()}
    changes: Counter[str] = Counter()
    for row in rows:
        changes[_judge(row, decisions.get(row["id"]))] += 1
    schema = frame.schema | {"human": pl.String(), "reason": pl.String(), "detail": pl.String()}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    measures = measure(table)
    table = _filtered(table, measures, config)
    if config.balance_length is not None:
        table = _balanced(table, measures, config.balance_length)
    kept = table["reason"].is_null()
    write_parts(ctx.out / "kept", table.filter(kept).drop("reason", "detail"))
    write_parts(ctx.out / "dropped", table.filter(~kept))
    after = audit(table.filter(kept), measures.filter(kept), config.near_identical)
    human = {
        "pairs_judged": len(votes),
        "stale_verdicts": stale,
        **{name: changes[name] for name in ("upheld", "overturned", "edited", *HUMAN_REASONS)},
        **agreement(votes, config.adjudicators, ctx.seed),
    }
    return Result({"before": before, "after": after, "human": human})


def human_votes(
    ctx: Context, config: PreferSelectConfig, rows: Iterable[dict[str, Any]]
) -> tuple[dict[str, list[Vote]], int]:
    """The votes by pair of all files of verdicts, and how many judgements were left out as stale."""
    files = [named for pattern in (*config.verdicts, VERDICTS) for named in ctx.files(pattern)]
    return votes_of(read_judgements(files), {row["id"]: row for row in rows}, config)


def votes_of(
    judgements: list[Placed], pairs: Mapping[str, Mapping[str, Any]], config: PreferSelectConfig
) -> tuple[dict[str, list[Vote]], int]:
    """The votes by pair, and how many judgements were left out as stale. Raises `Invalid` as `run` does."""
    votes: dict[str, list[Vote]] = {}
    stale = 0
    for placed in sorted(judgements, key=lambda p: (p.said.pair, p.said.rater)):
        said = placed.said
        if config.raters and said.rater not in (*config.raters, *config.adjudicators):
            raise Invalid(
                f"{placed.origin}: field 'rater': {said.rater!r} is not in prefer.select.raters; add the name there or "
                "remove the line"
            )
        pair = pairs.get(said.pair)
        if config.stale_verdicts == "skip" and (pair is None or not _current(placed, pair)):
            stale += 1
            continue
        votes.setdefault(said.pair, []).append(vote(placed, pair))
    return votes, stale


def _current(placed: Placed, pair: Mapping[str, Any]) -> bool:
    sides = pair["chosen"], pair["rejected"]
    return placed.said.shown in (shown_hash(pair["prompt"], *sides), shown_hash(pair["prompt"], *sides[::-1]))


def _judge(row: dict[str, Any], decision: Decision | None) -> str:
    """Apply a decision to a pair (in place); says what it changed."""
    row |= {"human": None, "reason": None, "detail": None}
    if decision is None:
        return "not judged"
    names = {"chosen": "upheld", "rejected": "overturned", "tie": "tie"}
    counts = {names[side]: count for side, count in decision.votes.items()}
    row["human"] = json.dumps({**counts, "adjudicated": decision.adjudicated})
    told = ", ".join(f"{name} {count}" for name, count in counts.items())
    if decision.verdict is None:
        row |= {"reason": "select.undecided", "detail": f"no side has more than half of the votes: {told}"}
    elif decision.verdict == "tie":
        row |= {"reason": "select.human_tie", "detail": f"neither answer is better: {told}"}
    elif decision.verdict in decision.dangerous and not decision.edited:
        row |= {"reason": "select.dangerous", "detail": f"the better answer was called dangerous: {told}"}
    if row["reason"] is not None:
        return str(row["reason"])
    row["margin"] = decision.margin
    if decision.verdict == "rejected":
        row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
    if decision.edited:
        row["chosen"] = [{"role": "assistant", "content": decision.edited}]
        if decision.edited == text(row["rejected"]).strip():
            row |= {"reason": "select.near_identical", "detail": "the edited answer is the rejected one"}
        return "edited"
    return names[decision.verdict or "tie"]


def _filtered(table: pl.DataFrame, measures: pl.DataFrame, config: PreferSelectConfig) -> pl.DataFrame:
    """`reason` and `detail` for the pairs that nobody judged and that the rules reject; the first rule that does names it."""
    rules: list[tuple[str, pl.Expr, pl.Expr]] = []
    if config.refusals:
        needless = pl.col("refuses").is_not_null() & pl.col("unsafe").is_null()
        rules.append(("select.refusal", needless, pl.format("the chosen answer refuses: {}", "refuses")))
    if config.language:
        detail = pl.format("the chosen answer's language is {}, the prompt's is not", "other_language")
        rules.append(("select.language", pl.col("other_language").is_not_null(), detail))
    same = pl.col("similarity") >= config.near_identical
    detail = pl.format("the answers share {} of their shingles", pl.col("similarity").round(3))
    rules.append(("select.near_identical", same, detail))
    if config.min_margin is not None:
        detail = pl.format("margin {} is below {}", pl.col("margin").round(4), pl.lit(config.min_margin))
        weak = (pl.col("kind") == "subjective") & (pl.col("margin") < config.min_margin)
        rules.append(("select.margin", weak, detail))
    whole = table.hstack(measures)
    for name, bad, detail in rules:
        hit = pl.col("human").is_null() & (pl.col("kind") != OBJECTIVE) & pl.col("reason").is_null() & bad
        whole = whole.with_columns(
            pl.when(hit).then(pl.lit(name)).otherwise("reason").alias("reason"),
            pl.when(hit).then(detail).otherwise("detail").alias("detail"),
        )
    return whole.select(table.columns)


def _balanced(table: pl.DataFrame, measures: pl.DataFrame, tolerance: float) -> pl.DataFrame:
    """Drop the fewest pairs of each kind that bring the share of longer chosen answers to 50 % ± tolerance."""
    whole = table.select("id", "kind", "human", "reason").hstack(measures.select("chosen_chars", "rejected_chars"))
    open_pairs = whole.filter(pl.col("reason").is_null())
    drop: dict[str, str] = {}
    for kind in open_pairs["kind"].unique().sort().to_list():
        drop |= fewest(open_pairs.filter(pl.col("kind") == kind), tolerance)
    details = pl.Series("new", [drop.get(i) for i in table["id"].to_list()], pl.String)
    return table.with_columns(
        pl.when(details.is_not_null()).then(pl.lit("select.length_balance")).otherwise("reason").alias("reason"),
        pl.coalesce(details, pl.col("detail")).alias("detail"),
    )
