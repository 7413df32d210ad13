"""The SFT set's sections and figures: what is lacking is said, numbers come from the metrics, labels stay in order."""

from pathlib import Path
from typing import Any

from aquilamed.report import figures
from aquilamed.report import instruct_sections as sft

SPREAD = {"n": 9, "mean": 3.25, "histogram": [[1.0, 4], [3.5, 5]]}
SUMMARY: dict[str, Any] = {
    "deita": {
        "scored_by": {"model": 3, "regressor": 6},
        "score_token_mass": 0.875,
        "complexity": SPREAD,
        "quality": SPREAD,
        "deita": SPREAD,
        "grid": [[0, 4], [5, 0]],
        "regressor": {
            "backend": "sklearn",
            "train": 80,
            "heldout": 20,
            "complexity": {"spearman": 0.5125, "mae": 0.25},
            "quality": {"spearman": None, "mae": 0.5},
            "deita": {"spearman": 0.75, "mae": 1.5},
            "by_kind": {"multi_turn_QA_zh": {"n": 20, "spearman": 0.625, "mae": 1.25}},
        },
    },
    "relevance": {"relevance": SPREAD},
    "composition": {
        "counts": {"a_zh": 3, "b_en": 1},
        "shares": {"a_zh": 0.75, "b_en": 0.25},
        "paper": {"a_zh": 0.272},
        "kinds": {
            "a_zh": {"asked": 3, "available": 5, "not_diverse": 1, "taken": 3},
            "b_en": {"asked": 4, "available": 1, "not_diverse": 0, "taken": 1},
        },
        "target": 7,
        "languages": {"en": 1, "zh": 3},
        "paper_languages": {"zh": 0.86, "en": 0.14},
        "thresholds": {"deita": 2.0, "relevance_low": 0.5, "relevance_high": 0.9},
        "histograms": {"deita": SPREAD["histogram"], "relevance": SPREAD["histogram"]},
    },
    "topics": {
        "departments": {"cardiology": 2, "ent": 7},
        "no_department": 1,
        "diseases": {"stroke": 3, "flu": 4},
        "no_disease": 2,
    },
}


def test_a_kind_that_lacks_is_named() -> None:
    assert sft.composition_text(SUMMARY)[1] == "These kinds could not fill their share: b_en: 1 of 4."
    row = sft.composition(SUMMARY)[0].rows[0]
    assert row == ["a_zh", "3", "5", "1", "3", "75.0 %", "27.2 %"]
    assert sft.composition(SUMMARY)[1].rows == [["en", "1", "25.0 %", "14.0 %"], ["zh", "3", "75.0 %", "86.0 %"]]


def test_the_regressor_is_shown_per_kind_and_an_undefined_figure_is_no_number() -> None:
    rows = sft.deita(SUMMARY)[1].rows
    assert rows[1][2] == "not measured"
    assert rows[3] == ["s, multi_turn_QA_zh", "20", "0.625", "1.25"]
    assert "87.5 %" in " ".join(sft.deita_text(SUMMARY))
    assert "the regressor: 6" in sft.deita_text(SUMMARY)[0]


def test_labels_are_ordered_by_count() -> None:
    assert [r[0] for r in sft.topics(SUMMARY)[0].rows] == ["ent", "cardiology"]
    assert [r[0] for r in sft.topics(SUMMARY)[1].rows] == ["flu", "stroke"]
    assert sft.topics_text(SUMMARY)[0].startswith("2 departments and 2 diseases occur")


def test_figures_are_drawn(tmp_path: Path) -> None:
    drawings = {"deita": figures.deita, "composition": figures.composition, "topics": figures.topics}
    for name, drawing in drawings.items():
        figure = drawing(SUMMARY)
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    assert figures.topics({"topics": None}) is None
    assert figures.deita({"deita": None}) is None


def test_nothing_is_measured() -> None:
    empty = {
        "deita": None,
        "relevance": None,
        "topics": None,
        "composition": dict.fromkeys(SUMMARY["composition"]),
    }
    for text, tables in (
        (sft.deita_text, sft.deita),
        (sft.composition_text, sft.composition),
        (sft.topics_text, sft.topics),
    ):
        assert "not measured" in text(empty)[0]
        assert tables(empty) == []
    assert "not measured" in sft.relevance_text(empty)[0]
