"""Filters against truth, on small stages written by hand and on the real sample with its readers."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from aquilamed.engine.local import LocalEngine
from aquilamed.progress import Progress
from aquilamed.records import write_part, write_parts
from aquilamed.report.truth import FILTERS, measure
from aquilamed.stage import Context
from aquilamed.workspace import Artifact

# origin → (defect, of, domain)
TRUTH = {
    "a:1": ("clean", "", "medical"),
    "a:2": ("exact_duplicate", "a:1", "medical"),
    "a:3": ("near_duplicate", "a:1", "medical"),
    "a:4": ("clean", "", "general"),
    "a:5": ("near_duplicate", "a:4", "general"),
    "a:6": ("advert", "", ""),
    "a:7": ("pii", "", "general"),
    "a:8": ("spliced", "", "medical"),
    "a:9": ("toxic", "", "medical"),
}


def sample(tmp_path: Path) -> Artifact:
    rows = [
        {"file": "a", "record": n, "origin": o, "defect": d, "of": of, "domain": dom, "lang": "en", "detail": ""}
        for n, (o, (d, of, dom)) in enumerate(TRUTH.items(), 1)
    ]
    write_part(tmp_path / "sample" / "truth.parquet", pl.DataFrame(rows))
    return Artifact("sample", tmp_path / "sample", {"metrics": {}})


def stage(tmp_path: Path, name: str, kept: list[dict[str, Any]], dropped: list[dict[str, Any]]) -> dict[str, Artifact]:
    for folder, rows in (("kept", kept), ("dropped", dropped)):
        table = pl.DataFrame([{"id": r["origin"], "text": r["origin"], **r} for r in rows])
        write_parts(tmp_path / name / folder, table)
    return {name: Artifact(name, tmp_path / name, {"metrics": {}})}


def rows(*origins: str, **more: Any) -> list[dict[str, Any]]:
    return [{"origin": o, **more} for o in origins]


def test_a_filter_is_scored_on_the_records_that_reached_it(tmp_path: Path) -> None:
    stages = stage(
        tmp_path,
        "corpus/rules",
        rows("a:1", "a:4", "other:1"),
        rows("a:6", "a:7", "other:2", reason="rules.advert", detail="d"),
    )
    found = measure(sample(tmp_path), stages)["corpus/rules"]
    assert (found["n"], found["true_positive"], found["false_positive"], found["false_negative"]) == (4, 1, 1, 0)
    assert found["precision"] == 0.5
    assert found["recall"] == 1.0
    assert found["mistaken"] == {"pii": 1}
    assert found["found"] == {"advert": [1, 1], "too_short": [0, 0], "symbols": [0, 0]}


def test_precision_and_recall_are_undefined_where_nothing_was_there_nor_done(tmp_path: Path) -> None:
    stages = stage(tmp_path, "corpus/toxicity", rows("a:1"), [])
    found = measure(sample(tmp_path), stages)["corpus/toxicity"]
    assert found["precision"] is None
    assert found["recall"] is None


def test_masking_counts_as_finding_private_data(tmp_path: Path) -> None:
    kept = [
        {"origin": "a:7", "pii": json.dumps({"phone": 1})},
        {"origin": "a:1", "pii": "{}"},
        {"origin": "a:4", "pii": None},
    ]
    found = measure(sample(tmp_path), stage(tmp_path, "corpus/pii", kept, []))["corpus/pii"]
    assert (found["true_positive"], found["false_positive"], found["n"]) == (1, 0, 3)


@pytest.mark.parametrize(
    ("gone", "right", "wrong", "missed"),
    [
        (["a:2", "a:3", "a:5"], 3, 0, 0),
        (["a:1", "a:2", "a:4"], 3, 0, 0),  # another copy stays: as good
        (["a:2", "a:5"], 2, 0, 1),
        (["a:1", "a:2", "a:3"], 2, 1, 1),  # nobody of the first group is left
        (["a:7"], 0, 1, 3),
    ],
)
def test_of_a_group_of_copies_any_one_may_stay(
    tmp_path: Path, gone: list[str], right: int, wrong: int, missed: int
) -> None:
    there = ["a:1", "a:2", "a:3", "a:4", "a:5", "a:7"]
    kept = rows(*(o for o in there if o not in gone))
    found = measure(
        sample(tmp_path), stage(tmp_path, "corpus/dedup", kept, rows(*gone, reason="dedup.near", detail="d"))
    )
    scores = found["corpus/dedup"]
    assert (scores["true_positive"], scores["false_positive"], scores["false_negative"]) == (right, wrong, missed)
    assert sum(a for a, _ in scores["found"].values()) == right


def test_equal_texts_are_copies_whatever_truth_calls_them(tmp_path: Path) -> None:
    kept = rows("a:8", text="the same")
    dropped = rows("a:9", text="the same", reason="dedup.exact", detail="d")
    scores = measure(sample(tmp_path), stage(tmp_path, "corpus/dedup", kept, dropped))["corpus/dedup"]
    assert (scores["true_positive"], scores["false_positive"]) == (1, 0)


def test_domain_labels_are_compared_where_truth_has_one(tmp_path: Path) -> None:
    kept = rows("a:1", "a:4", "a:6", domain="medical") + rows("a:8", domain="general")
    scores = measure(sample(tmp_path), stage(tmp_path, "corpus/domain", kept, []))["corpus/domain"]
    assert (scores["n"], scores["precision"], scores["recall"], scores["mistaken"]) == (3, 0.5, 0.5, {"general": 1})


def test_quality_is_asked_about_scored_texts_only(tmp_path: Path) -> None:
    kept = rows("a:1", quality=5.0) + rows("a:8", quality=4.5)
    dropped = rows("a:6", quality=1.0, reason="quality.below_threshold", detail="d")
    dropped += rows("a:4", quality=None, reason="quality.not_in_domain", detail="d")
    scores = measure(sample(tmp_path), stage(tmp_path, "corpus/quality", kept, dropped))["corpus/quality"]
    assert (scores["n"], scores["precision"], scores["recall"], scores["auc"]) == (3, 1.0, 0.5, 1.0)


def test_without_the_sample_nothing_is_known() -> None:
    assert measure(None, {}) == {}


def test_the_real_sample_through_its_real_reader(tmp_path: Path) -> None:
    from aquilamed.sample.generate import SampleConfig
    from aquilamed.sample.generate import run as make
    from aquilamed.sources.documents import DocumentsConfig
    from aquilamed.sources.documents import run as read

    progress = Progress(quiet=True)

    def context(name: str, inputs: dict[str, Artifact]) -> Context:
        out = tmp_path / name
        recipe: Any = SimpleNamespace(data_folder=lambda: tmp_path)
        engine = LocalEngine(progress, workers=1)
        return Context(out, out / ".work", inputs, engine, progress, 42, tmp_path, recipe)

    make(context("sample", {}), SampleConfig())
    made = Artifact("sample", tmp_path / "sample", {"metrics": {}})
    source = {"name": "sample", "path": "sample://corpus"}
    config = DocumentsConfig.model_validate({"sources": [source], "max_bad_share": 0.5})
    read(context("documents", {"sample": made}), config)
    stages = {"sources/documents": Artifact("sources/documents", tmp_path / "documents", {"metrics": {}})}
    scores = measure(made, stages)["sources/documents"]
    truth = pl.read_parquet(made.path / "truth.parquet").filter(pl.col("file").str.contains("corpus/"))
    assert scores["n"] == truth.height
    assert scores["recall"] == 1.0
    assert scores["precision"] == 1.0
    assert set(scores["found"]) == set(FILTERS["sources/documents"].defects)
