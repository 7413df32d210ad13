"""Mixing the two pre-training corpora and holding some documents out (paper, section 2).

Stage corpus/mix1 mixes rule-filtered domain text with general text in a given token ratio, which keeps the model from
forgetting. Stage corpus/mix2 joins quality-filtered domain text and the SFT dialogues as plain text.
Which documents are taken and which are held out is decided by seeded hashes of their ids alone.
"""

import hashlib
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from aquilamed.config import Config, StageFailed
from aquilamed.records import DOCUMENT, Message, iter_parts, write_part
from aquilamed.stage import Context, Result

DOMAIN, QUALITY, DIALOGUES = "corpus/domain", "corpus/quality", "instruct/safety"
COLUMNS = [*DOCUMENT.names, "lang", "domain", "tokens", "split"]
LEAST_FOR_HELDOUT = 10
ROLES = {
    "zh": {"system": "说明：", "user": "问：", "assistant": "答："},
    "en": {"system": "Instructions: ", "user": "Question: ", "assistant": "Answer: "},
}


class Mix1Config(Config):
    """Stage 1: rule-filtered domain and general text."""

    domain: str = "medical"
    """The label of the domain's documents; every other label counts as general text."""
    domain_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the tokens that is domain text; the paper says "a given ratio" and gives none."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Most tokens in all (script-aware count of the rule filter); none takes as much as the ratio allows."""
    heldout: float = Field(default=0.05, ge=0, lt=1)
    """Share of documents kept out of training for measuring perplexity; the same documents in both mixes."""


class Mix2Config(Config):
    """Stage 2: quality-filtered domain text and the SFT dialogues as text."""

    domain: str = "medical"
    """The domain label that dialogues get."""
    dialogues: bool = True
    """Whether the safe SFT dialogues go in as text, as in the paper."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Most tokens in all; none takes everything."""
    heldout: float = Field(default=0.05, ge=0, lt=1)
    """Share of documents kept out of training for measuring perplexity; keep it equal to mix1's."""


