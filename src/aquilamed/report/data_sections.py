"""The report's sections about data: tables and sentences from summary.json's values."""

from typing import Any

from aquilamed.printable import printable
from aquilamed.report.cells import ABSENT, Table, arrow, count, get, number, percent


def filters_text(s: dict[str, Any]) -> list[str]:
    """How to read the table, or why there is none."""
    if not s["filters"]:
        return [
            "Precision and recall need the built-in sample, whose dirt is known; this run has none, or it is not done."
        ]
    auc = get(s["filters"], "corpus/quality", "auc")
    said = (
        ""
        if auc is None
        else f" A spliced text or advert scores below a clean text in {percent(auc)} of pairs (chance: 50 %)."
    )
    return [
        "Of the records that a filter acted on, precision is the share that it should have; recall is the share it "
        "found of what was there. Only records that reached the stage count. Of a group of copies any one may stay."
        + said
    ]


def filters(s: dict[str, Any]) -> list[Table]:
    """Precision and recall of every filter."""
    rows = [
        [
            name,
            ", ".join(f"{d} {a}/{n}" for d, (a, n) in f["found"].items() if n) or "none there",
            percent(f["precision"]),
            percent(f["recall"]),
            *(count(f[k]) for k in ("true_positive", "false_positive", "false_negative", "n")),
            ", ".join(f"{d} {n}" for d, n in f["mistaken"].items()),
        ]
        for name, f in s["filters"].items()
    ]
    headers = [
        "Filter",
        "Found / there",
        "Precision",
        "Recall",
        "Right",
        "Wrong",
        "Missed",
        "Records",
        "The wrong ones are",
    ]
    return [Table(headers, rows, 2)] if rows else []


def agreement(s: dict[str, Any]) -> list[Table]:
    """How far two rounds agree, over their chance."""
    rows = [
        [
            name,
            count(get(a, "answered")),
            percent(get(a, "equal")),
            *(
                cell
                for kappa in ("kappa", "weighted_kappa")
                for cell in (number(get(a, kappa), 3), _interval(a, kappa))
            ),
        ]
        for name, a in s["agreement"].items()
    ]
    headers = ["Labels", "Answered twice", "Equal", "Cohen's κ", "its 95 %", "Weighted κ", "its 95 %"]
    return [Table(headers, rows)]


def _interval(agreement: Any, kappa: str) -> str:
    bounds = get(agreement, f"{kappa}_interval")
    return f"{number(bounds[0], 3)} to {number(bounds[1], 3)}" if bounds else ABSENT


def classifiers_text(s: dict[str, Any]) -> list[str]:
    """What the classifiers are compared with."""
    text = (
        "Measured on held-out labels of the annotator, not on truth. The paper reports F1 84 % on its medical domain."
    )
    return [text if s["domain"] or s["quality"] else "The classifiers are " + ABSENT + "."]


def classifiers(s: dict[str, Any]) -> list[Table]:
    """Domain classifier and quality regressor."""
    tables = []
    if d := s["domain"]:
        f1 = d.get("f1")
        scores = f1 if isinstance(f1, dict) else {"": f1}
        rows = [[f"F1 {name}".strip(), percent(value)] for name, value in scores.items()]
        rows += [
            ["Accuracy", percent(d.get("accuracy"))],
            ["Threshold", number(d.get("threshold"), 3)],
            [
                "Calibration error before, after",
                arrow(*(number(get(d, "calibration_error", k), 2) for k in ("raw", "calibrated"))),
            ],
            ["Trained on", count(d.get("train"))],
            ["Held out to calibrate", count(d.get("calibration"))],
            ["Held out to measure", count(d.get("heldout"))],
        ]
        rows += [[f"Labelled {name}", count(n)] for name, n in (d.get("labels") or {}).items()]
        tables.append(Table([f"Domain classifier ({d.get('backend', ABSENT)})", ""], rows))
        confusion = d.get("confusion") or {}
        names = list(confusion)
        body = [[truth, *(count(get(confusion, truth, said)) for said in names)] for truth in names]
        tables.append(Table(["Held-out label", *(f"said {n}" for n in names)], body, caption="Confusion"))
        rounds = [[count(r["round"]), count(r["labels"]), percent(r["f1"])] for r in s["domain_rounds"] or ()]
        if rounds:
            tables.append(Table(["Round", "Labels", "Held-out F1"], rows=rounds, caption="The labelling loop"))
        unsure = [
            [printable(e["text"]), printable(e["label"]), number(e["probability"], 3)] for e in d.get("uncertain") or ()
        ]
        if unsure:
            headers = ["Text", "Label", "Probability"]
            tables.append(Table(headers, unsure, 2, "Held-out texts that the classifier is least sure of", folded=True))
    if q := s["quality"]:
        rows = [
            ["Spearman's ρ", number(q.get("spearman"), 3)],
            ["Mean absolute error (0 to 6)", number(q.get("mae"), 3)],
            ["Threshold", number(q.get("threshold"), 3)],
            ["Trained on", count(q.get("train"))],
            ["Held out", count(q.get("heldout"))],
        ]
        tables.append(Table([f"Quality regressor ({q.get('backend', ABSENT)})", ""], rows))
    return tables


def mixes(s: dict[str, Any]) -> list[Table]:
    """What the mixes hold, how they were packed, and what benchmarks leaked into the sources."""
    tables = []
    for name, mix in s["mixes"].items():
        groups = {k.removeprefix("tokens_by_"): v for k, v in (mix or {}).items() if k.startswith("tokens_by_")}
        total = get(mix, "tokens")
        rows = [["all", "", count(total), ""]] if groups else []
        rows += [
            [group, printable(key), count(n), percent(n / total if total else None)]
            for group, values in groups.items()
            for key, n in values.items()
        ]
        tables.append(Table([name, "", "Tokens (script-aware)", "Share"], rows or [[ABSENT, "", "", ""]], 2))
    keys = ("documents", "tokens", "rows", "split_documents", "left_out_documents")
    rows = [
        [n, count(get(p, "length")), *(count(get(p, k)) for k in keys), percent(get(p, "padding_share"))]
        for n, p in s["packs"].items()
    ]
    headers = ["Pack", "Row length", "Documents", "Tokens", "Rows", "Split documents", "Left out", "Padding"]
    tables.append(Table(headers, rows, caption="Packing (training part)"))
    leaks = [
        [
            group,
            name,
            *(count(get(b, key)) for key in ("questions", "too_short", "leaked_questions")),
            percent(get(b, "leaked_share")),
            count(get(b, "documents_dropped")),
        ]
        for group, found in s["contamination"].items()
        for name, b in (found or {}).items()
    ]
    if leaks:
        tables.append(
            Table(
                ["Data", "Benchmark", "Questions", "Too short to look for", "Leaked", "Share", "Records dropped"],
                leaks,
                2,
                "Benchmarks in the data",
            )
        )
    return tables
