"""The generated sample: same seed, same bytes; and its truth is what the readers find."""

import random
import types
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from aquilamed.engine.local import LocalEngine
from aquilamed.progress import Progress
from aquilamed.records import parts, read_parts
from aquilamed.sample import dirt, generate
from aquilamed.sample.build import LANGS, load, originals
from aquilamed.sources import dialogues, documents
from aquilamed.sources.questions import read_exam
from aquilamed.stage import Context
from aquilamed.workspace import Artifact


def context(out: Path, inputs: dict[str, Artifact] | None = None, seed: int = 42) -> Context:
    quiet = Progress(quiet=True)
    recipe = types.SimpleNamespace(data_folder=lambda: out)
    return Context(out, out / ".work", inputs or {}, LocalEngine(quiet, workers=1), quiet, seed, out, recipe)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    out = tmp_path_factory.mktemp("sample")
    result = generate.run(context(out), generate.SampleConfig())
    return Artifact("sample", out, {"metrics": result.metrics})


@cache
def truth_of(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path / "truth.parquet")


@pytest.fixture
def truth(sample: Artifact) -> pl.DataFrame:
    return truth_of(sample.path)


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_same_seed_same_bytes_and_another_seed_others(tmp_path: Path, sample: Artifact) -> None:
    generate.run(context(tmp_path / "again"), generate.SampleConfig())
    generate.run(context(tmp_path / "other", seed=7), generate.SampleConfig())
    assert all_bytes(tmp_path / "again") == all_bytes(sample.path)
    assert (
        all_bytes(tmp_path / "other")["files/corpus/web.zh.jsonl"]
        != all_bytes(sample.path)["files/corpus/web.zh.jsonl"]
    )


def test_sizes_and_every_defect(sample: Artifact, truth: pl.DataFrame) -> None:
    corpus = truth.filter(pl.col("file").str.contains("/corpus/"))
    sft = truth.filter(pl.col("file").str.contains("/sft/"))
    assert 500 <= corpus.height <= 600
    assert 200 <= sft.height <= 320
    assert set(corpus["defect"]) == {"clean", *generate.DocumentDirt.model_fields}
    assert set(sft["defect"]) == {"clean", *generate.DialogueDirt.model_fields}
    assert {n.removeprefix("sample://") for n in corpus["file"].unique()} == {
        "corpus/web.zh.jsonl",
        "corpus/web.en.jsonl",
        "corpus/portal.csv",
        "corpus/crawl.jsonl.gz",
        "corpus/archive.jsonl.zst",
        "corpus/notes.txt",
    }
    unreadable = truth.with_columns(bad=pl.col("defect").is_in(["malformed", "undecodable", "empty", "no_answer"]))
    assert unreadable.group_by("file").agg(pl.col("bad").mean())["bad"].max() < 0.05  # the readers' max_bad_share
    assert sample.metrics["documents"] == dict(sorted(corpus["defect"].value_counts().iter_rows()))


def test_truth_is_what_the_document_reader_finds(tmp_path: Path, sample: Artifact, truth: pl.DataFrame) -> None:
    config = documents.DocumentsConfig(sources=[{"name": "sample", "path": "sample://corpus/*"}])
    result = documents.run(context(tmp_path, {"sample": sample}), config)
    kept, dropped = read_parts(tmp_path / "kept"), read_parts(tmp_path / "dropped")
    corpus = truth.filter(pl.col("file").str.contains("/corpus/"))
    assert result.records_in == corpus.height == kept.height + dropped.height
    assert set(kept["origin"]) | set(dropped["origin"]) == set(corpus["origin"])
    unreadable = corpus.filter(pl.col("defect").is_in(["malformed", "undecodable", "empty"]))
    expected = {origin: f"sources.{defect}" for origin, defect in unreadable.select("origin", "defect").iter_rows()}
    assert dict(dropped.select("origin", "reason").iter_rows()) == expected
    texts = dict(kept.select("origin", "text").iter_rows())
    clean = corpus.filter(pl.col("defect") == "clean")["origin"]
    assert sorted(texts[o] for o in clean) == sorted(d["text"] for lang in LANGS for d in originals(lang))
    for origin, of in corpus.filter(pl.col("defect") == "exact_duplicate").select("origin", "of").iter_rows():
        assert texts[origin] == texts[of]
    for origin, of in corpus.filter(pl.col("defect") == "near_duplicate").select("origin", "of").iter_rows():
        assert texts[origin] != texts[of]
        assert abs(len(texts[origin]) - len(texts[of])) < 0.2 * len(texts[of])
    for origin, detail in corpus.filter(pl.col("defect") == "pii").select("origin", "detail").iter_rows():
        assert all(piece.partition("=")[2] in texts[origin] for piece in detail.split("; "))


