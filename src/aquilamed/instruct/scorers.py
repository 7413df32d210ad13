"""Who scores a round for Deita: the published scorers' protocol on any causal model, or the recipe's annotator.

The protocol: one forward pass per prompt, then the expectation of the score under the softmax of the six score tokens'
logits. A score token that the tokenizer does not have, or that two scores share, is an error; so is a logit that is no
number, and a prompt that is longer than the model reads. There is no default score.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import Field, field_validator

from aquilamed.annotate import COMPLEXITY, RESPONSE_QUALITY, CallError
from aquilamed.config import Config, StageFailed
from aquilamed.instruct.rounds import Round
from aquilamed.models import ModelConfig, load_model, load_tokenizer
from aquilamed.scoring import next_logprobs
from aquilamed.stage import Context

SCORES = ("1", "2", "3", "4", "5", "6")
Score = tuple[float, float] | str
"""Complexity and quality of a round, or why there are none."""
Scorer = Callable[[list[Round]], list[Score]]
_PLACE = re.compile(r"\{(question|answer)\}")


def fill(prompt: str, question: str, answer: str) -> str:
    """The prompt with its places filled in one go: a question that says {answer} stays as it is."""
    values = {"question": question, "answer": answer}
    return _PLACE.sub(lambda place: values[place[1]], prompt)


def ending(prompt: str) -> str:
    """What stands behind a prompt's last place."""
    return _PLACE.split(prompt)[-1]


class ScorePrompts(Config):
    """The scoring model's prompts. Those of published scorers stand in their model cards: paste them here."""

    complexity: str = (
        "How complex is the question below? Give a score from 1 (very simple) to 6 (very complex).\n\n"
        "Question: {question}\n\nComplexity score:"
    )
    """Has the place {question}; the score is read behind its end."""
    quality: str = (
        "How good is the answer below? Give a score from 1 (very poor) to 6 (excellent).\n\n"
        "Question: {question}\n\nAnswer: {answer}\n\nQuality score:"
    )
    """Has the places {question} and {answer}; the score is read behind its end."""

    @field_validator("complexity", "quality")
    @classmethod
    def _places(cls, prompt: str, info: Any) -> str:
        wanted = {"question"} if info.field_name == "complexity" else {"question", "answer"}
        found = set(_PLACE.findall(prompt))
        if found != wanted:
            places = " and ".join(f"{{{w}}}" for w in sorted(wanted, reverse=True))
            raise ValueError(f"the {info.field_name} prompt must have {places} and no other place")
        if not ending(prompt).strip():
            raise ValueError("the prompt must go on behind its last place, such as 'Score:'; the score follows there")
        return prompt


class ModelScorerConfig(Config):
    """How a model scores."""

    model: ModelConfig | None = None
    """The scoring model; null takes the base model. Published complexity and quality scorers are Llama models with the
    same protocol, each with its own prompt."""
    quality_model: ModelConfig | None = None
    """The quality scorer where it is another model than `model`; null takes that one for both."""
    prompts: ScorePrompts = ScorePrompts()
    """What the models are asked."""
    max_tokens: int = Field(default=512, ge=16)
    """Longest question and answer in a prompt, in tokens each; the middle of a longer one is left out, and counted."""


