"""Exact and near duplicates: found, explained, deterministic, and nobody dropped for somebody unlike."""

import gzip
import itertools
import json
import random
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from aquilamed.corpus import dedup
from aquilamed.corpus.dedup import DedupConfig, find_duplicates
from aquilamed.corpus.minhash import best_first, sign
from aquilamed.engine.local import LocalEngine
from aquilamed.progress import Progress
from aquilamed.records import parts, read_parts, write_parts
from aquilamed.stage import Context
from aquilamed.workspace import Artifact

WORDS_EN = [
    "blood",
    "heart",
    "liver",
    "doctor",
    "patient",
    "tablet",
    "dose",
    "fever",
    "nurse",
    "hospital",
    "muscle",
    "bone",
]
WORDS_ZH = "血压心脏肝脏医生患者药片剂量发热护士医院肌肉骨骼皮肤神经肾脏大脑静脉饮水食物睡眠检查治疗手术康复"


def english(rng: random.Random, count: int = 150) -> str:
    return " ".join(
        rng.choice(WORDS_EN) + rng.choice(["", "s", "ing", "ed", "er"]) + str(rng.randrange(30)) for _ in range(count)
    )


def chinese(rng: random.Random, count: int = 240) -> str:
    return "".join(
        chr(rng.randrange(0x4E00, 0x5E00)) if rng.random() < 0.5 else rng.choice(WORDS_ZH) for _ in range(count)
    )


def edited(text: str, count: int, rng: random.Random) -> str:
    if " " not in text:
        marks = list(text)
        for place in rng.sample(range(0, len(marks) - 2, 3), count):
            marks[place : place + 2] = "新词"
        return "".join(marks)
    words = text.split(" ")
    for place in rng.sample(range(len(words)), count):
        words[place] = "changed"
    return " ".join(words)


def bigrams(text: str) -> set[tuple[str, str]]:
    return set(itertools.pairwise(text.split()))


@pytest.mark.parametrize("make", [english, chinese])
def test_six_changed_words_of_150_are_found(make: object) -> None:
    rng = random.Random(7)
    texts = [make(rng) for _ in range(60)]  # type: ignore[operator]
    copies = [edited(t, 6, rng) for t in texts]
    ids = [f"a{i:02d}" for i in range(60)] + [f"b{i:02d}" for i in range(60)]
    found = find_duplicates(ids, texts + copies)
    assert len(found) >= 59
    assert {(d.dropped[1:], d.kind) for d in found} == {(d.kept[1:], "near") for d in found}
    assert all(0.8 <= d.jaccard < 1 for d in found)


def test_different_texts_stay() -> None:
    rng = random.Random(8)
    texts = [english(rng) for _ in range(40)] + [chinese(rng) for _ in range(40)]
    assert find_duplicates([str(i) for i in range(80)], texts) == []


def test_exact_copies_by_normalised_text_lowest_id_stays() -> None:
    found = find_duplicates(
        ["c", "a", "b"], ["Ａspirin　100 mg daily", "aspirin 100 mg  daily", "Aspirin 100 mg\ndaily"]
    )
    assert [(d.dropped, d.kept, d.kind) for d in found] == [("b", "a", "exact"), ("c", "a", "exact")]


def test_longest_stays() -> None:
    text = english(random.Random(1))
    found = find_duplicates(["a", "b"], [text, text + " and one more word"])
    assert [(d.dropped, d.kept, d.kind) for d in found] == [("a", "b", "near")]


def test_exact_copy_of_a_near_duplicate_names_who_really_stays() -> None:
    text = english(random.Random(2))
    found = find_duplicates(["a", "b", "c"], [text, text, text + " more words here"])
    assert {(d.dropped, d.kept) for d in found} == {("a", "c"), ("b", "c")}


def test_end_of_a_chain_is_not_dropped_for_somebody_unlike() -> None:
    rng = random.Random(3)
    first = english(rng)
    chain = [first]
    for _ in range(4):
        chain.append(edited(chain[-1], 7, rng))
    sets = {str(i): bigrams(t) for i, t in enumerate(chain)}
    found = find_duplicates(list(sets), chain)
    gone = {d.dropped for d in found}
    assert gone
    for duplicate in found:
        assert duplicate.kept not in gone
        first_, second = sets[duplicate.dropped], sets[duplicate.kept]
        truth = len(first_ & second) / len(first_ | second)
        assert duplicate.jaccard == pytest.approx(truth)
        assert truth >= 0.8


