"""Stage instruct/relevance: Context Relevance of every turn (paper, section 3, equations 1–3).

    L(t_i | H) = -(1/N) Σ_j log P(w_ij | H, w_i1 … w_i,j-1)      with the dialogue before the turn
    L(t_i)     = -(1/N) Σ_j log P(w_ij | w_i1 … w_i,j-1)         the turn alone
    CR(H, t_i) = L(t_i | H) / L(t_i)

A turn is one round, question and answer, in the training's chat template; w_ij are the tokens of what was said. The template's
marks stand between them but are scored in neither sum: the history makes them certain, which says nothing of the turn. Whole
dialogues and single turns run together in packed passes, where each attends to itself alone, instead of two passes per turn
(`make bench-relevance`).
"""

import re
from dataclasses import dataclass
from typing import Any

import polars as pl
from pydantic import Field

from aquilamed.config import Config
from aquilamed.engine import no_reason
from aquilamed.instruct.rounds import Round, rounds, score_parts, spread
from aquilamed.losses import token_losses
from aquilamed.models import TURN_END, TURN_START, ModelConfig, begin_ids, load_model, load_tokenizer
from aquilamed.progress import Progress
from aquilamed.stage import Context, Result


class RelevanceConfig(Config):
    """Context Relevance of multi-turn dialogues."""

    model: ModelConfig | None = None
    """The model whose losses are compared; null takes the base model."""
    max_tokens: int = Field(default=2048, ge=32)
    """A dialogue is scored up to its last whole turn within so many tokens; later turns get null, and are counted."""


def run(ctx: Context, config: RelevanceConfig) -> Result:
    """Add `relevance`: CR per turn (null for the first); null for single-turn dialogues. Nothing is dropped here."""
    loaded: list[Any] = []
    unscored = [0]

    def score(frame: pl.DataFrame) -> pl.DataFrame:
        dialogues = [rounds(messages) for messages in frame["messages"].to_list()]
        multi = [d for d in dialogues if len(d) > 1]
        if multi and not loaded:
            chosen = config.model or ctx.recipe.base_model
            loaded.extend((load_model(chosen), load_tokenizer(chosen)))
        values = iter(relevance(loaded[0], loaded[1], multi, config.max_tokens, ctx.progress) if multi else [])
        column = [next(values) if len(d) > 1 else None for d in dialogues]
        later = [pair for d, c in zip(dialogues, column, strict=True) if c for pair in list(zip(d, c, strict=True))[1:]]
        unscored[0] += sum(value is None and bool(turn.question + turn.answer) for turn, value in later)
        return no_reason(frame).with_columns(pl.Series("relevance", column, pl.List(pl.Float64)))

    frames = score_parts(ctx, "instruct/deita", score, "Context Relevance")
    turns = [f.select(pl.col("relevance").list.explode(empty_as_null=False, keep_nulls=False)) for f in frames]
    return Result({"relevance": spread(turns, "relevance"), "turns_over_max_tokens": unscored[0]})


def relevance(
    model: Any, tokenizer: Any, dialogues: list[list[Round]], max_tokens: int, progress: Progress | None = None
) -> list[list[float | None]]:
    """CR of every turn of every dialogue; None for first turns, turns behind `max_tokens` and turns in which nothing is said."""
    turns = [[turn_tokens(tokenizer, r) for r in d] for d in dialogues]
    begin = len(begin_ids(tokenizer))  # every turn alone has it, a dialogue once
    wholes: list[list[int]] = []
    places: list[list[int]] = []
    scored: list[list[Tokens]] = []
    for dialogue in turns:
        whole, words, fits = list(dialogue[0].ids), list[int](), list[Tokens]()
        for turn in dialogue[1:]:
            if len(whole) + len(turn.ids) - begin > max_tokens:
                break
            words += (len(whole) + place - begin for place in turn.words)
            whole += turn.ids[begin:]
            fits.append(turn)
        wholes.append(whole)
        places.append(words)
        scored.append(fits)
    alone = list(dict.fromkeys(turn for fits in scored for turn in fits))  # each text once, however often it is said
    rows = [*wholes, *(turn.ids for turn in alone)]
    with (progress or Progress(quiet=True)).track("Context Relevance", len(rows), "row") as bar:
        losses = token_losses(model, rows, bar.advance, places=[*places, *(turn.words for turn in alone)])
    direct = {turn: float(part.double().mean()) for turn, part in zip(alone, losses[len(wholes) :], strict=True)}
    result: list[list[float | None]] = []
    for dialogue, fits, conditioned in zip(turns, scored, losses[: len(wholes)], strict=True):
        means = [float(part.double().mean()) for part in conditioned.split([len(turn.words) for turn in fits])]
        values = [m / direct[turn] if direct[turn] > 0 else None for m, turn in zip(means, fits, strict=True)]
        result.append([None, *values, *([None] * (len(dialogue) - 1 - len(fits)))])
    return result


@dataclass(frozen=True)
class Tokens:
    """A turn's token ids, and the places of what was said among them."""

    ids: tuple[int, ...]
    words: tuple[int, ...]


_SAID = re.compile(f"{re.escape(TURN_START)}[a-z]+\n(.*?){re.escape(TURN_END)}", re.DOTALL)


def turn_tokens(tokenizer: Any, turn: Round) -> Tokens:
    """A round in the chat template, as it stands in training. The template breaks up markers inside what is said."""
    messages = [{"role": "user", "content": turn.question}, {"role": "assistant", "content": turn.answer}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    said = [match.span(1) for match in _SAID.finditer(text)]
    words = [n for n, (at, _) in enumerate(found["offset_mapping"]) if any(start <= at < end for start, end in said)]
    return Tokens(tuple(found["input_ids"]), tuple(words))