def test_truth_is_what_the_dialogue_reader_finds(tmp_path: Path, sample: Artifact, truth: pl.DataFrame) -> None:
    config = dialogues.DialoguesConfig(sources=[{"name": "sft", "path": "sample://sft/*", "form": "messages"}])
    dialogues.run(context(tmp_path, {"sample": sample}), config)
    kept, dropped = read_parts(tmp_path / "kept"), read_parts(tmp_path / "dropped")
    sft = truth.filter(pl.col("file").str.contains("/sft/"))
    assert set(kept["origin"]) | set(dropped["origin"]) == set(sft["origin"])
    assert set(dropped["origin"]) == set(sft.filter(pl.col("defect") == "no_answer")["origin"])
    assert set(dropped["reason"]) == {"sources.no_answer"}
    languages = dict(sft.select("origin", "lang").iter_rows())
    assert all(languages[origin] == lang for origin, lang in kept.select("origin", "lang").iter_rows())


def test_held_out_dialogues_are_nowhere_in_the_sft_files(sample: Artifact) -> None:
    files = sample.path / "files"
    held = [d for lang in LANGS for d in load(f"dialogues.{lang}")]
    sft = b"".join(p.read_bytes() for p in sorted((files / "sft").iterdir())).decode()
    heldout = (files / "exam" / "dialogues.jsonl").read_text(encoding="utf-8")
    hidden = [d for d in held if d["id"] in heldout]
    assert len(hidden) == sample.metrics["heldout_dialogues"] > 0
    assert not [d["id"] for d in hidden if d["messages"][0]["content"] in sft]


def test_exam_files_are_split_and_readable(sample: Artifact) -> None:
    for split, count in (("train", 80), ("test", 60)):
        questions = read_exam(sample.path / "files" / "exam" / f"{split}.jsonl", f"sample://exam/{split}.jsonl")
        assert len(questions) == count
        assert {q.split for q in questions} == {split}


def test_workers_do_not_change_a_byte(tmp_path: Path, sample: Artifact) -> None:
    config = documents.DocumentsConfig(
        sources=[{"name": "sample", "path": "sample://corpus/*"}, {"name": "zh", "path": "sample://corpus/web*"}],
        rows_per_part=50,
    )
    for workers in (1, 2):
        ctx = context(tmp_path / str(workers), {"sample": sample})
        engine = LocalEngine(Progress(quiet=True), workers=workers)
        documents.run(types.SimpleNamespace(**ctx.__dict__ | {"engine": engine}, files=ctx.files), config)
        engine.close()
    assert len(parts(tmp_path / "1" / "kept")) > 4
    one, two = all_bytes(tmp_path / "1"), all_bytes(tmp_path / "2")
    assert {k: v for k, v in one.items() if "part-" in k} == {k: v for k, v in two.items() if "part-" in k}


def test_no_copies_is_the_clean_sample(tmp_path: Path) -> None:
    generate.run(context(tmp_path), generate.SampleConfig(copies=0))
    assert set(pl.read_parquet(tmp_path / "truth.parquet")["defect"]) == {"clean"}


def test_resident_number_passes_its_checksum() -> None:
    number = dirt.resident_id(random.Random(3))
    weights = [2 ** (17 - i) % 11 for i in range(18)]
    values = [10 if c == "X" else int(c) for c in number]
    assert len(number) == 18
    assert sum(w * v for w, v in zip(weights, values, strict=True)) % 11 == 1


def test_undecodable_line_is_text_in_no_encoding() -> None:
    line = dirt.undecodable('{"text": "家庭自测血压有助于发现高血压，也能识别隐匿性高血压"}'.encode(), random.Random(1))
    for codec in ("utf-8", "gb18030"):
        with pytest.raises(UnicodeDecodeError):
            line.decode(codec)
