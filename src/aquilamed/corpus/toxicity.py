"""Stage corpus/toxicity: slurs, obscenity, violence and illegal offers (paper, section 2, step 4: toxic content).

Terms of our lexicons (`lexicon/strong.*`, `lexicon/weak.*`) are counted and weighed against the medical terms around
them: a text on breast cancer, sexually transmitted disease, rape trauma or suicide screening is medicine and stays.
"""

from collections import Counter
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from aquilamed.annotate.terms import Text
from aquilamed.config import Config, Invalid
from aquilamed.engine import no_reason
from aquilamed.stage import Context, Result

_FOLDER = Path(__file__).parent / "lexicon"
_STRONG, _WEAK = 3.0, 1.0
_MEDICAL_CREDIT = 0.25
"""Points per 100 words that one percent of medical words takes off the weak terms: 8 % take off 2."""


class ToxicityConfig(Config):
    """How much is too much."""

    score: float = Field(default=3.0, gt=0)
    """Smallest score: a strong term counts 3, a weak one 1, each term three times at most."""
    density: float = Field(default=2.0, gt=0)
    """Smallest score per 100 words after the medical credit; long texts may quote an insult."""
    lexicon: str | None = None
    """A further list of terms, one a line (such as LDNOOBW), below data_root; they count as weak."""


Terms = tuple[tuple[str, float], ...]


def read_terms(text: str, weight: float, separator: str) -> Terms:
    """The lower-case terms of a lexicon's text; lines with # are comments."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = (term.strip().lower() for line in lines for term in line.split(separator))
    return tuple((term, weight) for term in dict.fromkeys(found) if term)


@cache
def own_terms() -> Terms:
    """Our lexicons."""
    weights = {"strong": _STRONG, "weak": _WEAK}
    files = [(f, weights[f.name.split(".")[0]]) for f in sorted(_FOLDER.glob("*.*.txt"))]
    return tuple(t for f, weight in files for t in read_terms(f.read_text(encoding="utf-8"), weight, ","))


@lru_cache(maxsize=4)
def _automaton(extra: Terms) -> tuple[Any, list[str], list[float]]:
    from ahocorasick_rs import AhoCorasick, MatchKind

    weights = dict(extra) | dict(own_terms())
    return AhoCorasick(list(weights), matchkind=MatchKind.LeftmostLongest), list(weights), list(weights.values())


def run(ctx: Context, config: ToxicityConfig) -> Result:
    """Drop toxic documents; reason toxicity.lexicon.

    Raises `Invalid` when the further lexicon is not UTF-8 text.
    """
    extra: Terms = ()
    if config.lexicon is not None:
        for name, path in ctx.files(config.lexicon):
            try:
                extra += read_terms(path.read_text(encoding="utf-8"), _WEAK, "\n")
            except UnicodeDecodeError as error:
                raise Invalid(f"corpus.toxicity.lexicon: {name} is not UTF-8 ({error}); save it as UTF-8") from error
    ctx.flow(partial(check, config=config, extra=extra), "corpus/pii", "toxicity")
    return Result({"terms": len(own_terms()) + len(extra)})


def check(frame: pl.DataFrame, config: ToxicityConfig, extra: Terms = ()) -> pl.DataFrame:
    """The kernel."""
    details = pl.Series("detail", [toxic(t or "", config, extra) for t in frame["text"].to_list()], pl.String)
    return (
        no_reason(frame)
        .with_columns(details)
        .with_columns(pl.when(pl.col("detail").is_not_null()).then(pl.lit("toxicity.lexicon")).alias("reason"))
    )


def toxic(text: str, config: ToxicityConfig | None = None, extra: Terms = ()) -> str | None:
    """A sentence with the terms and the score when a text is toxic, else None."""
    config = config or ToxicityConfig()
    found = _hits(text.lower(), extra)
    score = sum(weight * min(count, 3) for (_, weight), count in found.items())
    if score < config.score:
        return None
    seen = Text(text)
    size = max(seen.size, 1.0)
    density = 100 * score / max(size, 10.0)
    # Strong terms are no part of medicine: the credit is for weak ones only.
    weak = sum(weight * min(count, 3) for (_, weight), count in found.items() if weight < _STRONG)
    credit = min(100 * weak / max(size, 10.0), 100 * seen.medical_share * _MEDICAL_CREDIT)
    if density - credit < config.density or (score == weak and 100 * seen.medical_share >= 8):
        return None
    shown = ", ".join(f"{term!r}×{count}" for (term, _), count in found.most_common(3))
    return f"toxic terms {shown}: score {score:g}, {density - credit:.1f} per 100 words ≥ {config.density:g}"


def _hits(lower: str, extra: Terms) -> Counter[tuple[str, float]]:
    """(term, weight) → how often it occurs; Latin terms only as whole words."""
    automaton, terms, weights = _automaton(extra)
    found: Counter[tuple[str, float]] = Counter()
    for which, start, end in automaton.find_matches_as_indexes(lower, overlapping=False):
        if _inside_word(lower, start, end):
            continue
        found[terms[which], weights[which]] += 1
    return found


def _inside_word(text: str, start: int, end: int) -> bool:
    def joined(left: str, right: str) -> bool:
        return left.isascii() and left.isalnum() and right.isascii() and right.isalnum()

    return joined(text[start - 1 : start], text[start]) or joined(text[end - 1], text[end : end + 1])
