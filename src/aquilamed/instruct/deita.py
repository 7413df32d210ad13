"""Stage instruct/deita: complexity × quality (paper, section 3, after Deita).

A round's complexity c is scored from its question, its quality q from question and answer, both from 1 to 6;
s = c · q. A multi-turn dialogue's scores are the means over its rounds.

The `model` scorer makes one forward pass per prompt and takes the expectation over the six score tokens' logits. A score
token that the tokenizer does not have, or that two scores share, is an error; there is no default score.
"""

from collections.abc import Callable
from typing import Any, Literal

import polars as pl
from pydantic import Field

from aquilamed.annotate import COMPLEXITY, RESPONSE_QUALITY, CallError
from aquilamed.config import Config, StageFailed
from aquilamed.engine import no_reason
from aquilamed.instruct.rounds import Round, rounds, score_parts, spread
from aquilamed.models import ModelConfig, load_model, load_tokenizer
from aquilamed.scoring import next_logits
from aquilamed.stage import Context, Result

SCORES = ("1", "2", "3", "4", "5", "6")
COMPLEXITY_PROMPT = (
    "How complex is the question below? Give a score from 1 (very simple) to 6 (very complex).\n\n"
    "Question: {question}\n\nComplexity score:"
)
QUALITY_PROMPT = (
    "How good is the answer below? Give a score from 1 (very poor) to 6 (excellent).\n\n"
    "Question: {question}\n\nAnswer: {answer}\n\nQuality score:"
)
Scorer = Callable[[list[Round]], list[tuple[float, float] | str]]


class DeitaConfig(Config):
    """Complexity and quality scoring."""

    scorer: Literal["model", "annotator"] = "model"
    """"model": score tokens' logits of a local model; "annotator": the recipe's annotator with its two rubrics."""
    model: ModelConfig | None = None
    """The scoring model; null takes the base model. Published Deita scorers are Llama models with the same protocol."""
    max_tokens: int = Field(default=512, ge=16)
    """Longest question and answer in a prompt, in tokens each; the middle of a longer one is left out, and counted."""


def run(ctx: Context, config: DeitaConfig) -> Result:
    """Add `complexity`, `quality` and `deita` (= complexity · quality, both means over rounds); unscored are dropped."""
    cut = [0]
    scorer: list[Scorer] = []

    def score(frame: pl.DataFrame) -> pl.DataFrame:
        if not scorer:  # loaded only when a part is left to score
            scorer.append(_annotator_scorer(ctx) if config.scorer == "annotator" else _model_scorer(ctx, config, cut))
        return score_frame(frame, scorer[0])

    frames = score_parts(ctx, "instruct/safety", score, "Deita")
    metrics: dict[str, Any] = {c: spread(frames, c) for c in ("complexity", "quality", "deita")}
    return Result({"scorer": config.scorer, "truncated_texts": cut[0], **metrics})


def score_frame(frame: pl.DataFrame, scorer: Scorer) -> pl.DataFrame:
    """Score all rounds of a part together, then average them per dialogue."""
    dialogues = [rounds(messages) for messages in frame["messages"].to_list()]
    flat = [r for d in dialogues for r in d]
    scores = iter(scorer(flat))
    columns: dict[str, list[float | str | None]] = {
        k: [] for k in ("complexity", "quality", "deita", "reason", "detail")
    }
    for dialogue in dialogues:
        own = [next(scores) for _ in dialogue]
        good = [s for s in own if not isinstance(s, str)]
        failed = next((s for s in own if isinstance(s, str)), None if own else "the dialogue has no round")
        c, q, s = (
            (None, None, None)
            if failed
            else (
                sum(c for c, _ in good) / len(good),
                sum(q for _, q in good) / len(good),
                sum(c * q for c, q in good) / len(good),
            )
        )
        for name, value in zip(columns, (c, q, s, failed and "deita.unscored", failed), strict=True):
            columns[name].append(value)
    types = {"reason": pl.String, "detail": pl.String}
    return no_reason(frame).with_columns(pl.Series(n, v, types.get(n, pl.Float64)) for n, v in columns.items())


def _annotator_scorer(ctx: Context) -> Scorer:
    annotator = ctx.annotator()

    def score(items: list[Round]) -> list[tuple[float, float] | str]:
        asked = annotator.annotate(COMPLEXITY, [{"instruction": r.question} for r in items])
        answered = annotator.annotate(
            RESPONSE_QUALITY, [{"instruction": r.question, "response": r.answer} for r in items]
        )
        result: list[tuple[float, float] | str] = []
        for c, q in zip(asked, answered, strict=True):
            if isinstance(c, CallError):
                result.append(f"complexity: {c.kind}: {c.detail}")
            elif isinstance(q, CallError):
                result.append(f"quality: {q.kind}: {q.detail}")
            else:
                result.append((float(c.score), float(q.score)))
        return result

    return score


def _model_scorer(ctx: Context, config: DeitaConfig, cut: list[int]) -> Scorer:
    chosen = config.model or ctx.recipe.base_model
    model, tokenizer = load_model(chosen), load_tokenizer(chosen)
    separator, tokens = score_tokens(tokenizer)

    def shorten(text: str) -> str:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) <= config.max_tokens:
            return text
        cut[0] += 1
        half = config.max_tokens // 2
        return f"{tokenizer.decode(ids[:half])} … {tokenizer.decode(ids[-half:])}"

    def score(items: list[Round]) -> list[tuple[float, float] | str]:
        prompts = [COMPLEXITY_PROMPT.format(question=shorten(r.question)) for r in items]
        prompts += [QUALITY_PROMPT.format(question=shorten(r.question), answer=shorten(r.answer)) for r in items]
        # The last token stands for the score: it is cut off, and what would come in its place is read.
        rows = [ids[:-1] for ids in tokenizer([p + separator + "1" for p in prompts])["input_ids"]]
        with ctx.progress.track("Deita", total=len(rows), unit="prompt") as bar:
            logits = next_logits(model, rows, tokens, on_batch=bar.advance)
        values = expectation(logits)
        return list(zip(values[: len(items)], values[len(items) :], strict=True))

    return score


def expectation(logits: Any) -> list[float]:
    """E[score] under the softmax of the score tokens' logits: (n, 6) → n values in [1, 6]."""
    import torch

    values = torch.softmax(logits.double(), -1) @ torch.arange(1, len(SCORES) + 1, dtype=torch.float64)
    return [float(v) for v in values]


def score_tokens(tokenizer: Any) -> tuple[str, list[int]]:
    """The separator to put before a score, and the one token of each score behind it.

    Raises `StageFailed` when the tokenizer has no single, distinct token for every score.
    """
    for separator in (" ", ""):
        ids = [tokenizer("score:" + separator + s)["input_ids"] for s in SCORES]
        heads = {tuple(i[:-1]) for i in ids}
        tails = [i[-1] for i in ids]
        if len(heads) == 1 and len(set(tails)) == len(SCORES) and len({len(i) for i in ids}) == 1:
            return separator, tails
    raise StageFailed(
        "the scoring model's tokenizer has no single token for each of the scores 1 to 6; "
        "choose another instruct.deita.model, or scorer: annotator"
    )
