"""Duplicates by source and safety as tables; what is absent is said so."""

from aquilamed.report.cells import ABSENT
from aquilamed.report.selection_sections import duplicates, duplicates_text, safety, safety_text

DEDUP = {"exact": 3, "near": 1, "within": 3, "across": 1, "sources": {"a": {"a": 3, "b": 1}}}
SAFETY = {
    "certain": 2,
    "certain_by_kind": {"toxic": 2},
    "doubtful": 9,
    "doubtful_by_kind": {"suspect": 5, "poison": 4},
    "unsafe_by_kind": {"poison": 1},
    "classifier": {"used": True, "trained_on": {"unsafe": 126}, "auc": 0.9731, "named": 5},
    "agreement": {"answered": 9, "equal": 0.5, "kappa": 0.25},
    "audited": 100,
    "audited_unsafe": 1,
}


def test_duplicates_by_source() -> None:
    counts, table = duplicates({"duplicates": {"dedup": DEDUP, "questions": None}})
    assert counts.rows == [
        ["whole dialogues", "3", "1", "3", "1"],
        ["questions alone", *[ABSENT] * 4],
    ]
    assert (table.headers, table.rows) == (["Stays", "a", "b"], [["a", "3", "1"]])


def test_safety_by_kind_with_classifier_and_audit() -> None:
    steps, kinds, classifier, agreed = safety({"safety": SAFETY})
    assert ["Certain, dropped", "2"] in steps.rows
    assert ["poison", "0", "4", "1"] in kinds.rows
    assert ["AUC against other sentences, held out", "0.973"] in classifier.rows
    assert agreed.rows == [["9", "50.0 %", "0.25"]]
    assert "Of 100 dialogues without any doubt" in safety_text({"safety": SAFETY})[-1]


def test_what_is_absent_is_said_so() -> None:
    none = {"duplicates": {"dedup": None, "questions": None}, "safety": None}
    assert ABSENT in duplicates_text(none)[0]
    assert ABSENT in safety_text(none)[0]
    assert safety(none) == []
    off = {"safety": {"classifier": {"used": False, "why": "switched off"}}}
    assert safety_text(off)[-1] == "No classifier: switched off."
