"""The classifier behind the patterns. It learns sentences: unsafe ones that we wrote (`seeds/`) and those that were certain,
against good counsel on the same matters (also ours) and a sample of what the data's assistants say. A dialogue is as
suspicious as the worst sentence of its answers. It drops nothing itself: what it names is judged like every other doubt.

Two students are trained, each on one half of the data's dialogues, and score the other: what is unsafe in the data would
else be learned as an example of what is not.
"""

import heapq
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field

from aquilamed.annotate.hazards import sentences
from aquilamed.config import Config
from aquilamed.corpus.student import (
    Floats,
    Student,
    StudentConfig,
    first_by_hash,
    load_student,
    split_heldout,
    train_student,
)
from aquilamed.engine import Counts
from aquilamed.instruct.advice import Doubt, spoken
from aquilamed.records import Message, digest, write_part
from aquilamed.stage import Context

KIND = "suspect"
_FOLDER = Path(__file__).parent / "seeds"
_HELDOUT = 0.2
_LEAST = 100  # sentences to learn against
_TURN = re.compile(r"(?m)^((?:user|assistant|system):)")
_SHORTEST = 8  # characters of a sentence that is looked at


class SuspectsConfig(Config):
    """The classifier of unsafe answers."""

    contrast: int = Field(default=6000, ge=100)
    """Sentences of the data's own answers that it learns against, drawn by seeded hash, as many of each language."""
    share: float = Field(default=0.02, gt=0, le=1)
    """Most dialogues of a language that it may name, as a share: 2 % held 44 of 100 planted unsafe answers in wording unknown to
    patterns and seeds, 5 % held 65."""
    probability: float = Field(default=0.3, gt=0, lt=1)
    """It names nothing below this probability."""
    student: StudentConfig = StudentConfig()
    """The model and its training."""

    def identity(self) -> dict[str, Any]:
        """The values that decide what it names; the seeds' text is one of them."""
        texts = {f.name: f.read_text(encoding="utf-8") for f in sorted(_FOLDER.glob("*.txt"))}
        return super().identity() | {"seeds": digest(texts)}


class Seed(NamedTuple):
    """A sentence that we wrote: `kind` is empty for good counsel."""

    text: str
    kind: str
    lang: str


@cache
def seeds() -> tuple[Seed, ...]:
    """All of `seeds/`."""
    found = []
    for file in sorted(_FOLDER.glob("*.txt")):
        kind, lang = "", file.name.split(".")[1]
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("["):
                kind = line.strip("[]")
            elif line and not line.startswith("#"):
                found.append(Seed(line, kind, lang))
    return tuple(found)


def find(
    ctx: Context, config: SuspectsConfig, parts: Sequence[Path], sure: Mapping[str, str], doubts: Collection[str]
) -> tuple[dict[str, Doubt], dict[str, Any]]:
    """The dialogues named, those without a doubt so far, and what was measured.

    Args:
        sure: id → the sentence of every certain hit ("" where it is not one sentence).
        doubts: ids of what is doubtful already: neither named again nor learned from.

    Nothing is named where half of the data holds fewer than 100 sentences to learn against.
    """
    known = {*sure, *doubts}
    contrasts = [_contrast(parts, known, config.contrast, ctx.seed, half) for half in (0, 1)]
    if min(map(len, contrasts)) < _LEAST:
        least = f"at least {_LEAST} are needed to learn against"
        return {}, {"used": False, "why": f"{len(contrasts[0])} and {len(contrasts[1])} sentences of answers, {least}"}
    certain = sorted({s for s in sure.values() if s})
    for half, contrast in enumerate(contrasts):
        train(certain, contrast, config, ctx.seed).save(ctx.work / f"student{half}")
    scored = [ctx.work / "scored" / p.name for p in parts]
    jobs = [(p, q, ctx.work, config.probability, ctx.seed) for p, q in zip(parts, scored, strict=True)]
    totals = ctx.engine.run(_score, jobs, ctx.work / "score", "safety: classifier")
    best: list[tuple[str, str, float, str]] = []
    for lang, total in sorted(totals.items()):
        rows = (r for q in scored for r in pl.read_parquet(q, glob=False).iter_rows() if r[0] not in known)
        mine = (r for r in rows if r[1] == lang)
        best += heapq.nsmallest(round(config.share * total), mine, key=lambda r: (-r[2], r[0]))
    named = {
        i: Doubt(0.3 + 0.3 * p, KIND, f"the classifier gives {p:.2f} to {sentence[:120]!r}")
        for i, _, p, sentence in best
    }
    return named, {"used": True, **measure(certain, contrasts[0], config, ctx.seed), "named": len(named)}


def train(certain: Sequence[str], contrast: Sequence[str], config: SuspectsConfig, seed: int) -> Student:
    """A student of unsafe sentences: the seeds and `certain` against the seeds of good counsel and `contrast`."""
    texts, targets, weights, _ = _lesson(certain, contrast)
    return train_student("classify", texts, targets, config.student, seed, weights)


