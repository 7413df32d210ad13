"""Texts as hashed n-grams: what deduplication and decontamination compare.

A token is one Han character or one word of another script. Hashes are 64-bit, the same in every process and on every
machine (Python's own `hash` is salted), and n-grams are computed with numpy, not as strings.
"""

import re
import unicodedata
import zlib

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{HAN}]|[^\W_{HAN}]+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_MOST_CACHED = 2_000_000


class _Known(dict[str, int]):
    """Token → 64-bit hash; the lowest bit says whether it is a Han character."""

    def __missing__(self, token: str) -> int:
        if len(self) > _MOST_CACHED:
            self.clear()
        data = token.encode("utf-8", "surrogatepass")
        wide = zlib.crc32(data) << 32 | zlib.crc32(data, 0x5BD1E995)
        self[token] = value = wide & ~1 | ("\u3400" <= token < "\ufb00" and len(token) == 1)
        return value


_known = _Known()


def normalise(text: str) -> str:
    """NFKC (full width becomes half width) and lower case."""
    return unicodedata.normalize("NFKC", text).lower()


def tokens(text: str) -> list[str]:
    """The Han characters and words of a normalised text, without punctuation."""
    return _TOKEN.findall(text)


def token_hashes(words: list[str]) -> Hashes:
    """A hash per token."""
    return np.fromiter(map(_known.__getitem__, words), dtype=np.uint64, count=len(words))


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
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
