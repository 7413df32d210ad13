"""Stage corpus/domain_labels: which texts belong to the domain, asked twice (paper section 1, steps 1 and 2, figure 2).

Seed documents are drawn and labelled twice; where the labels differ the seed is dropped. Then the loop: a classifier
learns the labels, the documents it is least sure of are labelled too, and so on for some rounds or until its F1 on the
held-out seeds settles. Every answer is in the call store, so a stage that died pays for nothing twice.
"""

from collections.abc import Container, Iterator
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field, field_validator

from aquilamed.annotate import Annotator, DomainLabel, domain_rubric
from aquilamed.annotate.agreement import TwoRounds, agreement, kept_label
from aquilamed.config import Config, StageFailed
from aquilamed.corpus.seeds import annotate_twice, draw, fetch, write_verdicts
from aquilamed.corpus.student import Floats, StudentConfig, split_heldout, train_student
from aquilamed.records import iter_parts
from aquilamed.stage import Context, Result

GENERAL = "general"
_SOURCE = "corpus/decontaminate"
_HELDOUT = 0.2  # of the first seeds: measures the loop
_LEAST = 40  # labels below which a loop teaches nothing


class DomainLabelsConfig(Config):
    """The seed sample, its labels, and the loop."""

    seeds: int = Field(default=20_000, ge=1)
    """Documents that are drawn and labelled at first."""
    rounds: int = Field(default=2, ge=0)
    """Most further rounds, each labelling the documents that a classifier is least sure of; the paper gives no number."""
    per_round: float = Field(default=0.1, gt=0, le=1)
    """Documents of a further round, as a share of `seeds`."""
    pool: int = Field(default=20_000, ge=1)
    """Documents that a round chooses from, drawn anew each time."""
    settled: float = Field(default=0.005, ge=0)
    """The loop ends when the held-out F1 changes by less from one round to the next."""
    languages: list[str] = Field(default=["zh", "en"], min_length=1)
    """Languages that get equal shares of the seeds; "zh" covers "zh-Hant" too."""
    domain: str = Field(default="medical", pattern=r"^[a-z][a-z0-9_-]*$")
    """The domain's label; everything else is "general"."""
    about: str = ""
    """What belongs to the domain, for the prompt; unused for "medical", whose prompt says it."""
    max_failed: float = Field(default=0.1, ge=0, le=1)
    """Largest share of seeds without two answers; with more the stage fails."""

    @field_validator("domain")
    @classmethod
    def _not_the_rest(cls, domain: str) -> str:
        if domain == GENERAL:
            raise ValueError(f'"{GENERAL}" is the label of everything outside of the domain; name the domain')
        return domain


def run(ctx: Context, config: DomainLabelsConfig) -> Result:
    """Label seeds and what the loop asks for; `round` is 0 for seeds. Dropped: domain_labels.disagreement, .call_failed."""
    seeds = draw(_groups(ctx, config), config.seeds, ctx.seed, "domain_labels")
    if not seeds:
        raise StageFailed(f"no document of the languages {', '.join(config.languages)} is left to label")
    annotator = ctx.annotator()
    table, answers = _label(ctx, config, annotator, seeds, 0)
    history: list[dict[str, Any]] = []
    while (step := _learn(ctx, config, table)) is not None:
        history.append({"round": len(history), "labels": step.labels, "f1": step.f1})
        change = abs(step.f1 - history[-2]["f1"]) if len(history) > 1 else 1.0
        if len(history) > config.rounds or change < config.settled:
            break
        unsure = _least_sure(ctx, config, set(table["id"].to_list()), step, len(history))
        if not unsure:
            break
        more, new = _label(ctx, config, annotator, unsure, len(history))
        table, answers = pl.concat([table, more]), answers + new
    verdicts = [_verdict(r) for r in answers]
    kept = write_verdicts(ctx, table, [v[0] for v in verdicts], [v[1] for v in verdicts])
    labels = table["domain"].drop_nulls().to_list()
    metrics = {
        "seeds": len(seeds),
        "asked": table.height,
        "kept": kept,
        "languages": _languages(config, table.filter(pl.col("round") == 0)),
        "agreement": agreement(answers, seed=ctx.seed),
        "errors": sum(r.failed is not None for r in answers),
        "labels": {name: labels.count(name) for name in (config.domain, GENERAL)},
        "rounds": history,
        "annotator": {"kind": annotator.kind, "name": annotator.name, **annotator.statistics()},
    }
    return Result(metrics, records_in=table.height)


