"""The quality stages on real medical text, clean and with flaws put in by the test."""

import gzip
import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from aquilamed.annotate import AnnotatorConfig
from aquilamed.config import StageFailed
from aquilamed.corpus import quality
from aquilamed.corpus.quality import QualityConfig, QualityLabelsConfig, histogram, regression
from aquilamed.engine.local import LocalEngine
from aquilamed.progress import Progress
from aquilamed.records import read_parts, write_parts
from aquilamed.stage import Context
from aquilamed.workspace import Artifact

MEDQUAD = Path(__file__).parents[3] / "shared" / "data" / "text" / "medquad.jsonl.gz"
needs_medquad = pytest.mark.skipif(not MEDQUAD.exists(), reason="the shared real data (shared/data/text) is absent")
ADVERT = " Order now and get a 50% discount! Limited time offer, call us or visit our website www.example.com today!!"


def context(tmp: Path, name: str, inputs: dict[str, Artifact], workers: int = 1) -> Context:
    out, quiet = tmp / name, Progress(quiet=True)
    recipe = SimpleNamespace(annotator=AnnotatorConfig())
    engine = LocalEngine(quiet, workers=workers)
    return Context(out, out / ".work", inputs, engine, quiet, 42, tmp, recipe)  # type: ignore[arg-type]


def corpus(tmp: Path) -> Artifact:
    """300 real answers, clean, and 150 with adverts put in; and 50 documents of no domain."""
    with gzip.open(MEDQUAD, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["answer"] for line in itertools.islice(lines, 0, 4500, 10)]
    rows = []
    for n, text in enumerate(t for t in texts if t):
        flawed = n % 3 == 0
        rows.append({"id": f"{'flawed' if flawed else 'clean'}-{n}", "text": text[:1200] + ADVERT * 2 * flawed})
    frame = pl.DataFrame([{**r, "domain": "medical", "domain_score": 0.9} for r in rows])
    general = [
        {"id": f"general-{n}", "text": "a match", "domain": "general", "domain_score": 0.1234} for n in range(50)
    ]
    write_parts(tmp / "source" / "kept", pl.concat([frame, pl.DataFrame(general)]), 200)
    return Artifact("corpus/domain", tmp / "source", {"metrics": {}})


def run_both(tmp: Path, workers: int = 1, **config: Any) -> tuple[Any, Any, Path]:
    inputs = {"corpus/domain": corpus(tmp)}
    labelling = context(tmp, "labels", inputs)
    labels = quality.run_labels(labelling, QualityLabelsConfig(samples=300))
    inputs["corpus/quality_labels"] = Artifact("corpus/quality_labels", labelling.out, {"metrics": {}})
    scoring = context(tmp, "quality", inputs, workers)
    result = quality.run(scoring, QualityConfig(**config))
    scoring.engine.close()
    return labels, result, scoring.out


@needs_medquad
def test_adverts_are_dropped_and_clean_texts_stay(tmp_path: Path) -> None:
    labels, result, out = run_both(tmp_path)
    assert labels.records_in == 300
    assert labels.metrics["kept"] + read_parts(tmp_path / "labels" / "dropped").height == 300
    assert labels.metrics["agreement"]["weighted_kappa"] > 0.5
    kept_labels = read_parts(tmp_path / "labels" / "kept")
    assert ((kept_labels["score_1"] + kept_labels["score_2"]) / 2 == kept_labels["quality"]).all()
    assert ((kept_labels["score_1"] - kept_labels["score_2"]).abs() < 2).all()

    kept, dropped = read_parts(out / "kept"), read_parts(out / "dropped")
    assert kept.height + dropped.height == read_parts(tmp_path / "source" / "kept").height
    assert result.metrics["spearman"] > 0.4
    assert result.metrics["mae"] < 0.8
    assert sum(count for _, count in result.metrics["histogram"]) == kept.height + dropped["quality"].count()
    general = dropped.filter(pl.col("reason") == "quality.not_in_domain")
    assert general.height == 50
    assert general["detail"][0] == "the domain's probability is 0.123"
    assert (kept["quality"] >= 4).all()
    low = dropped.filter(pl.col("reason") == "quality.below_threshold")
    assert (low["quality"] < 4).all()
    assert low["id"].str.starts_with("flawed").sum() > 130
    assert kept["id"].str.starts_with("clean").mean() > 0.93


@needs_medquad
def test_a_share_sets_the_threshold_and_workers_do_not_matter(tmp_path: Path) -> None:
    _, result, out = run_both(tmp_path / "one", keep_share=0.4)
    kept = read_parts(out / "kept")
    scored = read_parts(tmp_path / "one" / "source" / "kept").filter(pl.col("domain") == "medical").height
    assert kept.height == pytest.approx(0.4 * scored, abs=2)
    assert kept["quality"].min() == result.metrics["threshold"]
    _, _, other = run_both(tmp_path / "two", workers=2, keep_share=0.4)
    for file in sorted(p.relative_to(out) for p in [*out.glob("kept/*"), *out.glob("dropped/*")]):
        assert (out / file).read_bytes() == (other / file).read_bytes(), file


def test_without_documents_of_the_domain_the_stage_says_so(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "x", "domain": "general", "domain_score": 0.1}]
    write_parts(tmp_path / "source" / "kept", pl.DataFrame(rows))
    source = Artifact("corpus/domain", tmp_path / "source", {"metrics": {}})
    with pytest.raises(StageFailed, match="no document belongs to the domain"):
        quality.run_labels(context(tmp_path, "labels", {"corpus/domain": source}), QualityLabelsConfig())


def test_figures_of_known_scores() -> None:
    figures = regression(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 5.0]))
    assert figures["spearman"] == pytest.approx(1.0)
    assert figures["mae"] == pytest.approx(4 / 3)
    assert regression(np.ones(3), np.arange(3.0))["spearman"] is None
    bins = histogram(np.array([0.0, 0.1, 0.25, 6.0]))
    assert bins[0] == [0.0, 2]
    assert bins[1] == [0.25, 1]
    assert bins[-1] == [5.75, 1]
    assert len(bins) == 24
