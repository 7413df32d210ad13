"""How good the domain's texts are (paper section 1, step 5).

`run_labels` has a sample of the domain scored 0 to 6 twice; where the scores differ by 2 or more the record is dropped.
`run` trains a regressor on the mean scores, scores every document of the domain and keeps the best.
"""

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from aquilamed.annotate import QUALITY, QualityScore
from aquilamed.annotate.agreement import TwoRounds, agreement, kept_score
from aquilamed.config import Config, StageFailed
from aquilamed.corpus.domain_labels import GENERAL
from aquilamed.corpus.seeds import annotate_twice, draw, fetch, write_verdicts
from aquilamed.corpus.student import Floats, StudentConfig, load_student, split_heldout, train_student
from aquilamed.engine import Counts, apply_kernel, no_reason
from aquilamed.records import iter_parts, read_parts, write_json, write_part
from aquilamed.stage import Context, Result

_SOURCE, _LABELS = "corpus/domain", "corpus/quality_labels"
_TOP = 6.0


class QualityLabelsConfig(Config):
    """The scored sample."""

    samples: int = Field(default=20_000, ge=1)
    """Documents of the domain that are drawn and scored."""
    max_difference: float = Field(default=2.0, gt=0)
    """Records whose two scores differ by this much or more are dropped."""
    max_failed: float = Field(default=0.1, ge=0, le=1)
    """Largest share of records without two answers; with more the stage fails."""


class QualityConfig(StudentConfig):
    """The quality regressor and its threshold."""

    batch_size: int = Field(default=128, ge=1)
    """Texts per training step of the transformers backend."""
    learning_rate: float = Field(default=3e-4, gt=0)
    """Peak learning rate of the transformers backend."""
    penalty: float = Field(default=0.3, gt=0)
    """L2 penalty of the sklearn backend's linear model."""
    threshold: float = Field(default=4.0, ge=0, le=_TOP)
    """Predicted score (0 to 6) from which on a document is kept; the paper gives no number."""
    keep_share: float | None = Field(default=None, gt=0, le=1)
    """Keep this share of the domain's documents, the best ones, instead of using `threshold`."""


def run_labels(ctx: Context, config: QualityLabelsConfig) -> Result:
    """Stage corpus/quality_labels. Dropped: quality_labels.disagreement, quality_labels.call_failed."""
    source = ctx.inputs[_SOURCE]
    parts = iter_parts(source.kept, columns=["id", "domain"])
    ids = (i for part in parts for i in part.filter(pl.col("domain") != GENERAL)["id"].to_list())
    chosen = draw({"domain": ids}, config.samples, ctx.seed, "quality_labels")
    if not chosen:
        raise StageFailed("no document belongs to the domain: nothing can be scored")
    frame = fetch(ctx, source, chosen, "samples")
    annotator = ctx.annotator()
    rounds = annotate_twice(annotator, QUALITY, frame, _score, config.max_failed)
    kept = [kept_score(r, config.max_difference) for r in rounds]
    frame = frame.with_columns(
        pl.Series("quality", [_mean(r) if k else None for r, k in zip(rounds, kept, strict=True)], dtype=pl.Float64),
        pl.Series("score_1", [r.first for r in rounds], dtype=pl.Int64),
        pl.Series("score_2", [r.second for r in rounds], dtype=pl.Int64),
    )
    verdicts = [_verdict(r, config.max_difference) for r in rounds]
    write_verdicts(ctx, frame, [v[0] for v in verdicts], [v[1] for v in verdicts])
    metrics = {
        "samples": frame.height,
        "kept": sum(kept),
        "agreement": agreement(rounds, weighted=True, seed=ctx.seed),
        "errors": sum(r.failed is not None for r in rounds),
        "scores": sorted(Counter(frame["quality"].drop_nulls().to_list()).items()),
        "annotator": {"kind": annotator.kind, "name": annotator.name, **annotator.statistics()},
    }
    return Result(metrics, records_in=frame.height)


def _score(answer: QualityScore) -> int:
    return answer.score


def _mean(rounds: TwoRounds[int]) -> float:
    assert rounds.first is not None
    assert rounds.second is not None
    return (rounds.first + rounds.second) / 2


def _verdict(rounds: TwoRounds[int], max_difference: float) -> tuple[str | None, str | None]:
    if rounds.failed is not None:
        return "quality_labels.call_failed", rounds.failed
    if not kept_score(rounds, max_difference):
        detail = f"scores {rounds.first} and {rounds.second} differ by {max_difference:g} or more"
        return "quality_labels.disagreement", detail
    return None, None


