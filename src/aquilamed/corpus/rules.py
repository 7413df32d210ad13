"""Stage corpus/rules: documents that rules can tell are no good text (paper, section 2, step 4).

A rule is a function from a text (and the config) to a detail sentence, or None. The first rule that speaks names the
reason. What a rule needs is looked for in a whole batch at once with Polars; Python sees only the candidates.
"""

import re
import zlib
from collections import Counter
from collections.abc import Callable
from functools import partial

import polars as pl
from pydantic import Field

from aquilamed.config import Config
from aquilamed.corpus.cues import ADVERT, MEDIA, MOJIBAKE, NAVIGATION
from aquilamed.corpus.ngrams import normalise, tokens
from aquilamed.engine import no_reason
from aquilamed.records import iter_parts
from aquilamed.stage import Context, Result

TOKENS = r"\p{Han}|[[\p{L}\p{N}\p{M}]--\p{Han}]+"
# Not letters, digits, blanks or the punctuation of ordinary Chinese and English prose.
_SPECIAL = r"""[^\p{L}\p{M}\p{N}\s.,;:!?'"()\-–—/%&+=°·…，。；：！？、“”‘’（）《》〈〉「」『』【】～]"""
_RUN = r"[.,;:!?'\"\-–—/%&+=°·…，。；：！？、～]{4,}"
_SENTENCE_OR_LINE = re.compile(r"[\n。！？]+|(?<=[.!?])\s+")
_NGRAM = 8
# A text with much repetition shrinks below this under zlib; prose stays at 0.45 to 0.6. Exact counts for the rest only.
_COMPRESSED = 0.45
Rule = Callable[[str, int], str | None]


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
    boilerplate: bool = True
    """Drop navigation bars, cookie and copyright notices."""


def run(ctx: Context, config: RulesConfig) -> Result:
    """Add `tokens`; drop what a rule speaks against. Reasons are rules.<rule>."""
    ctx.flow(partial(check, config=config), "corpus/language", "rules")
    kept = sum(int(part["tokens"].sum()) for part in iter_parts(ctx.out / "kept", ["tokens"]))
    return Result({"tokens_kept": kept})


def count_tokens(text: pl.Expr) -> pl.Expr:
    """Han characters plus words of other scripts, of a text column."""
    return text.fill_null("").str.count_matches(TOKENS).cast(pl.Int64)


def check(frame: pl.DataFrame, config: RulesConfig) -> pl.DataFrame:
    """The kernel."""
    text = pl.col("text").fill_null("")
    solid = text.str.replace_all(r"\s+", "").str.len_chars()
    runs = solid - text.str.replace_all(r"\s+", "").str.replace_all(_RUN, "").str.len_chars()
    cues = {name: set_.kinds_in(text) >= set_.fewest for name, set_ in _CUES.items() if getattr(config, name)}
    seen = frame.select(
        count_tokens(pl.col("text")).alias("tokens"),
        ((text.str.count_matches(_SPECIAL) + runs) / pl.max_horizontal(solid, pl.lit(1))).alias("special"),
        **cues,
    )
    verdicts = [
        _verdict(t or "", row, config)
        for t, row in zip(frame["text"].to_list(), seen.iter_rows(named=True), strict=True)
    ]
    return no_reason(frame).with_columns(
        seen["tokens"],
        pl.Series("reason", [v and f"rules.{v[0]}" for v in verdicts], pl.String),
        pl.Series("detail", [v and v[1] for v in verdicts], pl.String),
    )


def _verdict(text: str, seen: dict[str, float], config: RulesConfig) -> tuple[str, str] | None:
    """(rule, detail) of the first rule that speaks."""
    count = int(seen["tokens"])
    if count < config.min_tokens:
        return "too_few_tokens", f"{count} tokens < {config.min_tokens}"
    if config.max_tokens is not None and count > config.max_tokens:
        return "too_many_tokens", f"{count} tokens > {config.max_tokens}"
    for name, rule in _CUES.items():
        # Broken encoding comes before its symptom, the special characters.
        if seen.get(name) and (detail := rule(text, count)):
            return name, detail
    if seen["special"] > config.special_characters:
        return "special_characters", f"special characters {seen['special']:.0%} > {config.special_characters:.0%}"
    return _repetition(text, config)


def _repetition(text: str, config: RulesConfig) -> tuple[str, str] | None:
    data = text.encode("utf-8", "surrogatepass")
    if len(zlib.compress(data, 1)) > _COMPRESSED * len(data):
        return None
    if (share := repeated_lines(text)) > config.repeated_lines:
        return "repeated_lines", f"repeated lines {share:.0%} of the text > {config.repeated_lines:.0%}"
    if (share := repeated_ngrams(text)) > config.repeated_ngrams:
        return "repeated_ngrams", f"repeated {_NGRAM}-grams {share:.0%} > {config.repeated_ngrams:.0%}"
    return None


def repeated_lines(text: str) -> float:
    """Share of the characters that stand in a line or sentence that came before; at least two such lines, else 0."""
    lines = [line.strip() for line in _SENTENCE_OR_LINE.split(text)]
    counts = Counter(line for line in lines if len(line) > 3)
    again = sum((n - 1) * len(line) for line, n in counts.items())
    repeats = sum(n - 1 for n in counts.values())
    return again / sum(map(len, lines)) if repeats >= 2 else 0.0


def repeated_ngrams(text: str) -> float:
    """Share of the 8-grams of tokens that occurred before; 0 for fewer than 32 tokens."""
    words = tokens(normalise(text))
    if len(words) < 32:
        return 0.0
    grams = [" ".join(words[i : i + _NGRAM]) for i in range(len(words) - _NGRAM + 1)]
    return 1 - len(set(grams)) / len(grams)


_CUES = {"mojibake": MOJIBAKE, "advert": ADVERT, "media_residue": MEDIA, "boilerplate": NAVIGATION}
