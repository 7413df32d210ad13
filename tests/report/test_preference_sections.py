"""The preference set's section, from the metrics that the stage really writes."""

import json
from pathlib import Path

from made_pairs import GOOD, context, pair, said

from aquilamed.prefer import select
from aquilamed.prefer.select import PreferSelectConfig
from aquilamed.report.preference_sections import preferences, preferences_text


def test_audit_and_doctors(tmp_path: Path) -> None:
    rows = [pair("a"), pair("b"), pair("c", "I'm sorry, but I cannot help with that."), pair("d", GOOD, GOOD + " ")]
    verdicts = [said(rows[0], "li", "B"), said(rows[0], "wang", "B"), said(rows[1], "wang", "A")]
    (tmp_path / "v.jsonl").write_text("".join(json.dumps(v) + "\n" for v in verdicts), encoding="utf-8")
    metrics = select.run(context(tmp_path, rows), PreferSelectConfig(verdicts=["v.jsonl"])).metrics
    judged = {"prompts": 9, "pairs": 4, "original_wins": 1, "answer_wins": 3, "first_shown_wins": 0.625}
    summary = {"preferences": {"subjective": judged, "objective": None, "select": metrics}}
    made, audit, doctors, agreement = preferences(summary)
    assert ["Verdicts for the answer shown first (50 %: no position bias)", "62.5 %"] in made.rows
    cells = {row[0]: row[1:] for row in audit.rows}
    assert audit.headers == ["Audit, before → after", "subjective", "all"]
    assert cells["Pairs"] == ["4 → 2"] * 2
    assert cells["Chosen answer refuses"] == ["1 → 0"] * 2
    assert ["The other answer was chosen", "1"] in doctors.rows
    assert ["rater 1 and rater 2", "1", "100.0 %", "not measured"] in agreement.rows
    assert preferences_text(summary)[0].startswith("DPO learns")


def test_nothing_measured_is_said() -> None:
    summary = {"preferences": {"subjective": None, "objective": None, "select": None}}
    assert preferences(summary) == []
    assert preferences_text(summary) == ["The preference set is not measured."]