def run(ctx: Context, config: QualityConfig) -> Result:
    """Stage corpus/quality: train, score, keep. Dropped: quality.not_in_domain, quality.below_threshold."""
    trained = ctx.work / "trained.json"
    if not trained.exists():
        write_json(trained, _train(ctx, config))
    metrics = json.loads(trained.read_text(encoding="utf-8"))
    sources = ctx.inputs[_SOURCE].kept_parts()
    scores = [ctx.work / "scores" / f"part-{n:05d}.parquet" for n in range(len(sources))]
    folder = str(ctx.out / "regressor")
    todo = [(folder, source, target) for source, target in zip(sources, scores, strict=True)]
    ctx.engine.run(score_part, todo, ctx.work / "scored", "quality scores", gpu=config.backend == "transformers")
    values = _read_scores(scores)
    threshold = _threshold(values, config)
    # Scores are written before the threshold is known (it may depend on all of them), so each part has its own kernel.
    items = [
        (partial(keep_best, scores=str(s), threshold=threshold), source, ctx.out, s.name)
        for source, s in zip(sources, scores, strict=True)
    ]
    ctx.engine.run(apply_kernel, items, ctx.work / "map", "quality")
    return Result({**metrics, "threshold": threshold, "histogram": histogram(values)})


def score_part(item: tuple[str, Path, Path]) -> Counts:
    """Engine task: write `id` and `quality` of one part's documents of the domain."""
    folder, source, target = item
    frame = pl.read_parquet(source, columns=["id", "text", "domain"], glob=False).filter(pl.col("domain") != GENERAL)
    predicted = load_student(folder).predict(frame["text"].to_list())
    quality = np.round(np.clip(predicted, 0.0, _TOP), 4)
    write_part(target, frame.select("id").with_columns(pl.Series("quality", quality, dtype=pl.Float64)))
    return {"scored": frame.height}


def keep_best(frame: pl.DataFrame, scores: str, threshold: float) -> pl.DataFrame:
    """Kernel: add `quality`; drop what is not of the domain (no quality) and what is below the threshold."""
    known = pl.read_parquet(scores, glob=False)
    scored = no_reason(frame.join(known, on="id", how="left", maintain_order="left"))
    general, low = pl.col("domain") == GENERAL, pl.col("quality") < threshold
    probability = pl.col("domain_score").round(3).cast(pl.String)
    below = pl.col("quality").round(2).cast(pl.String)
    return scored.with_columns(
        pl.when(general)
        .then(pl.lit("quality.not_in_domain"))
        .when(low)
        .then(pl.lit("quality.below_threshold"))
        .alias("reason"),
        pl.when(general)
        .then(pl.format("the domain's probability is {}", probability))
        .when(low)
        .then(pl.format("quality {} is below {}", below, pl.lit(f"{threshold:g}")))
        .alias("detail"),
    )


def _train(ctx: Context, config: QualityConfig) -> dict[str, Any]:
    labelled = read_parts(ctx.inputs[_LABELS].kept, columns=["id", "text", "quality"])
    if not labelled.height:
        raise StageFailed("no scored document is left to train on; look into the dropped labels")
    held = split_heldout(labelled["id"].to_list(), config.heldout, ctx.seed)
    targets: Floats = labelled["quality"].to_numpy().astype(np.float64)
    texts = labelled["text"].to_list()
    training = [t for t, h in zip(texts, held, strict=True) if not h]
    student = train_student("regress", training, targets[~held], config, ctx.seed)
    student.save(ctx.out / "regressor")
    predicted = np.clip(student.predict([t for t, h in zip(texts, held, strict=True) if h]), 0.0, _TOP)
    sizes = {"train": int((~held).sum()), "heldout": int(held.sum())}
    return {"backend": config.backend, **regression(targets[held], predicted), **sizes}


def regression(truth: Floats, predicted: Floats) -> dict[str, Any]:
    """Spearman's rank correlation (null where one side is constant) and the mean absolute error."""
    from scipy.stats import spearmanr

    constant = len(set(truth.tolist())) < 2 or len(set(predicted.tolist())) < 2
    spearman = None if constant else float(spearmanr(truth, predicted).statistic)
    return {"spearman": spearman, "mae": float(np.abs(truth - predicted).mean())}


def _read_scores(files: list[Path]) -> Floats:
    columns = [pl.read_parquet(f, columns=["quality"], glob=False)["quality"].to_numpy() for f in files]
    return np.concatenate([*columns, np.zeros(0)])


def _threshold(values: Floats, config: QualityConfig) -> float:
    if config.keep_share is None or not len(values):
        return config.threshold
    count = max(1, round(config.keep_share * len(values)))
    return float(np.sort(values)[-count])


def histogram(values: Floats, width: float = 0.25) -> list[list[float]]:
    """[[lower edge, count] …] over 0 to 6; the last bin holds 6 itself."""
    counts, edges = np.histogram(values, bins=round(_TOP / width), range=(0.0, _TOP))
    return [[float(edge), int(count)] for edge, count in zip(edges, counts, strict=False)]
