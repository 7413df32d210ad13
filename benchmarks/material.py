"""The benchmark corpus: public texts multiplied to any size and dirtied by the sample generator, with known truth.

Texts beyond the first copy are new combinations of sentences of four texts each, so that no multiplied text is a
duplicate; what is dirty or doubled is put in on purpose.
"""

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aquilamed.sample import dirt

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_SHARES = {"advert": 0.04, "advert_in": 0.03, "personal": 0.08, "toxic": 0.01, "near": 0.08, "exact": 0.04, "symbols": 0.005, "short": 0.01}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A text, its language, what was done to it, and for a copy the number of the text it copies."""

    text: str
    lang: str
    dirt: str = ""
    original: int | None = None


def originals(data: Path = DATA) -> dict[str, list[str]]:
    """Public texts by language: medical questions and answers, dialogues, encyclopaedias, general instructions."""
    zh: list[str] = []
    en: list[str] = []
    for name, into in (("medquad", en), ("cmrc2018_wiki_zh", zh), ("drcd_wiki_zh_hant", zh), ("wikitext2_en", en)):
        with gzip.open(data / "text" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as f:
            rows = [json.loads(line) for line in f]
        into += [r["text"] if "text" in r else f"{r['question']}\n{r['answer']}" for r in rows]
    for file in sorted((data / "text" / "apollo").glob("*.json")):
        items = json.loads(file.read_text(encoding="utf-8"))
        (zh if "_zh" in file.name.lower() else en).extend("\n".join(i) if isinstance(i, list) else i for i in items)
    for file in sorted((data / "sft" / "chinese_medical_dialogue").rglob("*.csv")):
        import csv

        with file.open(encoding="gb18030", errors="replace", newline="") as f:
            zh += [f"{r['ask']}\n{r['answer']}" for r in csv.DictReader(f)]
    return {"zh": [t for t in zh if len(t) > 60], "en": [t for t in en if len(t) > 120]}


def make(megabytes: float, seed: int = 0, data: Path = DATA) -> Iterator[Made]:
    """Texts until `megabytes` MB of UTF-8 are reached, half of the bytes in each language."""
    pools = originals(data)
    cut = {lang: [dirt.sentences(t[:6000]) for t in texts] for lang, texts in pools.items()}
    rng = random.Random(seed)
    size = {"zh": 0, "en": 0}
    recent: list[tuple[int, Made]] = []
    number = 0
    while sum(size.values()) < megabytes * 1e6:
        lang = min(size, key=lambda k: size[k])
        made = _one(lang, pools, cut, rng, recent)
        if made.dirt in ("", "personal"):
            recent.append((number, made))
            if len(recent) > 2000:
                del recent[: len(recent) - 1000]
        size[lang] += len(made.text.encode())
        number += 1
        yield made


def _one(lang: str, pools: dict[str, list[str]], cut: dict[str, list[list[str]]], rng: random.Random, recent: list[tuple[int, Made]]) -> Made:  # fmt: skip
    text = _combined(cut[lang], lang, rng) if rng.random() < 0.8 else rng.choice(pools[lang])
    draw = rng.random()
    for kind, share in _SHARES.items():
        draw -= share
        if draw < 0:
            return _dirty(kind, text, lang, rng, recent)
    return Made(text, lang)


def _combined(texts: list[list[str]], lang: str, rng: random.Random) -> str:
    pieces: list[str] = []
    for _ in range(4):
        found = rng.choice(texts)
        start = rng.randrange(len(found))
        pieces += found[start : start + rng.randrange(2, 7)]
    return dirt.join(pieces, lang)


def _dirty(kind: str, text: str, lang: str, rng: random.Random, recent: list[tuple[int, Made]]) -> Made:
    if kind == "advert":
        return Made(dirt.advert(lang, rng), lang, kind)
    if kind == "advert_in":
        return Made(dirt.advert_in(text, lang, rng), lang, kind)
    if kind == "personal":
        return Made(dirt.personal(text, lang, rng)[0], lang, kind)
    if kind == "toxic":
        return Made(dirt.toxic(text, lang, rng), lang, kind)
    if kind == "symbols":
        return Made(dirt.symbols(rng), lang, kind)
    if kind == "short":
        return Made(dirt.short(lang, rng.randrange(1000), rng), lang, kind)
    same = [(n, m) for n, m in recent[-400:] if m.lang == lang and len(m.text) > 200]
    if not same:
        return Made(text, lang)
    number, source = rng.choice(same)
    copy = source.text if kind == "exact" else dirt.near_duplicate(source.text, lang, rng)[0]
    return Made(copy, lang, kind, number)


def write(folder: Path, megabytes: float, files: int = 8, seed: int = 0) -> list[Path]:
    """The corpus as JSONL files of about equal size (fields text, lang, dirt); returns them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{n:03d}.jsonl" for n in range(files)]
    handles = [p.open("w", encoding="utf-8") for p in paths]
    for number, made in enumerate(make(megabytes, seed)):
        row = {"text": made.text, "lang": made.lang, "dirt": made.dirt}
        handles[number % files].write(json.dumps(row, ensure_ascii=False) + "\n")
    for handle in handles:
        handle.close()
    return paths
