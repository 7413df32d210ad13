"""The report's sections on what left the SFT set: duplicates by source, and safety."""

from typing import Any

from aquilamed.printable import printable
from aquilamed.report.cells import ABSENT, Table, count, get, number, percent

_LOOKS = {"dedup": "whole dialogues", "questions": "questions alone"}


def duplicates_text(s: dict[str, Any]) -> list[str]:
    """How the tables are to be read."""
    if not any(s["duplicates"].values()):
        return [f"Duplicates are {ABSENT}."]
    return [
        "Whole dialogues are compared first, then the user's turns alone. A row is the source of the copy that stays."
    ]


def duplicates(s: dict[str, Any]) -> list[Table]:
    """Counts of both looks, and a table source by source for each."""
    keys = ("exact", "near", "within", "across")
    rows = [[_LOOKS[name], *(count(get(d, k)) for k in keys)] for name, d in s["duplicates"].items()]
    tables = [Table(["Compared", "Exact", "Near", "Within a source", "Across sources"], rows)]
    for name, d in s["duplicates"].items():
        table: dict[str, dict[str, int]] = get(d, "sources") or {}
        gone = sorted({source for row in table.values() for source in row})
        if gone:
            body = [[printable(of), *(count(row.get(g, 0)) for g in gone)] for of, row in sorted(table.items())]
            tables.append(Table(["Stays", *(printable(g) for g in gone)], body, 1, f"Copies dropped, {_LOOKS[name]}"))
    return tables


def safety_text(s: dict[str, Any]) -> list[str]:
    """What was looked for, and what the numbers do not say."""
    found = s["safety"]
    if not found:
        return [f"Safety is {ABSENT}."]
    said = [
        "Certain hits of patterns and word lists go at once. Doubtful dialogues, most suspicious first, are judged by the "
        "annotator in two rounds: two verdicts “unsafe” drop one; a failed call is no verdict."
    ]
    classifier = found.get("classifier") or {}
    if not classifier.get("used"):
        said.append(f"No classifier: {printable(classifier.get('why', ABSENT))}.")
    if found.get("audited"):
        said.append(
            f"Of {count(found['audited'])} dialogues without any doubt, drawn at random and judged too, "
            f"{count(found.get('audited_unsafe'))} were dropped: what patterns and classifier miss."
        )
    return said


def safety(s: dict[str, Any]) -> list[Table]:
    """The steps with their counts, kinds, and the classifier."""
    found = s["safety"]
    if not found:
        return []
    steps = {
        "Certain, dropped": "certain",
        "Doubtful": "doubtful",
        "… by patterns": "by_patterns",
        "Judged twice": "judged",
        "… safe": "judged_safe",
        "… unsafe, dropped": "judged_unsafe",
        "… verdicts differ": "disagreement",
        "Calls failed": "failed_calls",
        "Not judged: budget": "over_budget",
        "Dialogues with private information masked": "masked_dialogues",
    }
    tables = [Table(["Safety", "Dialogues"], [[label, count(found.get(key))] for label, key in steps.items()])]
    by = ("certain_by_kind", "doubtful_by_kind", "unsafe_by_kind")
    kinds = sorted({kind for key in by for kind in found.get(key) or {}})
    rows = [[printable(k), *(count((found.get(key) or {}).get(k, 0)) for key in by)] for k in kinds]
    if rows:
        tables.append(Table(["Kind", "Certain", "Doubtful", "Judged unsafe"], rows))
    if get(found, "classifier", "used"):
        c = found["classifier"]
        sizes = c.get("trained_on") or {}
        body = [
            ["Unsafe sentences learned", count(sizes.get("unsafe"))],
            ["Good counsel learned", count(sizes.get("counsel"))],
            ["Other sentences learned", count(sizes.get("others"))],
            ["AUC against other sentences, held out", number(c.get("auc"), 3)],
            ["AUC against good counsel, held out", number(c.get("auc_counsel"), 3)],
            ["Dialogues named", count(c.get("named"))],
        ]
        tables.append(Table(["Classifier of suspects", ""], body))
    agreed = found.get("agreement") or {}
    if agreed.get("answered"):
        row = [count(agreed["answered"]), percent(agreed.get("equal")), number(agreed.get("kappa"), 3)]
        tables.append(Table(["Answered twice", "Equal", "Cohen's κ"], [row], 0))
    return tables