def hash_share(purpose: str, seed: int, record_id: str) -> float:
    """A number in [0, 1) drawn from a purpose, the recipe's seed and a record's id."""
    data = hashlib.blake2b(f"{purpose}\0{seed}\0{record_id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(data, "big") / 2**64


def run_stage1(ctx: Context, config: Mix1Config) -> Result:
    """Mix corpus/domain's documents to `domain_share`.

    Raises `StageFailed` when one side of the ratio is missing altogether.
    """
    folder = ctx.inputs[DOMAIN].kept
    table = _scan(folder, ["id", "source", "lang", "domain", "tokens"], ctx.seed)
    target, whole = _targets(table, config)
    is_domain = pl.col("domain") == config.domain
    share = pl.when(is_domain).then(config.domain_share).otherwise(1 - config.domain_share)
    table = table.with_columns(is_domain.alias("mine")).sort("draw", "id")
    upto = pl.col("tokens").cum_sum().over("mine")
    # Half a token of slack: the targets are ratios of sums and carry rounding errors.
    table = table.with_columns(
        pl.when(upto > share * whole + 0.5)
        .then(pl.lit("mix.over_ratio"))
        .when(upto > share * target + 0.5)
        .then(pl.lit("mix.over_cap"))
        .alias("reason")
    )
    ratio = f"{config.domain_share:g} of the tokens to be {config.domain}"
    details = {
        "mix.over_ratio": f"the mix asks for {ratio}; that side already had its {{n:,}} tokens",
        "mix.over_cap": f"the mix is capped at {config.max_tokens} tokens, {ratio}; that side had its part",
    }
    table = _explain(table, details, share * whole)
    table = _split(table, config.heldout, ctx.seed, config.domain)
    _write(ctx, table, [folder], lambda frame: frame)
    kept = table.filter(pl.col("reason").is_null())
    mine = int(kept.filter(pl.col("domain") == config.domain)["tokens"].sum())
    total = int(kept["tokens"].sum())
    reached = {"asked_share": config.domain_share, "reached_share": round(mine / total, 6) if total else None}
    return Result(metrics={**_metrics(kept), **reached})


def _targets(table: pl.DataFrame, config: Mix1Config) -> tuple[float, float]:
    """Tokens of the mix with and without the cap."""
    mine = int(table.filter(pl.col("domain") == config.domain)["tokens"].sum())
    general = int(table["tokens"].sum()) - mine
    for have, name, share in (
        (mine, config.domain, config.domain_share),
        (general, "general", 1 - config.domain_share),
    ):
        if share > 0 and have == 0:
            raise StageFailed(
                f"corpus.mix1.domain_share is {config.domain_share:g}, but corpus/domain kept no {name} document "
                f"({table.height} in all); add such text or change domain_share"
            )
    whole = mine / config.domain_share
    if config.domain_share < 1:
        whole = min(whole, general / (1 - config.domain_share))
    return min(whole, config.max_tokens or whole), whole


def run_stage2(ctx: Context, config: Mix2Config) -> Result:
    """Join corpus/quality's documents and instruct/safety's dialogues, the latter as plain text."""
    folders = [ctx.inputs[QUALITY].kept]
    table = _scan(folders[0], ["id", "source", "lang", "domain", "tokens"], ctx.seed)
    if DIALOGUES in ctx.inputs:
        folders.append(ctx.inputs[DIALOGUES].kept)
        texts = [_with_text(part, config.domain) for part in iter_parts(folders[1])]
        talks = [_draw(t.select("id", "source", "lang", "domain", "tokens"), ctx.seed) for t in texts]
        table = pl.concat([table.with_columns(talk=False), *(t.with_columns(talk=True) for t in talks)])
    else:
        table = table.with_columns(talk=False)
    off = pl.col("talk") & (not config.dialogues)
    table = table.sort("draw", "id").with_columns(pl.when(off).then(pl.lit("mix.dialogues_off")).alias("reason"))
    upto = pl.when(off).then(0).otherwise(pl.col("tokens")).cum_sum()
    over = (upto > config.max_tokens) if config.max_tokens is not None else pl.lit(False)
    table = table.with_columns(pl.col("reason").fill_null(pl.when(over).then(pl.lit("mix.over_cap"))))
    details = {
        "mix.dialogues_off": "corpus.mix2.dialogues is off",
        "mix.over_cap": f"the mix is capped at {config.max_tokens} tokens and already had them",
    }
    table = _split(_explain(table, details, pl.lit(0.0)), config.heldout, ctx.seed, config.domain)
    _write(
        ctx, table, folders, lambda frame: _with_text(frame, config.domain) if "messages" in frame.columns else frame
    )
    kept = table.filter(pl.col("reason").is_null())
    total, talk = int(kept["tokens"].sum()), int(kept.filter(pl.col("talk"))["tokens"].sum())
    return Result(metrics={**_metrics(kept), "dialogue_share": round(talk / total, 6) if total else None})


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


def _scan(folder: Path, columns: list[str], seed: int) -> pl.DataFrame:
    """The few columns that decide, for all documents at once; texts stay on disk."""
    frames = list(iter_parts(folder, columns))
    schema = {c: pl.Int64 if c == "tokens" else pl.String for c in columns}
    return _draw(
        pl.concat([f.cast({"tokens": pl.Int64}) for f in frames]) if frames else pl.DataFrame(schema=schema), seed
    )


def _draw(table: pl.DataFrame, seed: int) -> pl.DataFrame:
    draws = [hash_share("mix", seed, i) for i in table["id"].to_list()]
    return table.with_columns(pl.Series("draw", draws, pl.Float64))


def _explain(table: pl.DataFrame, details: dict[str, str], tokens: pl.Expr) -> pl.DataFrame:
    """Add `detail` for each reason; `{n:,}` in a sentence becomes the row's token target."""
    table = table.with_columns(tokens.round().cast(pl.Int64).alias("n"))
    values = [
        details[r].format(n=n) if r else None
        for r, n in zip(table["reason"].to_list(), table["n"].to_list(), strict=True)
    ]
    return table.with_columns(pl.Series("detail", values, pl.String)).drop("n")


def _split(table: pl.DataFrame, heldout: float, seed: int, domain: str) -> pl.DataFrame:
    """Add `split`. A language with ten kept documents or more has at least one held out: the lowest hash of its domain.

    That one exception could be another document in the other mix; it needs a mix so small that its 5 % are none.
    """
    shares = [hash_share("heldout", seed, i) for i in table["id"].to_list()]
    table = table.with_columns(pl.Series("share", shares, pl.Float64), pl.col("reason").is_null().alias("kept"))
    table = table.with_columns((pl.col("share") < heldout).alias("out"))
    if heldout > 0:
        kept = table.filter(pl.col("kept"))
        for lang in sorted(kept["lang"].drop_nulls().unique().to_list()):
            mine = kept.filter(pl.col("lang") == lang)
            if mine.height >= LEAST_FOR_HELDOUT and not mine["out"].any():
                first = mine.sort(pl.col("domain") != domain, "share", "id")["id"][0]
                table = table.with_columns(pl.col("out") | (pl.col("id") == first))
    split = pl.when(pl.col("out")).then(pl.lit("heldout")).otherwise(pl.lit("train")).alias("split")
    return table.with_columns(split)


def _write(ctx: Context, table: pl.DataFrame, folders: list[Path], convert: Any) -> None:
    """Second pass: each input part becomes one kept and one dropped part, so memory holds one part at a time."""
    choice = table.select("id", "split", "reason", "detail")
    number = 0
    with ctx.progress.track("mix", total=table.height, unit="document") as bar:
        for folder in folders:
            for part in iter_parts(folder):
                name = f"part-{number:05d}.parquet"
                joined = part.join(choice, on="id", how="left", maintain_order="left")
                kept = convert(joined.filter(pl.col("reason").is_null()))
                write_part(ctx.out / "dropped" / name, joined.filter(pl.col("reason").is_not_null()).drop("split"))
                write_part(ctx.out / "kept" / name, kept.select(COLUMNS).cast({"tokens": pl.Int64}))
                bar.advance(part.height)
                number += 1


def _metrics(kept: pl.DataFrame) -> dict[str, Any]:
    """Tokens and documents of the mix by split, language, domain and source."""
    result: dict[str, Any] = {"documents": kept.height, "tokens": int(kept["tokens"].sum())}
    for key in ("split", "lang", "domain", "source"):
        sums = kept.group_by(pl.col(key).fill_null("unknown")).agg(pl.col("tokens").sum()).sort(key)
        result[f"tokens_by_{key}"] = dict(zip(sums[key].to_list(), sums["tokens"].to_list(), strict=True))
    counts = kept.group_by("split").len().sort("split")
    result["documents_by_split"] = dict(zip(counts["split"].to_list(), counts["len"].to_list(), strict=True))
    return result
