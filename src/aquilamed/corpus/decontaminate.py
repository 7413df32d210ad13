"""Stage corpus/decontaminate: documents that hold a benchmark's question (paper, section 2, step 6; method ours).

Both sides are normalised (half width, lower case, Simplified, no punctuation, no option letters) and cut into n-grams.
A document leaks a question when at least `share` of the question's n-grams stand close together in it. N-grams that
many questions share ("which of the following is the most") weigh little. The shorter a question, the shorter the
n-grams, so that one changed word leaves most of them; and the closer to verbatim it must be, as short questions differ
by one word themselves.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from aquilamed.config import Config
from aquilamed.corpus.dedup import Texts, document_texts
from aquilamed.corpus.language import simplify
from aquilamed.corpus.ngrams import Hashes, is_han, ngram_hashes, normalise, token_hashes, tokens
from aquilamed.engine import no_reason
from aquilamed.records import iter_parts
from aquilamed.stage import Context, Result

if TYPE_CHECKING:
    from aquilamed.evaluate.tasks import BenchmarkText

REASON = "decontaminate.benchmark_overlap"
_OPTION = re.compile(r"(?:(?<=\s)|^)[(\[]?[a-h][)\].:、,](?=\s|[^a-z0-9])|(?<=\s)[(\[][a-h][)\]]", re.MULTILINE)
# The sizes of n-grams: few, because a document is hashed once for each.
_WORDS = (3, 4, 6, 9, 13)
_CHARACTERS = (3, 4, 6, 9, 12, 16)
_HAN_PER_WORD = 1.5


class DecontaminateConfig(Config):
    """When a text holds a benchmark's question."""

    share: float = Field(default=0.6, gt=0, le=1)
    """Smallest weighted share of a question's n-grams in a text."""
    short_share: float = Field(default=0.8, gt=0, le=1)
    """The same for short questions."""
    short_words: int = Field(default=11, ge=1)
    """Questions of fewer words (1.5 Chinese characters count as one) are short."""
    min_words: int = Field(default=8, ge=1)
    """Shorter benchmark texts are formulas and are not looked for."""


class Overlap(NamedTuple):
    """A benchmark's question in a text."""

    benchmark: str
    id: str
    share: float
    size: int


@dataclass(frozen=True)
class Unit:
    """What is looked for: a question, with its options or without."""

    benchmark: str
    id: str
    length: int
    least: float
    size: int


@dataclass(frozen=True)
class Index:
    """The benchmarks' n-grams: `grams` sorted; entry i belongs to unit `owners[i]` and counts `weights[i]` of its 1.0."""

    units: list[Unit]
    grams: Hashes
    owners: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    sizes: tuple[int, ...]
    sieve: npt.NDArray[np.bool_]

    def candidates(self, grams: Hashes) -> npt.NDArray[np.int64]:
        """Places of n-grams that may be in the index."""
        shift = np.uint64(65 - len(self.sieve).bit_length())
        return np.flatnonzero(self.sieve[grams >> shift])


def clean_tokens(text: str) -> Hashes:
    """The token hashes of a text as both sides are compared."""
    return token_hashes(tokens(_OPTION.sub(" ", simplify(normalise(text)))))


def build_index(texts: "Sequence[BenchmarkText]", config: DecontaminateConfig) -> Index:
    """The index of benchmark texts (benchmark, id, text: a question, then its options, one a line)."""
    units: list[Unit] = []
    hashes, owners = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for text in texts:
        for unit, grams in _units(text, config):
            owners.append(np.full(len(grams), len(units), dtype=np.int64))
            hashes.append(grams)
            units.append(unit)
    flat, owner = np.concatenate(hashes), np.concatenate(owners)
    questions = np.array(_question_number(units), dtype=np.int64)[owner]
    rarity = 1.0 / np.sqrt(_frequency(flat, questions))
    totals = np.bincount(owner, weights=rarity, minlength=len(units))
    order = np.argsort(flat, kind="stable")
    weights = rarity / totals[owner] if len(owner) else rarity
    sizes = tuple(sorted({unit.size for unit in units}))
    return Index(units, flat[order], owner[order], weights[order], sizes, _sieve(flat))


def _sieve(grams: Hashes) -> npt.NDArray[np.bool_]:
    """A table by the first bits of a hash that says where looking further is worth it: searching is slow, misses are many."""
    bits = max(len(grams), 16).bit_length() + 3
    table = np.zeros(1 << bits, dtype=np.bool_)
    table[grams >> np.uint64(64 - bits)] = True
    return table


def _question_number(units: list[Unit]) -> list[int]:
    numbers: dict[tuple[str, str], int] = {}
    return [numbers.setdefault((u.benchmark, u.id), len(numbers)) for u in units]