def test_order_of_records_does_not_matter() -> None:
    rng = random.Random(4)
    texts = [english(rng, 60) for _ in range(20)]
    records = [(f"{i:03d}", t) for i, t in enumerate(texts + [edited(t, 2, rng) for t in texts] + texts[:5])]
    expected = find_duplicates(*zip(*records, strict=True))
    rng.shuffle(records)
    assert find_duplicates(*zip(*records, strict=True)) == expected
    assert len(expected) == 25


def test_short_texts_are_only_exact_and_empty_ones_are_not_compared() -> None:
    texts = ["", " ", "高血压", "高血脂", "高血压"]
    found = find_duplicates(["a", "b", "c", "d", "e"], texts)
    assert [(d.dropped, d.kept, d.kind) for d in found] == [("e", "c", "exact")]
    assert find_duplicates([], []) == []


def test_long_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 16 ASCII"):
        find_duplicates(["a" * 17], ["text"])


def test_better_quality_stays_among_copies_of_one_length() -> None:
    text = english(random.Random(9))
    signed = sign(["a", "b", "c"], [text, text, "short"], [1.0, 5.0, 9.0], DedupConfig())
    assert best_first(signed.rows).tolist() == [1, 0, 2]


def test_bands_must_divide_permutations() -> None:
    with pytest.raises(ValidationError, match=r"bands \(30\) must divide"):
        DedupConfig(bands=30)


def context(tmp_path: Path, source: str, workers: int = 1) -> Context:
    progress = Progress(quiet=True)
    out = tmp_path / f"out{workers}"
    artifact = Artifact(source, tmp_path / "in", {})
    engine = LocalEngine(progress, workers=workers)
    return Context(out, out / ".work", {source: artifact}, engine, progress, 42, tmp_path, None)  # type: ignore[arg-type]


def test_stage_writes_every_record_once_and_resumes(tmp_path: Path) -> None:
    rng = random.Random(5)
    texts = [english(rng, 80) for _ in range(30)]
    texts += [edited(t, 3, rng) for t in texts[:10]] + texts[:5]
    sources = ["web"] * 40 + ["books"] * 5
    frame = pl.DataFrame({"id": [f"{i:03d}" for i in range(45)], "source": sources, "text": texts})
    write_parts(tmp_path / "in" / "kept", frame, rows=20)
    ctx = context(tmp_path, "corpus/toxicity")
    result = dedup.run(ctx, DedupConfig())
    kept, dropped = read_parts(ctx.out / "kept"), read_parts(ctx.out / "dropped")
    assert [p.name for p in parts(ctx.out / "kept")] == [f"part-0000{i}.parquet" for i in range(3)]
    assert sorted([*kept["id"], *dropped["id"]]) == frame["id"].to_list()
    table = {"web": {"web": 10, "books": 5}}
    assert result.metrics == {"exact": 5, "near": 10, "within": 10, "across": 5, "sources": table}
    assert dropped.filter(pl.col("id") == "030")["detail"][0].startswith("copy of 000, Jaccard 0.")
    assert dropped.filter(pl.col("id") == "040")["detail"][0] == "copy of 000 of source web, Jaccard 1.00"
    assert set(dropped["reason"]) == {"dedup.exact", "dedup.near"}
    before = [p.stat().st_mtime_ns for p in (ctx.work / "signatures").rglob("*.npy")]
    assert dedup.run(ctx, DedupConfig()).metrics == result.metrics
    assert [p.stat().st_mtime_ns for p in (ctx.work / "signatures").rglob("*.npy")] == before


def test_real_text_edited_is_found(public_data: Path) -> None:
    with gzip.open(public_data / "text" / "medquad.jsonl.gz", "rt", encoding="utf-8") as file:
        answers = [json.loads(line)["answer"] or "" for line in file][1::2]
    texts = list(dict.fromkeys(" ".join(a.split()[:150]) for a in answers if len(a.split()) >= 150))[:300]
    rng = random.Random(6)
    ids = [f"a{i}" for i in range(len(texts))]
    already = {d.dropped for d in find_duplicates(ids, texts)}
    copies = [edited(t, 5, rng) for t in texts]
    found = {d.dropped for d in find_duplicates(ids + [f"b{i}" for i in range(len(texts))], texts + copies)}
    recall = sum(f"a{i}" in found or f"b{i}" in found for i in range(len(texts))) / len(texts)
    assert recall >= 0.99
    assert len(already) < 0.15 * len(texts)
