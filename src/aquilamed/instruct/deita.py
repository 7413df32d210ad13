"""Stage instruct/deita: complexity × quality (paper, section 3, after Deita).

A round's complexity c is scored from its question, its quality q from question and answer, both from 1 to 6;
s = c · q. A multi-turn dialogue's scores are the means over its rounds. Scorers: `scorers.py`. With `sample` only so many
dialogues are scored and a regressor that learned from them scores the rest: `pool.py`. `scored_by` says who did.
"""

from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from aquilamed.corpus.student import StudentConfig
from aquilamed.engine import no_reason
from aquilamed.instruct.pool import score_pool
from aquilamed.instruct.rounds import rounds, score_parts, spread
from aquilamed.instruct.scorers import AnnotatorScorer, ModelScorer, ModelScorerConfig, Score, Scorer
from aquilamed.records import read_parts
from aquilamed.stage import Context, Result

_BINS = 20


class RegressorConfig(StudentConfig):
    """The regressor of whole pools; a classifier's settings where none are given."""

    batch_size: int = Field(default=128, ge=1)
    """Texts per training step of the transformers backend."""
    learning_rate: float = Field(default=3e-4, gt=0)
    """Peak learning rate of the transformers backend."""
    penalty: float = Field(default=0.3, gt=0)
    """L2 penalty of the sklearn backend's linear model."""
    heldout: float = Field(default=0.2, gt=0, lt=1)
    """Share of the scored dialogues that is not trained on and gives the reported figures."""


class DeitaConfig(ModelScorerConfig):
    """Complexity and quality scoring."""

    scorer: Literal["model", "annotator"] = "model"
    """"model": score tokens' logits of a local model; "annotator": the recipe's annotator with its two rubrics."""
    sample: int | None = Field(default=None, ge=50)
    """Score so many dialogues, the same number of every kind, and let a regressor score the rest; null scores all."""
    regressor: RegressorConfig = RegressorConfig()
    """The regressor that learns from the sample."""


def run(ctx: Context, config: DeitaConfig) -> Result:
    """Add `complexity`, `quality`, `deita` (= complexity · quality, means over rounds) and `scored_by`.

    Dropped: deita.unscored, where the scorer gave no score.
    """
    scorer = _Lazy(ctx, config)
    metrics: dict[str, Any] = {"scorer": config.scorer}
    if config.sample is None:
        score_parts(ctx, SOURCE, lambda frame: score_frame(frame, scorer, config.scorer), "Deita")
    else:
        metrics |= score_pool(ctx, SOURCE, config, scorer, score_frame)
    metrics |= scorer.statistics()
    kept = read_parts(ctx.out / "kept", ["complexity", "quality", "deita", "scored_by"])
    spreads = {c: spread([kept], c) for c in ("complexity", "quality", "deita")}
    by = dict(sorted(kept["scored_by"].value_counts().iter_rows()))
    return Result({**metrics, **spreads, "scored_by": by, "grid": grid(kept)})


SOURCE = "instruct/topics"


class _Lazy:
    """The config's scorer, loaded only when something is left to score."""

    def __init__(self, ctx: Context, config: DeitaConfig) -> None:
        self.ctx, self.config = ctx, config
        self.scorer: AnnotatorScorer | ModelScorer | None = None

    def __call__(self, items: list[Any]) -> list[Score]:
        if self.scorer is None:
            annotator = self.config.scorer == "annotator"
            self.scorer = AnnotatorScorer(self.ctx) if annotator else ModelScorer(self.ctx, self.config)
        return self.scorer(items)

    def statistics(self) -> dict[str, Any]:
        return self.scorer.statistics() if self.scorer else {}


def score_frame(frame: pl.DataFrame, scorer: Scorer, by: str) -> pl.DataFrame:
    """Score all rounds of a part together, then average them per dialogue. `by` is what `scored_by` says."""
    dialogues = [rounds(messages) for messages in frame["messages"].to_list()]
    flat = [r for d in dialogues for r in d]
    scores = iter(scorer(flat))
    rows = [_means([next(scores) for _ in dialogue]) for dialogue in dialogues]
    names = ("complexity", "quality", "deita", "reason", "detail")
    types = {"reason": pl.String, "detail": pl.String}
    columns = [pl.Series(n, [row[i] for row in rows], types.get(n, pl.Float64)) for i, n in enumerate(names)]
    unscored = pl.col("reason").is_not_null()
    return no_reason(frame).with_columns(columns).with_columns(scored_by=pl.when(~unscored).then(pl.lit(by)))


def _means(own: list[Score]) -> tuple[float | None, float | None, float | None, str | None, str | None]:
    failed = next((s for s in own if isinstance(s, str)), None if own else "the dialogue has no round")
    if failed is not None:
        return None, None, None, "deita.unscored", failed
    good = [s for s in own if not isinstance(s, str)]
    n = len(good)
    return sum(c for c, _ in good) / n, sum(q for _, q in good) / n, sum(c * q for c, q in good) / n, None, None


def grid(kept: pl.DataFrame) -> list[list[int]]:
    """How many dialogues have which complexity (rows) and quality (columns), both 1 to 6 in 20 bins."""
    c, q = (np.asarray(kept[name].to_numpy(), dtype=np.float64) for name in ("complexity", "quality"))
    counts, _, _ = np.histogram2d(c, q, bins=_BINS, range=[(1.0, 6.0), (1.0, 6.0)])
    return [[int(n) for n in row] for row in counts]