def _groups(ctx: Context, config: DomainLabelsConfig, asked: Container[str] = ()) -> dict[str, Iterator[str]]:
    """Ids by language, read as they are wanted."""

    def ids(language: str) -> Iterator[str]:
        for part in iter_parts(ctx.inputs[_SOURCE].kept, columns=["id", "lang"]):
            for identity, lang in part.iter_rows():
                if _group(config, lang) == language and identity not in asked:
                    yield identity

    return {language: ids(language) for language in config.languages}


def _group(config: DomainLabelsConfig, lang: str) -> str | None:
    return next((g for g in config.languages if lang == g or lang.startswith(f"{g}-")), None)


def _label(
    ctx: Context, config: DomainLabelsConfig, annotator: Annotator, ids: list[str], number: int
) -> tuple[pl.DataFrame, list[TwoRounds[str]]]:
    frame = fetch(ctx, ctx.inputs[_SOURCE], ids, f"seeds-{number}")
    rubric = domain_rubric(config.domain, config.about)
    rounds = annotate_twice(annotator, rubric, frame, _domain, config.max_failed)
    frame = frame.with_columns(
        pl.Series("domain", [r.first if kept_label(r) else None for r in rounds], dtype=pl.String),
        pl.Series("label_1", [r.first for r in rounds], dtype=pl.String),
        pl.Series("label_2", [r.second for r in rounds], dtype=pl.String),
        pl.lit(number, pl.Int64).alias("round"),
    )
    return frame, rounds


def _domain(answer: DomainLabel) -> str:
    return answer.domain


class _Step:
    """A classifier of the loop, how many labels it has seen, and its F1 on the held-out seeds."""

    def __init__(self, student: Any, labels: int, f1: float) -> None:
        self.student, self.labels, self.f1 = student, labels, f1


def _learn(ctx: Context, config: DomainLabelsConfig, table: pl.DataFrame) -> _Step | None:
    """Train on all labels but the held-out seeds; None where there are too few, or of one kind only."""
    known = table.filter(pl.col("domain").is_not_null())
    if config.rounds == 0 or known.height < _LEAST:
        return None
    seeds = known.filter(pl.col("round") == 0)["id"].to_list()
    out = {i for i, h in zip(seeds, split_heldout(seeds, _HELDOUT, ctx.seed), strict=True) if h}
    held = known["id"].is_in(list(out)).to_numpy()
    targets: Floats = (known["domain"] == config.domain).to_numpy().astype(np.float64)
    if len(set(targets[~held].tolist())) < 2 or not targets[held].any():
        return None
    texts = known["text"].to_list()
    training = [t for t, h in zip(texts, held, strict=True) if not h]
    student = train_student("classify", training, targets[~held], StudentConfig(), ctx.seed)
    said = student.predict([t for t, h in zip(texts, held, strict=True) if h]) >= 0.5
    true = targets[held] >= 0.5
    return _Step(student, known.height, float(2 * (said & true).sum() / max(said.sum() + true.sum(), 1)))


def _least_sure(ctx: Context, config: DomainLabelsConfig, asked: set[str], step: _Step, number: int) -> list[str]:
    """Ids of a fresh pool whose probability is nearest to one half, the same number of each language."""
    pool = draw(_groups(ctx, config, asked), config.pool, ctx.seed, f"domain_pool {number}")
    if not pool:
        return []
    frame = fetch(ctx, ctx.inputs[_SOURCE], pool, f"pool-{number}")
    doubt = np.abs(step.student.predict(frame["text"].to_list()) - 0.5)
    share = max(1, round(config.per_round * config.seeds / len(config.languages)))
    chosen: list[str] = []
    for language in config.languages:
        rows = zip(doubt.tolist(), frame["id"].to_list(), frame["lang"].to_list(), strict=True)
        chosen += [i for _, i in sorted((d, i) for d, i, lang in rows if _group(config, lang) == language)[:share]]
    return chosen


def _languages(config: DomainLabelsConfig, table: pl.DataFrame) -> dict[str, int]:
    groups = [_group(config, lang) for lang in table["lang"].to_list()]
    return {language: groups.count(language) for language in config.languages}


def _verdict(rounds: TwoRounds[str]) -> tuple[str | None, str | None]:
    if rounds.failed is not None:
        return "domain_labels.call_failed", rounds.failed
    if not kept_label(rounds):
        return "domain_labels.disagreement", f"round 1 says {rounds.first}, round 2 says {rounds.second}"
    return None, None