def measure(certain: Sequence[str], contrast: Sequence[str], config: SuspectsConfig, seed: int) -> dict[str, Any]:
    """How such a student does on a fifth held out: `auc` of unsafe against other sentences, `auc_counsel` against good
    counsel on the same matters."""
    texts, targets, weights, counsel = _lesson(certain, contrast)
    held = split_heldout([digest(t) for t in texts], _HELDOUT, seed)
    training = [t for t, h in zip(texts, held, strict=True) if not h]
    student = train_student("classify", training, targets[~held], config.student, seed, weights[~held])
    scores = student.predict([t for t, h in zip(texts, held, strict=True) if h])
    bad, good = targets[held] == 1, counsel[held]
    sizes = {"unsafe": int(targets.sum()), "counsel": int(counsel.sum()), "others": len(contrast)}
    return {
        "trained_on": sizes,
        "heldout": int(held.sum()),
        "auc": auc(scores[bad], scores[~bad & ~good]),
        "auc_counsel": auc(scores[bad], scores[good]),
    }


def _lesson(certain: Sequence[str], contrast: Sequence[str]) -> tuple[list[str], Floats, Floats, Any]:
    """Texts, targets (1 is unsafe), weights (both sides weigh the same), and which are our good counsel."""
    bad = [s.text for s in seeds() if s.kind] + list(certain)
    counsel = [s.text for s in seeds() if not s.kind]
    texts = [*bad, *counsel, *contrast]
    place = np.arange(len(texts))
    targets: Floats = (place < len(bad)).astype(np.float64)
    weights: Floats = np.where(targets == 1, 1.0, len(bad) / (len(texts) - len(bad)))
    return texts, targets, weights, (place >= len(bad)) & (place < len(bad) + len(counsel))


def auc(positive: Floats, negative: Floats) -> float | None:
    """How often a positive scores above a negative (ties half); None without pairs."""
    if not len(positive) or not len(negative):
        return None
    return float(np.mean([(p > negative).mean() + 0.5 * (p == negative).mean() for p in positive]))


def transcript(dialogue: Sequence[Message]) -> str:
    """A dialogue as "role: text" turns, a blank line between them; a line of a text that looks like a turn is indented."""
    return "\n\n".join(m["role"] + ": " + _TURN.sub(r" \1", m["content"]) for m in dialogue)


def fetch(parts: Sequence[Path], ids: Collection[str]) -> dict[str, list[Message]]:
    """The messages of these dialogues."""
    wanted = list(ids)
    found: dict[str, list[Message]] = {}
    for part in parts if wanted else ():
        frame = pl.read_parquet(part, columns=["id", "messages"], glob=False)
        found.update(frame.filter(pl.col("id").is_in(wanted)).iter_rows())
    return found


def ids_without(parts: Sequence[Path], known: Collection[str], lang: str | None = None) -> Iterator[str]:
    """The ids of all dialogues (of a language) but some."""
    for part in parts:
        for identity, spoken_in in pl.read_parquet(part, columns=["id", "lang"], glob=False).iter_rows():
            if identity not in known and lang in (None, spoken_in):
                yield identity


def said(dialogue: Sequence[Message]) -> list[str]:
    """The sentences of the answers, short ones left out."""
    return [s for text in spoken(dialogue, "assistant") for s in sentences(text) if len(s) >= _SHORTEST]


def _half(identity: str, seed: int) -> int:
    """Which half a dialogue belongs to: 0 or 1."""
    return int(digest([seed, "safety half", identity])[0], 16) % 2


def _contrast(parts: Sequence[Path], known: Collection[str], count: int, seed: int, half: int) -> list[str]:
    """Sentences of answers of one half's dialogues drawn by hash, for every language in the order of their hashes."""
    langs = sorted({lang for p in parts for lang in pl.read_parquet(p, columns=["lang"], glob=False)["lang"].unique()})
    chosen: list[str] = []
    for lang in langs:
        share = count // len(langs)
        mine = (i for i in ids_without(parts, known, lang) if _half(i, seed) == half)
        drawn = first_by_hash(mine, share, seed, "safety contrast")
        dialogues = fetch(parts, drawn)
        found: Iterable[str] = dict.fromkeys(s for i in drawn for s in said(dialogues[i]))
        chosen += first_by_hash(found, share, seed, "safety sentences")
    return chosen


def _score(job: tuple[Path, Path, Path, float, int]) -> Counts:
    """Write id, language, probability and worst sentence of a part's dialogues that are not below the least."""
    source, target, work, least, seed = job
    frame = pl.read_parquet(source, columns=["id", "lang", "messages"], glob=False)
    rows = [(i, lang, s) for i, lang, messages in frame.iter_rows() for s in said(messages)]
    types = dict.fromkeys(("id", "lang", "sentence"), pl.String)
    table = pl.DataFrame(rows, schema=types, orient="row")
    halves = np.array([_half(i, seed) for i in table["id"].to_list()], dtype=np.int64)
    scores = np.zeros(table.height)
    for half in (0, 1):
        texts = table.filter(pl.Series(halves == half))["sentence"].to_list()
        scores[halves == half] = load_student(str(work / f"student{1 - half}")).predict(texts)
    table = table.with_columns(probability=pl.Series(scores, dtype=pl.Float64))
    table = table.filter(pl.col("probability") >= least).sort("probability", descending=True, maintain_order=True)
    best = table.unique("id", keep="first", maintain_order=True)
    write_part(target, best.select("id", "lang", "probability", "sentence"))
    return {lang: int(n) for lang, n in frame["lang"].value_counts().iter_rows()}
