"""Finding benchmark questions in texts: an index of n-grams, and a search over whole batches.

Both sides are normalised (half width, lower case, Simplified, no punctuation, no option letters) and cut into n-grams.
A text holds a question when at least `share` of the question's n-grams stand close together in it; n-grams that many
questions share ("which of the following is the most") weigh little. The shorter a question, the shorter its n-grams, so
that one changed word leaves most of them.

A batch is searched in two steps. A table says which of its n-grams may be rare n-grams of a question (most text ends
here); only the questions that have enough of these in one text are then compared in full.
"""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from aquilamed.corpus.characters import TABLE, batch
from aquilamed.corpus.language import simplify
from aquilamed.corpus.ngram_index import Index, Rare, Unit
from aquilamed.corpus.ngrams import Hashes, TokenBatch, is_han, ngram_hashes, slices, tokenise

if TYPE_CHECKING:
    from aquilamed.corpus.decontaminate import DecontaminateConfig
    from aquilamed.evaluate.tasks import BenchmarkText

Ints = npt.NDArray[np.int64]
# The sizes of n-grams: few, because a text is hashed once for each.
_SIZES = (3, 4, 6)
_HAN_PER_WORD = 1.5
_RARE = 16  # an n-gram of more questions starts no comparison
_ENOUGH = 0.4  # share of a question's rare n-grams, anywhere in a text, that starts one


class Overlap(NamedTuple):
    """A benchmark's question in a text: `share` of its n-grams of `size` tokens are there."""

    benchmark: str
    id: str
    share: float
    size: int


def clean_tokens(texts: Sequence[str]) -> TokenBatch:
    """The tokens of texts as both sides are compared: Simplified, without single letters A to J."""
    found = tokenise(_simplified(texts))
    letter = np.flatnonzero(_letter_table()[found.hashes >> np.uint64(44)])
    letter = letter[np.isin(found.hashes[letter], _letters())]
    before = np.searchsorted(letter, found.starts)
    return TokenBatch(np.delete(found.hashes, letter), found.starts - before, found.texts, found.lengths)


@cache
def _letters() -> Hashes:
    """Letters before options; the article "a" and "hepatitis B" lose theirs on both sides."""
    return tokenise(list("abcdefghij")).hashes


@cache
def _letter_table() -> npt.NDArray[np.bool_]:
    table = np.zeros(1 << 20, np.bool_)
    table[_letters() >> np.uint64(44)] = True
    return table


@cache
def _simple() -> npt.NDArray[np.uint32]:
    """Code point → its Simplified form."""
    simple = simplify("".join(map(chr, range(0x3400, TABLE))))
    return np.concatenate([np.arange(0x3400), [ord(c) for c in simple]]).astype(np.uint32)


def _simplified(texts: Sequence[str]) -> list[str]:
    wide = [number for number, text in enumerate(texts) if not text.isascii()]
    chars = batch([texts[number] for number in wide])
    codes = np.where(chars.codes < TABLE, _simple().take(chars.codes, mode="clip"), chars.codes)
    whole = codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
    found = list(texts)
    for number, start, end in zip(wide, chars.starts.tolist(), chars.ends.tolist(), strict=True):
        found[number] = whole[start:end]
    return found


def words(hashes: Hashes) -> float:
    """The length of tokens in words: 1.5 Chinese characters count as one."""
    han = int(is_han(hashes).sum())
    return len(hashes) - han + han / _HAN_PER_WORD


def build_index(texts: "Sequence[BenchmarkText]", config: "DecontaminateConfig") -> Index:
    """The index of benchmark texts (benchmark, id, text: a question, then its options, one a line)."""
    found = [unit for text in texts for unit in _units(text, config)]
    owner = np.repeat(np.arange(len(found)), [len(unit.grams) for unit in found])
    flat = np.concatenate([np.empty(0, np.uint64), *(unit.grams for unit in found)])
    frequency = _frequency(flat, np.array(_question_number(found), np.int64)[owner])
    rarity = 1.0 / np.sqrt(frequency)
    units: list[Unit] = []
    chosen = frequency <= _RARE
    ends = np.cumsum([len(unit.grams) for unit in found]).tolist()
    for unit, end in zip(found, ends, strict=True):
        mine = slice(end - len(unit.grams), end)
        units.append(
            Unit(*_key(unit), unit.length, unit.least, unit.size, unit.grams, rarity[mine] / rarity[mine].sum())
        )
        if not chosen[mine].any():  # all common: then all of them start a comparison
            chosen[mine] = True
    sizes = np.array([unit.size for unit in units], np.int64)[owner]
    rare = [_rare(size, flat, owner, rarity, chosen & (sizes == size), len(units)) for size in _SIZES]
    return Index(units, [r for r in rare if len(r.grams)])


def _key(unit: Unit) -> tuple[str, str]:
    return unit.benchmark, unit.id


