"""The report's section about the preference set: its audit before and after selection, and what doctors said."""

from typing import Any

from aquilamed.printable import printable
from aquilamed.report.cells import ABSENT, Table, arrow, count, get, number, percent

TEXT = (
    "DPO learns whatever tells chosen from rejected answers, so the set is audited for what is not medicine. Values are before → "
    "after stage prefer/select. The chosen answer is longer: equal lengths count half, 50 % is no bias. ρ is Spearman's "
    "correlation of the margin and the length ratio. Objective pairs are alike by design and are not searched for near-identical "
    "answers."
)
_ROWS = (
    ("Pairs", "pairs", count),
    ("The chosen answer is longer", "chosen_longer", percent),
    ("Chosen / rejected characters, geometric mean", "length_ratio", number),
    ("Characters of the chosen answer, mean", "chosen_chars", number),
    ("Characters of the rejected answer, mean", "rejected_chars", number),
    ("Margin, mean", "margin", number),
    ("ρ of margin and length ratio", "margin_length_rho", number),
    ("Margin not positive, or none", "margin_not_positive", count),
    ("Chosen answer in another language than the prompt", "chosen_other_language", count),
    ("Rejected answer in another language", "rejected_other_language", count),
    ("Answers nearly identical", "near_identical", count),
    ("Chosen answer refuses", "chosen_refuses", count),
    ("… an unsafe request", "refuses_unsafe", count),
    ("Rejected answer refuses", "rejected_refuses", count),
)


def preferences_text(s: dict[str, Any]) -> list[str]:
    """How to read the tables, or that there are none."""
    return [TEXT if get(s, "preferences", "select") else f"The preference set is {ABSENT}."]


def preferences(s: dict[str, Any]) -> list[Table]:
    """Judging, audit, doctors."""
    made, chosen = s["preferences"].get("subjective"), s["preferences"].get("select")
    tables = []
    if made:
        rows = [
            ["Prompts", count(get(made, "prompts"))],
            ["Pairs", count(get(made, "pairs"))],
            ["The original answer won", count(get(made, "original_wins"))],
            ["The new answer won", count(get(made, "answer_wins"))],
            ["The orders disagreed", count(get(made, "order_disagreement"))],
            ["Verdicts for the answer shown first (50 %: no position bias)", percent(get(made, "first_shown_wins"))],
        ]
        tables.append(Table(["Judged answers", ""], rows))
    if not chosen:
        return tables
    before, after = chosen["before"], chosen["after"]
    # A measured null (a correlation of what does not vary) is "not measured" too.
    rows = [
        [name, *(arrow(cell(get(before, kind, key)), cell(get(after, kind, key))) for kind in before)]
        for name, key, cell in _ROWS
    ]
    tables.append(Table(["Audit, before → after", *map(printable, before)], rows))
    return tables + _doctors(chosen["human"])


def _doctors(human: dict[str, Any]) -> list[Table]:
    if not human["pairs_judged"]:
        return []
    names = {
        "pairs_judged": "Pairs judged",
        "upheld": "The judge's choice stands",
        "overturned": "The other answer was chosen",
        "edited": "The better answer was corrected",
        "select.human_tie": "Dropped: neither is better",
        "select.undecided": "Dropped: no majority",
        "select.dangerous": "Dropped: the better answer is dangerous",
        "stale_verdicts": "Verdicts of pairs that are no longer there",
        "skipped": "Skipped",
    }
    rows = [[name, count(human[key])] for key, name in names.items()]
    rows += [
        ["Krippendorff's α", number(human["alpha"], 3)],
        ["Fleiss' κ, pairs that all judged", number(human["fleiss_kappa"], 3)],
    ]
    two = [[printable(" and ".join(t["raters"])), *_two(t)] for t in human["two"]]
    two.append(["doctors and the model's judge", *_two(human["model"])])
    return [
        Table(["Doctors", ""], rows),
        Table(["Agreement", "Pairs", "Equal", "Cohen's κ"], two, caption="As the answers were shown, A or B or tie"),
    ]


def _two(t: dict[str, Any]) -> list[str]:
    return [count(t["pairs"]), percent(t["equal"]), number(t["kappa"], 3)]
