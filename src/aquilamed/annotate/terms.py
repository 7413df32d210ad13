"""What the rule-based raters see of a text: its words, its sentences, and which listed terms occur in it."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "lexicon"
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_WORD = re.compile(r"[a-z]+(?:['’-][a-z]+)*")
_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？；])|\n+")
# A Chinese word is about 1.6 characters long; with this both languages' densities share one scale.
_HAN_PER_WORD = 1.6


@cache
def entries(name: str) -> tuple[str, ...]:
    """The comma-separated entries of `lexicon/<name>.txt`; lines with # are comments."""
    lines = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    found = (entry.strip() for line in lines if not line.startswith("#") for entry in line.split(","))
    return tuple(dict.fromkeys(entry for entry in found if entry))


@cache
def _automaton(names: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    from ahocorasick_rs import AhoCorasick, MatchKind

    terms = tuple(dict.fromkeys(term for name in names for term in entries(name)))
    return AhoCorasick(terms, matchkind=MatchKind.LeftmostLongest), terms


def occurrences(text: str, *names: str) -> Iterator[str]:
    """The terms of these lists in a lower-case text, leftmost and longest; Latin terms only as whole words."""
    automaton, terms = _automaton(names)
    for which, start, end in automaton.find_matches_as_indexes(text):
        term = terms[which]
        before, after = text[start - 1 : start], text[end : end + 1]
        if term[0].isascii() and term[0].isalnum() and before.isascii() and before.isalnum():
            continue
        if term[-1].isascii() and term[-1].isalnum() and after.isascii() and after.isalnum():
            continue
        yield term


@dataclass(frozen=True)
class Text:
    """A text and what is counted in it; every part is computed when it is first asked for."""

    raw: str

    @cached_property
    def lower(self) -> str:
        """The text in lower case."""
        return self.raw.lower()

    @cached_property
    def words(self) -> list[str]:
        """The Latin words, lower case."""
        return _WORD.findall(self.lower)

    @cached_property
    def han(self) -> list[str]:
        """The Chinese characters."""
        return _HAN.findall(self.raw)

    @cached_property
    def size(self) -> float:
        """Length in words; Chinese characters are counted as parts of words."""
        return len(self.words) + len(self.han) / _HAN_PER_WORD

    @property
    def chinese(self) -> bool:
        """Whether most of the text is Chinese."""
        return len(self.han) / _HAN_PER_WORD > len(self.words)

    @cached_property
    def sentences(self) -> list[str]:
        """Sentences and lines, without blanks around them."""
        return [s.strip() for s in _END.split(self.raw) if s.strip()]

    @cached_property
    def paragraphs(self) -> list["Text"]:
        """Paragraphs of at least eight words."""
        found = (Text(p) for p in re.split(r"\n+", self.raw) if p.strip())
        return [p for p in found if p.size >= 8]

    @cached_property
    def medical(self) -> Counter[str]:
        """Medical terms of both languages and how often they occur."""
        return Counter(occurrences(self.lower, "medical.en", "medical.zh"))

    def density(self, *names: str) -> float:
        """How many entries of these lists occur per hundred words."""
        return 100 * sum(1 for _ in occurrences(self.lower, *names)) / max(self.size, 1.0)

    @cached_property
    def medical_share(self) -> float:
        """Share of the text's words that belong to medical terms."""
        covered = sum(n * Text(term).size for term, n in self.medical.items())
        return covered / max(self.size, 1.0)

    @cached_property
    def morphology_share(self) -> float:
        """Share of words with a medical ending or beginning, or of characters typical of medical Chinese."""
        latin = sum(_medical_form(w) for w in self.words)
        typical = frozenset(entries("morphology.zh"))
        han = sum(c in typical for c in self.han)
        return (latin + han / _HAN_PER_WORD) / max(self.size, 1.0)

    @cached_property
    def content(self) -> frozenset[str]:
        """What the text is about: its longer Latin words and its Chinese character pairs."""
        words = {w for w in self.words if len(w) > 3 and w not in _COMMON}
        runs = re.findall(r"[\u3400-\u9fff]{2,}", self.raw)
        pairs = {run[i : i + 2] for run in runs for i in range(len(run) - 1)}
        return frozenset(words | {p for p in pairs if not set(p) & _COMMON_HAN})


_COMMON = frozenset(
    re.findall(
        r"\w+",
        """this that these those with from have been were what which when where will would could should about there
        their they them then than your yours also some such only other into over more most very just like does doing
        done make made much many each every because while after before being both between through during under again
        here""",
    )
)
_COMMON_HAN = frozenset(
    "的了是在我有和就不都一也很到说要去你会着没看好自这那吗呢吧啊们与及或为以而之其可能对把被让给从向"
)


@cache
def _forms() -> tuple[tuple[str, ...], tuple[str, ...]]:
    forms = entries("morphology.en")
    endings = tuple(f[1:] for f in forms if f.startswith("-"))
    return endings, tuple(f[:-1] for f in forms if f.endswith("-"))


@cache
def _medical_form(word: str) -> bool:
    endings, beginnings = _forms()
    # Short words end in -ase or -oma by chance (case, base, phase; Roma).
    return len(word) > 5 and (word.endswith(endings) or word.startswith(beginnings))
