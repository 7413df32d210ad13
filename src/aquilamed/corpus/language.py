"""Stage corpus/language: the language of a document by script and words (paper, section 2, step 2).

Chinese is told by its characters (Traditional from Simplified by OpenCC's tables), English by Latin script and English
stop words. Everything else is `other`. Chinese mixed with English is Chinese.
"""

from collections import Counter
from functools import cache, partial
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field

from aquilamed.config import Config
from aquilamed.engine import no_reason
from aquilamed.records import iter_parts
from aquilamed.stage import Context, Result

# Words that few other languages share: no "in" (German), "on" (French), "a", "as" (Portuguese), "no" (Spanish).
_ENGLISH = (
    r"(?i)\b(?:the|of|and|to|is|that|with|for|are|was|were|this|these|which|have|has|had|it|be|been|from|by|or|you|your"
    r"|what|when|how|not|can|may|will|should|their|they|there|if|than|who|my|does|do|at)\b"
)
_FOREIGN = (
    r"(?i)\b(?:der|das|und|ist|nicht|ein|eine|einer|von|mit|auf|den|dem|bei|oder|le|la|les|des|une|est|dans|pour|par"
    r"|avec|sur|et|du|de|el|los|las|una|con|para|del|por|que|se|il|che|della|di|non|per|sono|het|een|van|niet|zijn|voor"
    r"|os|uma|na|och|att|det|som|på|av|og|til|ve|bir|ile|nie|jest|yang|dan|untuk|của|và|là)\b"
)
_LEAST_CHINESE = 0.3
"""Han characters among Han characters and Latin words; below, a mixed text is judged by its Latin words."""
_LEAST_ENGLISH = 0.06
_OTHER_EAST_ASIAN = 0.1
"""Kana or Hangul among East Asian letters; a Japanese name in a Chinese text stays below."""

Language = Literal["zh", "zh-Hant", "en", "other"]


class LanguageConfig(Config):
    """Which languages stay."""

    keep: list[Language] = Field(default=["zh", "zh-Hant", "en"], min_length=1)
    """Languages that are kept: zh (Simplified), zh-Hant (Traditional), en, other."""


@cache
def _table(name: str) -> dict[str, list[str]]:
    import opencc

    lines = (Path(opencc.__file__).parent / "dictionary" / name).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t") for line in lines if "\t" in line]
    return {key: values.split() for key, values in pairs if len(key) == 1}


@cache
def script_characters() -> tuple[str, str]:
    """(characters that only Traditional Chinese has, those that only Simplified Chinese has)."""
    to_simplified, to_traditional = _table("TSCharacters.txt"), _table("STCharacters.txt")
    traditional = {c for c, v in to_simplified.items() if c not in v and c not in to_traditional}
    simplified = {c for c, v in to_traditional.items() if c not in v and c not in to_simplified}
    return "".join(sorted(traditional)), "".join(sorted(simplified))


@cache
def _to_simplified() -> dict[int, str]:
    return {ord(c): v[0] for c, v in _table("TSCharacters.txt").items() if c not in v}


def simplify(text: str) -> str:
    """Traditional characters replaced by Simplified ones, one for one."""
    return text.translate(_to_simplified())


def run(ctx: Context, config: LanguageConfig) -> Result:
    """Add `lang` and `zh_share`; drop languages that are not kept."""
    ctx.flow(partial(check, config=config), "sources/documents", "language")
    seen: Counter[str] = Counter()
    for folder in ("kept", "dropped"):
        for part in iter_parts(ctx.out / folder, ["lang"]):
            seen.update(part["lang"].to_list())
    return Result({"lang": dict(sorted(seen.items()))})


def check(frame: pl.DataFrame, config: LanguageConfig) -> pl.DataFrame:
    """The kernel."""
    frame = no_reason(frame).with_columns(languages(frame["text"]).select("lang", "zh_share", "detail"))
    bad = ~pl.col("lang").is_in(config.keep)
    return frame.with_columns(
        pl.when(bad).then(pl.lit("language.other")).alias("reason"),
        pl.when(bad).then(pl.format("{} is not kept: {}", "lang", "detail")).alias("detail"),
    )


def languages(texts: pl.Series) -> pl.DataFrame:
    """`lang`, `zh_share` (Han among all letters, 0 to 1) and `detail` of each text."""
    counted = _count(texts.alias("text").to_frame())
    han, latin = pl.col("han"), pl.col("latin")
    east = pl.max_horizontal(han + pl.col("kana") + pl.col("hangul"), pl.lit(1))
    chinese = (
        (han > 0)
        & (han / pl.max_horizontal(han + latin, pl.lit(1)) >= _LEAST_CHINESE)
        & (han > pl.col("foreign_letters"))
    )
    english = pl.col("english") / pl.max_horizontal(latin, pl.lit(1))
    foreign = pl.col("foreign") / pl.max_horizontal(latin, pl.lit(1))
    # A title or a list of drugs has no stop words: then it is English unless another language's words say otherwise.
    is_english = (
        (latin > 0) & (pl.col("latin_letters") > pl.col("foreign_letters")) & (pl.col("accented") <= latin * 0.1)
    )
    listed = (english >= 0.01) & (foreign < 0.01) | (latin < 40) & (foreign < 0.04)
    by_words = (english >= _LEAST_ENGLISH) & (english > foreign) | listed
    return counted.with_columns(
        pl.when((pl.col("kana") + pl.col("hangul")) / east >= _OTHER_EAST_ASIAN)
        .then(pl.lit("other"))
        .when(chinese & (pl.col("traditional") > pl.col("simplified")))
        .then(pl.lit("zh-Hant"))
        .when(chinese)
        .then(pl.lit("zh"))
        .when(is_english & by_words)
        .then(pl.lit("en"))
        .otherwise(pl.lit("other"))
        .alias("lang"),
        (han / pl.max_horizontal("letters", pl.lit(1))).round(4).alias("zh_share"),
        pl.format(
            "{} Han, {} Kana, {} Hangul letters; {} Latin words, {} of them English stop words, {} of other languages",
            "han", "kana", "hangul", "latin", "english", "foreign",
        ).alias("detail"),
    )  # fmt: skip


def _count(frame: pl.DataFrame) -> pl.DataFrame:
    traditional, simplified = script_characters()
    patterns = {
        "letters": r"\p{L}",
        "han": r"\p{Han}",
        "kana": r"[\p{Hiragana}\p{Katakana}]",
        "hangul": r"\p{Hangul}",
        "latin_letters": r"\p{Latin}",
        "latin": r"\p{Latin}{2,}",
        "accented": r"[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff]",
        "traditional": f"[{traditional}]",
        "simplified": f"[{simplified}]",
        "english": _ENGLISH,
        "foreign": _FOREIGN,
    }
    text = pl.col("text").fill_null("")
    counted = frame.select(text.str.count_matches(p).cast(pl.Int64).alias(name) for name, p in patterns.items())
    known = pl.col("han") + pl.col("kana") + pl.col("hangul") + pl.col("latin_letters")
    return counted.with_columns((pl.col("letters") - known).alias("foreign_letters"))
