"""Stage corpus/rules: documents that rules can tell are no good text (paper, section 2, step 4).

A rule is a function from a text (and the config) to a detail sentence, or None. The first rule that speaks names the
reason. A whole batch is sieved first, by character classes, fixed strings and compressibility; the rules themselves see
only texts that they might speak against.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import numpy.typing as npt
import polars as pl
import zstandard
from pydantic import Field

from aquilamed.config import Config
from aquilamed.corpus.anchors import Anchors
from aquilamed.corpus.characters import batch, classes, classify, run_starts
from aquilamed.corpus.cues import ADVERT, MEDIA, MOJIBAKE, NAVIGATION, SUSPECT
from aquilamed.corpus.mojibake import repair
from aquilamed.corpus.ngrams import ngram_hashes, tokenise
from aquilamed.engine import no_reason
from aquilamed.records import iter_parts
from aquilamed.stage import Context, Result

# Han; other letters, digits and marks; blanks; what is no letter, digit, blank or punctuation of ordinary prose;
# punctuation that stands alone in prose; letters that broken encodings are full of.
_HAN, _WORD, _BLANK, _SPECIAL, _PUNCTUATION, _SUSPECT = (np.uint8(1 << bit) for bit in range(6))
_PATTERNS = (
    r"\p{Han}",
    r"[[\p{L}\p{N}\p{M}]--\p{Han}]",
    r"\s",
    r"""[^\p{L}\p{M}\p{N}\s.,;:!?'"()\-–—/%&+=°·…，。；：！？、“”‘’（）《》〈〉「」『』【】～]""",
    r"""[.,;:!?'"\-–—/%&+=°·…，。；：！？、～]""",
    SUSPECT,
)
_RUN = 4  # so many punctuation marks in a row are special characters
_BREAKS = ("。", "！", "？", ". ", "! ", "? ")
_NGRAM = 8
# A text with much repetition shrinks below this under zstd's fastest level but one; four of five texts do not.
_COMPRESSED = 0.72


class RulesConfig(Config):
    """Thresholds of the rule filter; the paper names the rules without figures (chosen on one half of public text)."""

    min_tokens: int = Field(default=10, ge=0)
    """Fewer Han characters and words than this: too_few_tokens."""
    max_tokens: int | None = Field(default=None, ge=1)
    """More than this: too_many_tokens; null for no limit."""
    special_characters: float = Field(default=0.25, ge=0, le=1)
    """Largest share of special characters among the non-blank ones."""
    repeated_lines: float = Field(default=0.3, ge=0, le=1)
    """Largest share of characters that stand in a line or sentence seen before in the document."""
    repeated_ngrams: float = Field(default=0.4, ge=0, le=1)
    """Largest share of 8-grams of tokens that occurred before in the document."""
    advert: bool = True
    """Drop adverts: three kinds of marketing cues, or two kinds that make up much of a short text."""
    media_residue: bool = True
    """Drop what image and video editing left: timestamps, captions, editing words, several of them."""
    mojibake: bool = True
    """Drop text that was decoded with the wrong character set."""
    repair: bool = False
    """Put such text right instead, where that is possible without a loss; the column `repaired` says so."""
    boilerplate: bool = True
    """Drop navigation bars, cookie and copyright notices."""


def run(ctx: Context, config: RulesConfig) -> Result:
    """Add `tokens` and `repaired` (what was put right, or null); drop what a rule speaks against: rules.<rule>."""
    ctx.flow(partial(check, config=config), "corpus/language", "rules")
    kept = repaired = 0
    for part in iter_parts(ctx.out / "kept", ["tokens", "repaired"]):
        kept += int(part["tokens"].sum())
        repaired += part["repaired"].count()
    return Result({"tokens_kept": kept, "repaired": repaired})