def _frequency(grams: Hashes, questions: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """In how many questions each n-gram occurs."""
    pairs = np.unique(np.stack([grams, questions.astype(np.uint64)], axis=1), axis=0)
    distinct, counts = np.unique(pairs[:, 0], return_counts=True)
    return counts[np.searchsorted(distinct, grams)].astype(np.float64)


def _units(text: "BenchmarkText", config: DecontaminateConfig) -> list[tuple[Unit, Hashes]]:
    """The whole text, and its beginning alone: a question may be quoted without its options."""
    lines = [line for line in text.text.split("\n") if line.strip()]
    versions = [lines]
    for count in range(1, len(lines)):
        if _words(clean_tokens("\n".join(lines[:count]))) >= config.min_words:
            versions.append(lines[:count])
            break
    found = []
    for version in versions:
        hashes = clean_tokens("\n".join(version))
        words = _words(hashes)
        if words < config.min_words:
            continue
        size = _size(hashes)
        least = config.short_share if words < config.short_words else config.share
        grams = np.unique(ngram_hashes(hashes, size))
        found.append((Unit(text.benchmark, text.id, len(hashes), least, size), grams))
    return found


def _words(hashes: Hashes) -> float:
    han = int(is_han(hashes).sum())
    return len(hashes) - han + han / _HAN_PER_WORD


def _size(hashes: Hashes) -> int:
    """The n of a text's n-grams: about a fifth of its length, so that one changed word costs a third of them at most."""
    ladder = _CHARACTERS if is_han(hashes).mean() > 0.5 else _WORDS
    return max([n for n in ladder if n <= len(hashes) // 5] or [ladder[0]])


def find(texts: Sequence[str], index: Index) -> list[list[Overlap]]:
    """Every benchmark question in each text, the most complete first."""
    return [_search(text, index) for text in texts]


def leaks(texts: Sequence[str], index: Index) -> list[str | None]:
    """A detail sentence for each text that holds a benchmark's question, None for the others."""
    return [_detail(found) if found else None for found in find(texts, index)]


def _detail(found: list[Overlap]) -> str:
    best = found[0]
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{best.share:.0%} of the {best.size}-grams of {best.benchmark} question {best.id}{more}"


def _search(text: str, index: Index) -> list[Overlap]:
    if not index.units:
        return []
    hashes = clean_tokens(text)
    places, entries = [], []
    for size in index.sizes:
        grams = ngram_hashes(hashes, size)
        hits = index.candidates(grams)
        first = np.searchsorted(index.grams, grams[hits], side="left")
        counts = np.searchsorted(index.grams, grams[hits], side="right") - first
        steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        places.append(np.repeat(hits, counts))
        entries.append(np.repeat(first, counts) + steps)
    place, entry = np.concatenate(places), np.concatenate(entries)
    return _judge(place, entry, index) if len(place) else []


def _judge(place: npt.NDArray[np.int64], entry: npt.NDArray[np.int64], index: Index) -> list[Overlap]:
    distinct = np.unique(entry)
    reached = np.bincount(index.owners[distinct], weights=index.weights[distinct], minlength=len(index.units))
    best: dict[tuple[str, str], Overlap] = {}
    owner = index.owners[entry]
    for number in np.flatnonzero(reached > 0.3).tolist():
        unit = index.units[number]
        if reached[number] < unit.least - 1e-9:
            continue
        mine = owner == number
        share = _densest(place[mine], entry[mine], index.weights, 2 * unit.length + 10)
        key = (unit.benchmark, unit.id)
        if share >= unit.least - 1e-9 and (key not in best or share > best[key].share):
            best[key] = Overlap(*key, share, unit.size)
    return sorted(best.values(), key=lambda o: (-o.share, o.benchmark, o.id))


def _densest(
    place: npt.NDArray[np.int64], entry: npt.NDArray[np.int64], weights: npt.NDArray[np.float64], width: int
) -> float:
    """The largest weight of distinct n-grams within `width` tokens of a text."""
    order = np.argsort(place, kind="stable")
    at, grams = place[order].tolist(), entry[order].tolist()
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
    return float(best)


def run(ctx: Context, config: DecontaminateConfig) -> Result:
    """Drop documents that hold a question of a benchmark of the recipe."""
    return decontaminate_stage(ctx, config, "corpus/dedup", document_texts)


def decontaminate_stage(ctx: Context, config: DecontaminateConfig, source: str, texts: Texts) -> Result:
    """The stage for any kind of record; metrics say per benchmark what leaked."""
    from aquilamed.evaluate.tasks import benchmark_texts

    benchmarks = benchmark_texts(ctx)
    index = build_index(benchmarks, config)
    ctx.flow(partial(check, index=index, texts=texts), source, "decontaminate")
    counts = {name: {"questions": 0, "leaked_questions": 0, "documents_dropped": 0} for name in _names(benchmarks)}
    leaked: set[tuple[str, str]] = set()
    for question in benchmarks:
        counts[question.benchmark]["questions"] += 1
    for part in iter_parts(ctx.out / "dropped"):
        for found in find(texts(part), index):
            leaked.update((o.benchmark, o.id) for o in found)
            for name in {o.benchmark for o in found}:
                counts[name]["documents_dropped"] += 1
    for name, _ in leaked:
        counts[name]["leaked_questions"] += 1
    return Result({"benchmarks": counts})


def _names(benchmarks: "Sequence[BenchmarkText]") -> list[str]:
    return sorted({b.benchmark for b in benchmarks})


def check(frame: pl.DataFrame, index: Index, texts: Texts) -> pl.DataFrame:
    """The kernel."""
    details = pl.Series("detail", leaks(texts(frame), index), pl.String)
    return (
        no_reason(frame)
        .with_columns(details)
        .with_columns(pl.when(pl.col("detail").is_not_null()).then(pl.lit(REASON)).alias("reason"))
    )
