"""Texts as hashed tokens and n-grams: what deduplication, decontamination and the repetition rules compare.

A token is one Han character or one word of another script, normalised (NFKC, lower case). Hashes are 64-bit and the same
in every process and on every machine; they are computed with numpy for a whole batch of texts, never as strings.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from aquilamed.corpus.characters import TABLE, Batch, Bits, batch, classes, classify

Hashes = npt.NDArray[np.uint64]
HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{HAN}]|[^\W_{HAN}]+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 2**64))
_SLICE = 1 << 18  # characters worked on at once: what fits the processor's cache
_IS_HAN, _IS_WORD, _IS_SPACE, _IS_SLOW = (np.uint8(1 << bit) for bit in range(4))


@dataclass(frozen=True)
class TokenBatch:
    """The tokens of some texts, one text after the other.

    Args:
        hashes: uint64, one per token; the lowest bit says whether it is a Han character.
        starts: int64 (texts + 1), where each text's tokens start in `hashes`.
        texts: uint64 (texts), a hash of each normalised text, punctuation included, the width of blanks not.
        lengths: int64 (texts), characters that are not blanks.
    """

    hashes: Hashes
    starts: npt.NDArray[np.int64]
    texts: Hashes
    lengths: npt.NDArray[np.int64]

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """How many tokens each text has."""
        return np.diff(self.starts)


def normalise(text: str) -> str:
    """NFKC (full width becomes half width) and lower case."""
    return unicodedata.normalize("NFKC", text).lower()


def tokenise(texts: Sequence[str]) -> TokenBatch:
    """The hashed tokens of texts."""
    parts = [_tokenise(part) for part in slices(texts)] or [_tokenise([])]
    sizes = np.concatenate([part.counts for part in parts])
    return TokenBatch(
        np.concatenate([part.hashes for part in parts]),
        np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]),
        np.concatenate([part.texts for part in parts]),
        np.concatenate([part.lengths for part in parts]),
    )


def slices(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in runs that are worked on together."""
    start = size = 0
    for end, text in enumerate(texts, 1):
        size += len(text)
        if size >= _SLICE:
            yield texts[start:end]
            start, size = end, 0
    if start < len(texts):
        yield texts[start:]


def _tokenise(texts: Sequence[str]) -> TokenBatch:
    chars, bits = _characters(texts)
    values, (powers, inverses) = _values().take(chars.codes, mode="clip"), _powers(len(bits))
    word, solid = (bits & _IS_WORD) > 0, (bits & _IS_SPACE) == 0
    # A piece is a word or any other character that is no blank; blanks have the value 0 and add nothing to a sum.
    inner = word.copy()
    inner[1:] &= word[:-1]
    inner[:1] = False
    places = np.flatnonzero(solid & ~inner)
    pieces = mix(np.add.reduceat(values * powers, places) * inverses[places]) if len(places) else np.empty(0, np.uint64)
    firsts = np.searchsorted(places, np.append(chars.starts, len(bits)))
    whole = np.zeros(len(texts), np.uint64)
    filled = np.flatnonzero(firsts[1:] > firsts[:-1])
    if len(filled):
        whole[filled] = np.add.reduceat(pieces * powers[: len(pieces)], firsts[filled]) * inverses[firsts[filled]]
    kinds = bits[places]
    tokens = np.flatnonzero(kinds & (_IS_HAN | _IS_WORD))
    hashes = (pieces[tokens] & ~np.uint64(1)) | ((kinds[tokens] & _IS_HAN) > 0)
    return TokenBatch(hashes, np.searchsorted(tokens, firsts), mix(whole), chars.count(solid))


def _characters(texts: Sequence[str]) -> tuple[Batch, Bits]:
    """The characters of texts and their classes, those that normalisation does not map one to one written out."""
    chars = batch(texts)
    bits = classify(chars.codes, _classes())
    slow = np.flatnonzero(bits & _IS_SLOW)
    if not len(slow):
        return chars, bits
    clean = list(texts)
    for number in np.unique(chars.owners(slow)).tolist():
        clean[number] = normalise(clean[number])
    chars = batch(clean)
    return chars, classify(chars.codes, _classes())


@cache
def _normal() -> npt.NDArray[np.uint32]:
    """Code point → the code point that it becomes; 0xffffffff when it becomes several or joins its neighbour."""
    table = np.arange(TABLE, dtype=np.uint32)
    for code in range(TABLE):
        char = chr(code)
        clean = normalise(char)
        joins = unicodedata.combining(char) or 0x1100 <= code < 0x1200
        if len(clean) != 1 or joins:
            table[code] = 0xFFFFFFFF
        elif clean != char:
            table[code] = ord(clean)
    return table


@cache
def _classes() -> Bits:
    normal = _normal()
    slow = normal == 0xFFFFFFFF
    table = classes((f"[{HAN}]", rf"[[\p{{L}}\p{{N}}]--[{HAN}]]", r"\s"))
    return np.where(slow, table | _IS_SLOW, table[np.where(slow, 0, normal)])


@cache
def _values() -> Hashes:
    """Code point → the hash of what it becomes; 0 for blanks."""
    normal = np.where(_normal() == 0xFFFFFFFF, np.arange(TABLE, dtype=np.uint32), _normal())
    values = mix(normal.astype(np.uint64) + _MULTIPLIER)
    values[(_classes() & _IS_SPACE) > 0] = 0
    return values


@cache
def _some_powers(size: int) -> tuple[Hashes, Hashes]:
    def powers(base: np.uint64) -> Hashes:
        factors = np.full(size, base, dtype=np.uint64)
        factors[0] = 1
        return np.multiply.accumulate(factors)

    return powers(_MULTIPLIER), powers(_INVERSE)


def _powers(size: int) -> tuple[Hashes, Hashes]:
    """At least so many powers of the multiplier, modulo 2^64, and of its inverse."""
    forward, backward = _some_powers(1 << max(size, 2 * _SLICE).bit_length())
    return forward[:size], backward[: size + 1]


def tokens(text: str) -> list[str]:
    """The Han characters and words of a normalised text, without punctuation."""
    return _TOKEN.findall(text)


def token_hashes(words: list[str]) -> Hashes:
    """A hash per token."""
    return tokenise([" ".join(words)]).hashes


def is_han(hashes: Hashes) -> npt.NDArray[np.bool_]:
    """Which tokens are Han characters."""
    return (hashes & np.uint64(1)).astype(np.bool_)


def ngram_hashes(hashes: Hashes, n: int) -> Hashes:
    """The hash of the n-gram at every position that has n tokens behind it."""
    count = len(hashes) - n + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    total = hashes[:count].copy()
    for offset in range(1, n):
        total *= _MULTIPLIER
        total += hashes[offset : offset + count]
    return mix(total)


def mix(values: Hashes) -> Hashes:
    """Spread the bits (splitmix64's finaliser): MinHash needs values that look random."""
    mixed = values >> np.uint64(30)
    shifted = np.empty_like(mixed)
    mixed ^= values
    for shift, factor in ((27, 0xBF58476D1CE4E5B9), (31, 0x94D049BB133111EB)):
        mixed *= np.uint64(factor)
        mixed ^= np.right_shift(mixed, np.uint64(shift), out=shifted)
    return mixed