def count_tokens(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Han characters plus words of other scripts, of each text."""
    return _count(texts).tokens


@dataclass(frozen=True)
class _Counts:
    """Per text: tokens, characters that are not blanks, special ones among them, suspects of broken encoding."""

    tokens: npt.NDArray[np.int64]
    solid: npt.NDArray[np.int64]
    special: npt.NDArray[np.int64]
    suspect: npt.NDArray[np.int64]


def _count(texts: Sequence[str]) -> _Counts:
    chars = batch(texts)
    bits = classify(chars.codes, classes(_PATTERNS))
    token = (bits & _HAN) > 0
    token |= run_starts((bits & _WORD) > 0)
    blank = (bits & _BLANK) > 0
    special = chars.count((bits & _SPECIAL) > 0)
    # Blanks do not interrupt a run of punctuation, the end of a text does.
    solid = ~blank
    solid[chars.ends] = True
    places = np.flatnonzero(solid)
    in_run = _in_long_runs((bits[places] & _PUNCTUATION) > 0)
    special += np.bincount(chars.owners(places[in_run]), minlength=len(texts))
    return _Counts(chars.count(token), chars.count(solid) - 1, special, chars.count((bits & _SUSPECT) > 0))


def _in_long_runs(chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Places within runs of at least `_RUN` chosen ones."""
    starts = chosen[: len(chosen) - _RUN + 1].copy()
    for step in range(1, _RUN):
        starts &= chosen[step : len(chosen) - _RUN + 1 + step]
    found = np.flatnonzero(starts)
    return np.unique((found[:, None] + np.arange(_RUN)).ravel())


def check(frame: pl.DataFrame, config: RulesConfig) -> pl.DataFrame:
    """The kernel."""
    texts = [t or "" for t in frame["text"].to_list()]
    seen = _count(texts)
    repaired = _repair(texts, seen) if config.repair else {}
    if repaired:
        texts = [repaired.get(number, text) for number, text in enumerate(texts)]
        seen = _count(texts)
    verdicts: list[tuple[str, str] | None] = [None] * len(texts)
    squeeze = zstandard.ZstdCompressor(level=-1)
    repetitive = []
    for number, (text, tokens, special, suspect) in enumerate(
        zip(
            texts,
            seen.tokens.tolist(),
            (seen.special / np.maximum(seen.solid, 1)).tolist(),
            seen.suspect.tolist(),
            strict=True,
        )
    ):
        data = text.encode("utf-8", "surrogatepass")
        verdicts[number] = _verdict(text, data, tokens, special, suspect, config)
        if verdicts[number] is None and len(squeeze.compress(data)) < _COMPRESSED * len(data):
            repetitive.append(number)
    for number, verdict in zip(repetitive, _repetition([texts[n] for n in repetitive], config), strict=True):
        verdicts[number] = verdict
    if repaired:
        frame = frame.with_columns(pl.Series("text", texts, pl.String))
    marks = ["mojibake" if number in repaired else None for number in range(len(texts))]
    return no_reason(frame).with_columns(
        pl.Series("tokens", seen.tokens, pl.Int64),
        pl.Series("repaired", marks, pl.String),
        pl.Series("reason", [v and f"rules.{v[0]}" for v in verdicts], pl.String),
        pl.Series("detail", [v and v[1] for v in verdicts], pl.String),
    )


def _repair(texts: Sequence[str], seen: _Counts) -> dict[int, str]:
    """Number → the text put right, of texts with broken encoding."""
    found = {}
    for number in np.flatnonzero(seen.suspect).tolist():
        tokens = int(seen.tokens[number])
        possible = MOJIBAKE.possible({"suspect": int(seen.suspect[number])}, tokens)
        if possible and MOJIBAKE(texts[number], tokens) and (fixed := repair(texts[number], tokens)):
            found[number] = fixed
    return found


def _verdict(
    text: str, data: bytes, tokens: int, special: float, suspect: int, config: RulesConfig
) -> tuple[str, str] | None:
    """(rule, detail) of the first rule that speaks, repetition aside."""
    if tokens < config.min_tokens:
        return "too_few_tokens", f"{tokens} tokens < {config.min_tokens}"
    if config.max_tokens is not None and tokens > config.max_tokens:
        return "too_many_tokens", f"{tokens} tokens > {config.max_tokens}"
    # Broken encoding comes before its symptom, the special characters.
    if config.mojibake and MOJIBAKE.possible({"suspect": suspect}, tokens) and (detail := MOJIBAKE(text, tokens)):
        return "mojibake", detail
    found = _anchors().at_most(data)
    for name, cues in _CUES.items():
        mine = {kind: found[kind] for kind in cues.kinds if kind in found}
        if mine and getattr(config, name) and cues.possible(mine, tokens) and (detail := cues(text, tokens, mine)):
            return name, detail
    if special > config.special_characters:
        return "special_characters", f"special characters {special:.0%} > {config.special_characters:.0%}"
    return None


@cache
def _anchors() -> Anchors:
    return Anchors({kind: pattern for cues in _CUES.values() for kind, pattern in cues.kinds.items()})


def _repetition(texts: Sequence[str], config: RulesConfig) -> list[tuple[str, str] | None]:
    verdicts: list[tuple[str, str] | None] = []
    for text, ngrams in zip(texts, repeated_ngrams(texts), strict=True):
        if (share := repeated_lines(text)) > config.repeated_lines:
            verdicts.append(("repeated_lines", f"repeated lines {share:.0%} of the text > {config.repeated_lines:.0%}"))
        elif ngrams > config.repeated_ngrams:
            verdicts.append(("repeated_ngrams", f"repeated {_NGRAM}-grams {ngrams:.0%} > {config.repeated_ngrams:.0%}"))
        else:
            verdicts.append(None)
    return verdicts


def repeated_lines(text: str) -> float:
    """Share of the characters that stand in a line or sentence that came before; at least two such lines, else 0."""
    for mark in _BREAKS:
        text = text.replace(mark, "\n")
    lines = text.split("\n")
    if len(lines) - len(set(lines)) < 2:
        return 0.0
    lines = [line.strip() for line in lines]
    counts = Counter(line for line in lines if len(line) > 3)
    again = sum((n - 1) * len(line) for line, n in counts.items())
    repeats = sum(n - 1 for n in counts.values())
    return again / sum(map(len, lines)) if repeats >= 2 else 0.0


def repeated_ngrams(texts: Sequence[str]) -> list[float]:
    """For each text the share of its 8-grams of tokens that occurred before; 0 for fewer than 32 tokens."""
    tokens = tokenise(texts)
    grams = ngram_hashes(tokens.hashes, _NGRAM)
    shares = []
    for start, count in zip(tokens.starts.tolist(), tokens.counts.tolist(), strict=False):
        mine = grams[start : start + count - _NGRAM + 1]
        shares.append(1 - len(np.unique(mine)) / len(mine) if count >= 32 else 0.0)
    return shares


_CUES = {"advert": ADVERT, "media_residue": MEDIA, "boilerplate": NAVIGATION}