def _rare(
    size: int, flat: Hashes, owner: Ints, rarity: npt.NDArray[np.float64], chosen: npt.NDArray[np.bool_], units: int
) -> Rare:
    grams, owners, weights = flat[chosen], owner[chosen], rarity[chosen]
    weights = weights / np.bincount(owners, weights=weights, minlength=units)[owners]
    order = np.argsort(grams, kind="stable")
    distinct, counts = np.unique(grams, return_counts=True)
    bits = max(len(distinct), 16).bit_length() + 3
    high, low = np.zeros(1 << bits, dtype=np.bool_), np.zeros(1 << bits, dtype=np.bool_)
    high[distinct >> np.uint64(64 - bits)] = True
    low[distinct & np.uint64((1 << bits) - 1)] = True
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    return Rare(size, distinct, starts, owners[order], weights[order], (high, low))


def _question_number(units: list[Unit]) -> list[int]:
    numbers: dict[tuple[str, str], int] = {}
    return [numbers.setdefault(_key(u), len(numbers)) for u in units]


def _frequency(grams: Hashes, questions: Ints) -> npt.NDArray[np.float64]:
    """In how many questions each n-gram occurs."""
    pairs = np.unique(np.stack([grams, questions.astype(np.uint64)], axis=1), axis=0)
    distinct, counts = np.unique(pairs[:, 0], return_counts=True)
    return counts[np.searchsorted(distinct, grams)].astype(np.float64)


def _units(text: "BenchmarkText", config: "DecontaminateConfig") -> list[Unit]:
    """The whole text, and its beginning alone: a question may be quoted without its options."""
    lines = [line for line in text.text.split("\n") if line.strip()]
    by_line = clean_tokens(lines)
    ends = by_line.starts[1:].tolist()
    lengths = [words(by_line.hashes[:end]) for end in ends]
    first = next((n for n, length in enumerate(lengths) if length >= config.min_words), None)
    if first is None:
        return []
    found = []
    for number in sorted({first, len(lines) - 1}):
        hashes = by_line.hashes[: ends[number]]
        short = lengths[number] < config.short_words and is_han(hashes).mean() <= 0.5
        least = config.short_share if short else config.share
        size = max([n for n in _SIZES if n <= len(hashes) // 5] or [_SIZES[0]])
        grams = np.unique(ngram_hashes(hashes, size))
        found.append(Unit(text.benchmark, text.id, len(hashes), least, size, grams, np.empty(0)))
    return found


def find(texts: Sequence[str], index: Index) -> list[list[Overlap]]:
    """Every benchmark question in each text, the most complete first."""
    if not index.units:
        return [[] for _ in texts]
    return [found for part in slices(texts) for found in _search(clean_tokens(part), index)]


def _search(tokens: TokenBatch, index: Index) -> list[list[Overlap]]:
    found: list[dict[tuple[str, str], Overlap]] = [{} for _ in tokens.counts]
    for text, number in _candidates(tokens, index):
        unit = index.units[number]
        share = _share(tokens.hashes[tokens.starts[text] : tokens.starts[text + 1]], unit)
        before = found[text].get(_key(unit))
        if share >= unit.least - 1e-9 and (before is None or share > before.share):
            found[text][_key(unit)] = Overlap(*_key(unit), share, unit.size)
    return [sorted(some.values(), key=lambda o: (-o.share, o.benchmark, o.id)) for some in found]


def _candidates(tokens: TokenBatch, index: Index) -> list[tuple[int, int]]:
    """(text, unit) of what is worth comparing in full."""
    pairs: list[tuple[int, int]] = []
    for rare in index.rare:
        hits, numbers = rare.look_up(ngram_hashes(tokens.hashes, rare.size))
        owners = np.searchsorted(tokens.starts, hits, side="right") - 1
        inside = hits + rare.size <= tokens.starts[owners + 1]
        found = np.unique(owners[inside] * len(rare.grams) + numbers[inside])
        owners, numbers = np.divmod(found, len(rare.grams))
        counts = rare.starts[numbers + 1] - rare.starts[numbers]
        steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        entry = np.repeat(rare.starts[numbers], counts) + steps
        keys, which = np.unique(np.repeat(owners, counts) * len(index.units) + rare.owners[entry], return_inverse=True)
        reached = np.bincount(which, weights=rare.weights[entry], minlength=len(keys))
        pairs += [divmod(key, len(index.units)) for key in keys[reached >= _ENOUGH].tolist()]
    return pairs


def _share(hashes: Hashes, unit: Unit) -> float:
    """The largest weight of the unit's distinct n-grams that stand close together in a text."""
    grams = ngram_hashes(hashes, unit.size)
    where = np.minimum(np.searchsorted(unit.grams, grams), len(unit.grams) - 1)
    places = np.flatnonzero(unit.grams[where] == grams)
    found = where[places]
    if float(unit.weights[np.unique(found)].sum()) < unit.least - 1e-9:
        return 0.0
    return _densest(places.tolist(), found.tolist(), unit.weights.tolist(), 2 * unit.length + 10)


def _densest(at: list[int], grams: list[int], weights: list[float], width: int) -> float:
    """The largest weight of distinct n-grams within `width` tokens."""
    inside: dict[int, int] = {}
    total = best = 0.0
    left = 0
    for right, gram in enumerate(grams):
        inside[gram] = inside.get(gram, 0) + 1
        total += weights[gram] if inside[gram] == 1 else 0.0
        while at[right] - at[left] > width:
            inside[grams[left]] -= 1
            total -= weights[grams[left]] if inside[grams[left]] == 0 else 0.0
            left += 1
        best = max(best, total)
    return best