class ModelScorer:
    """One or two causal models by the protocol; `truncated` counts shortened texts, `mass` sums the score tokens' share."""

    def __init__(self, ctx: Context, config: ModelScorerConfig) -> None:
        self.progress, self.config = ctx.progress, config
        self.truncated = self.prompts = 0
        self.mass = 0.0
        complexity = config.model or ctx.recipe.base_model
        quality = config.quality_model or complexity
        self.complexity = _load(complexity)
        self.quality = self.complexity if quality == complexity else _load(quality)

    def __call__(self, items: list[Round]) -> list[Score]:
        """Score rounds; prompts of one kind share their beginning, which is computed once."""
        found = [
            self._ask(self.complexity, self.config.prompts.complexity, items),
            self._ask(self.quality, self.config.prompts.quality, items),
        ]
        return [joined(c, q) for c, q in zip(*found, strict=True)]

    def statistics(self) -> dict[str, Any]:
        """`prompts`, `truncated_texts`, and `score_token_mass`: how much of its probability a model gives to score tokens
        at all. Near 0 it does not follow the protocol, and its scores say little."""
        mass = self.mass / self.prompts if self.prompts else None
        return {"prompts": self.prompts, "truncated_texts": self.truncated, "score_token_mass": mass}

    def _ask(self, loaded: tuple[Any, Any], prompt: str, items: Sequence[Round]) -> list[float | str]:
        model, tokenizer = loaded
        separator, tokens = score_tokens(tokenizer, ending(prompt))
        texts = [fill(prompt, self._short(tokenizer, r.question), self._short(tokenizer, r.answer)) for r in items]
        # The last token stands for the score: it is cut off, and what would come in its place is read.
        rows = [ids[:-1] for ids in tokenizer([t + separator + SCORES[0] for t in texts])["input_ids"]] if texts else []
        longest = getattr(model.config, "max_position_embeddings", None) or math.inf
        fits = [i for i, row in enumerate(rows) if len(row) <= longest]
        with self.progress.track("Deita", total=len(fits), unit="prompt") as bar:
            logprobs = next_logprobs(model, [rows[i] for i in fits], tokens, on_batch=bar.advance)
        scores: list[float | str] = [f"the prompt has {len(row)} tokens, the model reads {longest}" for row in rows]
        for i, value, share in zip(fits, expectation(logprobs), logprobs.exp().sum(-1).tolist(), strict=True):
            good = math.isfinite(value)
            scores[i] = value if good else "the model's logits are not numbers"
            self.mass += share if good else 0.0
        self.prompts += len(rows)
        return scores

    def _short(self, tokenizer: Any, text: str) -> str:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) <= self.config.max_tokens:
            return text
        self.truncated += 1
        half = self.config.max_tokens // 2
        return f"{tokenizer.decode(ids[:half])} … {tokenizer.decode(ids[-half:])}"


class AnnotatorScorer:
    """The recipe's annotator with its two rubrics."""

    def __init__(self, ctx: Context) -> None:
        self.annotator = ctx.annotator()

    def __call__(self, items: list[Round]) -> list[Score]:
        """Score rounds."""
        asked = self.annotator.annotate(COMPLEXITY, [{"instruction": r.question} for r in items])
        answered = self.annotator.annotate(
            RESPONSE_QUALITY, [{"instruction": r.question, "response": r.answer} for r in items]
        )
        return [joined(_value(c), _value(q)) for c, q in zip(asked, answered, strict=True)]

    def statistics(self) -> dict[str, Any]:
        """`annotator`: who it is and what it was asked."""
        return {"annotator": {"kind": self.annotator.kind, "name": self.annotator.name, **self.annotator.statistics()}}


def _value(answer: Any) -> float | str:
    return f"{answer.kind}: {answer.detail}" if isinstance(answer, CallError) else float(answer.score)


def _load(config: ModelConfig) -> tuple[Any, Any]:
    import torch

    model = load_model(config)
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), load_tokenizer(config)


def joined(complexity: float | str, quality: float | str) -> Score:
    """Both scores, or what is wrong with the first that is missing."""
    if isinstance(complexity, str):
        return f"complexity: {complexity}"
    if isinstance(quality, str):
        return f"quality: {quality}"
    return complexity, quality


def expectation(logits: Any) -> list[float]:
    """E[score] under the softmax of the score tokens' logits: (n, 6) → n values in [1, 6]."""
    import torch

    values = torch.softmax(logits.double(), -1) @ torch.arange(1, len(SCORES) + 1, dtype=torch.float64)
    return [float(v) for v in values]


def score_tokens(tokenizer: Any, before: str = "score:") -> tuple[str, list[int]]:
    """What to put between a prompt that ends with `before` and its score, and the one token of each score there.

    Raises `StageFailed` when the tokenizer has no single, distinct token for every score.
    """
    for separator in ("",) if before[-1:].isspace() else (" ", ""):
        ids = [tokenizer(before + separator + s)["input_ids"] for s in SCORES]
        heads = {tuple(i[:-1]) for i in ids}
        tails = [i[-1] for i in ids]
        if len(heads) == 1 and len(set(tails)) == len(SCORES) and len({len(i) for i in ids}) == 1:
            return separator, tails
    raise StageFailed(
        "the scoring model's tokenizer has no single token for each of the scores 1 to 6; "
        "choose another instruct.deita.model, or scorer: annotator"
    )
