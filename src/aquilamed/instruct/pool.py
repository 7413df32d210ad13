"""Deita scores for whole pools: a seeded sample is scored, a regressor learns from it and scores the rest.

Complexity is learned from the question, quality from question and answer, round by round. Some of the sampled dialogues
are held out: the reported rank correlations and errors are theirs, per kind too, because a regressor that only tells
languages apart would look good over all of them.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from aquilamed.config import StageFailed
from aquilamed.corpus.quality import regression
from aquilamed.corpus.seeds import draw, fetch
from aquilamed.corpus.student import Floats, load_student, split_heldout, train_student
from aquilamed.engine import apply_kernel
from aquilamed.instruct.rounds import Round, rounds
from aquilamed.instruct.scorers import SCORES, Score, Scorer
from aquilamed.records import iter_parts, read_parts, write_json, write_part
from aquilamed.stage import Context

if TYPE_CHECKING:
    from aquilamed.instruct.deita import DeitaConfig

BY = "regressor"
_CHUNK = 64  # dialogues scored between two saves
_LEAST = 20  # held-out dialogues of a kind that give a figure of their own
ScoreFrame = Callable[[pl.DataFrame, Scorer, str], pl.DataFrame]


def score_pool(
    ctx: Context, source: str, config: "DeitaConfig", scorer: Scorer, score_frame: ScoreFrame
) -> dict[str, Any]:
    """Write kept/ and dropped/ of the whole input; returns the regressor's figures.

    A sampled dialogue keeps its own score, or is dropped where the scorer gave none; the others are predicted.
    Raises `StageFailed` when too few of the sample got a score.
    """
    assert config.sample is not None
    measured = _measure(ctx, source, config, scorer, score_frame)
    columns = ["id", "complexity", "quality", "deita", "scored_by", "reason", "detail"]
    known = ctx.work / "measured.parquet"
    write_part(known, measured.select(columns))
    trained = ctx.work / "trained.json"
    if not trained.exists():
        write_json(trained, _train(ctx, config, measured))
    folder = str(ctx.out / BY)
    kernel = partial(apply_scores, folder=folder, measured=str(known))
    items = [(kernel, path, ctx.out, f"part-{n:05d}.parquet") for n, path in enumerate(ctx.inputs[source].kept_parts())]
    gpu = config.regressor.backend == "transformers"
    ctx.engine.run(apply_kernel, items, ctx.work / "map", "Deita scores", gpu=gpu)
    return {"sampled": measured.height, BY: json.loads(trained.read_text(encoding="utf-8"))}


def _measure(ctx: Context, source: str, config: "DeitaConfig", scorer: Scorer, score_frame: ScoreFrame) -> pl.DataFrame:
    """The sample with its scores, those of single rounds too; a crash loses one chunk at most."""
    artifact = ctx.inputs[source]
    kinds = sorted({k for part in iter_parts(artifact.kept, ["kind"]) for k in part["kind"].unique()})

    def ids(kind: str) -> Iterator[str]:
        for part in iter_parts(artifact.kept, ["id", "kind"]):
            yield from part.filter(pl.col("kind") == kind)["id"]

    chosen = draw({kind: ids(kind) for kind in kinds}, config.sample or 0, ctx.seed, "deita")
    if not chosen:
        raise StageFailed("there is no dialogue to score")
    sample = fetch(ctx, artifact, chosen, "sample")
    folder = ctx.work / "sample"
    for number, start in enumerate(range(0, sample.height, _CHUNK)):
        target = folder / f"part-{number:05d}.parquet"
        if not target.exists():
            write_part(target, _score_chunk(sample.slice(start, _CHUNK), config.scorer, scorer, score_frame))
    return read_parts(folder)


def _score_chunk(frame: pl.DataFrame, by: str, scorer: Scorer, score_frame: ScoreFrame) -> pl.DataFrame:
    each: list[Score] = []

    def remember(items: list[Round]) -> list[Score]:
        each.extend(scorer(items))
        return each

    scored = score_frame(frame, remember, by)
    sizes = [len(rounds(m)) for m in frame["messages"].to_list()]
    values = iter(each)
    of = [[next(values) for _ in range(n)] for n in sizes]
    pairs = [[None if isinstance(s, str) else list(s) for s in row] for row in of]
    return scored.with_columns(pl.Series("rounds", pairs, pl.List(pl.List(pl.Float64))))


def _train(ctx: Context, config: "DeitaConfig", measured: pl.DataFrame) -> dict[str, Any]:
    """Train and save both regressors; their figures on held-out dialogues."""
    good = measured.filter(pl.col("reason").is_null())
    if not good.height:
        first = measured["detail"].drop_nulls().head(1).to_list()
        raise StageFailed(f"the scorer gave no score for any of {measured.height} dialogues; first: {first}")
    held = split_heldout(good["id"].to_list(), config.regressor.heldout, ctx.seed)
    dialogues = [rounds(m) for m in good["messages"].to_list()]
    scores = good["rounds"].to_list()
    learned = [(r, s) for d, own, h in zip(dialogues, scores, held, strict=True) if not h for r, s in zip(d, own, strict=True)]  # fmt: skip
    for column, (name, text) in enumerate(_TEXTS.items()):
        targets: Floats = np.asarray([s[column] for _, s in learned], dtype=np.float64)
        student = train_student("regress", [text(r) for r, _ in learned], targets, config.regressor, ctx.seed)
        student.save(ctx.out / BY / name)
    tested = good.filter(pl.Series(held))
    predicted = _predict([d for d, h in zip(dialogues, held, strict=True) if h], str(ctx.out / BY))
    names = (*_TEXTS, "deita")
    figures = {n: regression(tested[n].to_numpy(), predicted[:, i]) for i, n in enumerate(names)}
    by_kind = {}
    for kind in sorted(set(tested["kind"].to_list())):
        rows = (tested["kind"] == kind).to_numpy()
        if rows.sum() >= _LEAST:
            own = regression(tested["deita"].to_numpy()[rows], predicted[rows, 2])
            by_kind[kind] = {"n": int(rows.sum()), **own}
    sizes = {"train": int((~held).sum()), "heldout": int(held.sum())}
    return {"backend": config.regressor.backend, **sizes, **figures, "by_kind": by_kind}


_TEXTS: dict[str, Callable[[Round], str]] = {
    "complexity": lambda r: r.question,
    "quality": lambda r: f"{r.question}\n{r.answer}",
}


def _predict(dialogues: list[list[Round]], folder: str) -> Floats:
    """[dialogues, 3]: complexity, quality and their product, means over rounds."""
    flat = [r for d in dialogues for r in d]
    low, high = float(SCORES[0]), float(SCORES[-1])
    predicted = [load_student(f"{folder}/{n}").predict([text(r) for r in flat]) for n, text in _TEXTS.items()]
    c, q = (np.round(np.clip(p, low, high), 4) for p in predicted)
    starts = np.cumsum([0, *(len(d) for d in dialogues)])[:-1]
    sizes = np.asarray([len(d) for d in dialogues], dtype=np.float64)
    sums = [np.add.reduceat(v, starts) for v in (c, q, c * q)] if len(flat) else [np.zeros(0)] * 3
    result: Floats = np.stack([s / sizes for s in sums], axis=1)
    return result


def apply_scores(frame: pl.DataFrame, folder: str, measured: str) -> pl.DataFrame:
    """Kernel: the measured scores where there are some, else the regressor's."""
    known = pl.read_parquet(Path(measured), glob=False)
    joined = frame.join(known, on="id", how="left", maintain_order="left")
    dialogues = [rounds(m) for m in joined["messages"].to_list()]
    open_rows = (joined["scored_by"].is_null() & joined["reason"].is_null()).to_list()
    empty = [o and not d for o, d in zip(open_rows, dialogues, strict=True)]
    rows = [i for i, (o, e) in enumerate(zip(open_rows, empty, strict=True)) if o and not e]
    predicted = _predict([dialogues[i] for i in rows], folder)
    values: list[tuple[float, float, float] | None] = [None] * frame.height
    for i, row in zip(rows, predicted.tolist(), strict=True):
        values[i] = tuple(row)
    mine = pl.Series([v is not None for v in values])
    no_round = pl.Series(empty)
    scores = [
        pl.coalesce(name, pl.Series([v and v[i] for v in values], dtype=pl.Float64)).alias(name)
        for i, name in enumerate((*_TEXTS, "deita"))
    ]
    return joined.with_columns(
        *scores,
        scored_by=pl.when(mine).then(pl.lit(BY)).otherwise("scored_by"),
        reason=pl.when(no_round).then(pl.lit("deita.unscored")).otherwise("reason"),
        detail=pl.when(no_round).then(pl.lit("the dialogue has no round")).otherwise("detail"),
    )
