"""The report's section on knowledge: accuracies with their uncertainty, what differs, and what may have been seen before."""

from typing import Any

from aquilamed.evaluate.parity import KNOWLEDGE, NAMES
from aquilamed.report.cells import ABSENT, Table, accuracy, count, difference, get, number, percent


def knowledge(s: dict[str, Any]) -> list[Table]:
    """Accuracy of every model on every benchmark beside the paper's, and what qualifies it."""
    rows = [
        [
            r["model"],
            r["task"],
            accuracy(r),
            _range(r["interval"]),
            count(r["shots"]),
            percent(None if r["chance"] is None else r["chance"] / 100),
            count(r["invalid"]),
            count(r["unscored"]),
            "none" if r["paper"] is None else f"{r['paper']:.2f} % ({r['paper_model']})",
        ]
        for r in s["knowledge"]
    ]
    headers = ["Model", "Benchmark", "Accuracy ± standard error", "95 % interval", "Shots", "Chance"]
    headers += ["Named no option", "Call failed", "The paper's model"]
    tables = [Table(headers, rows or [[ABSENT, *[""] * 8]], 2)]
    return [*tables, *_comparisons(s), *_leaked(s), *_turned(s), _paper()]


def _paper() -> Table:
    tasks = list(dict.fromkeys(task for told in KNOWLEDGE.values() for task in told))
    rows = [
        [NAMES[model], *(f"{told[task]:.2f}" if task in told else "" for task in tasks)]
        for model, told in KNOWLEDGE.items()
    ]
    return Table(["The paper's model", *tasks], rows, caption="The paper's own table, accuracy in percent", folded=True)


def _range(interval: Any, sign: bool = False) -> str:
    form = "+.1f" if sign else ".1f"
    return ABSENT if interval is None else f"{interval[0]:{form}} to {interval[1]:{form}}"


def _comparisons(s: dict[str, Any]) -> list[Table]:
    rows = [
        [
            c["task"],
            f"{c['model']} against {c['against']}",
            ABSENT if c["difference"] is None else f"{100 * c['difference']:+.1f}",
            _range(c["interval"] and [100 * v for v in c["interval"]], sign=True),
            f"{c['gained']:,} / {c['lost']:,}",
            number(c["p"], 2),
            difference(c["noise"]),
        ]
        for c in s["knowledge_comparisons"]
    ]
    headers = ["Benchmark", "Models", "Difference, points", "95 % interval", "Gained / lost", "McNemar's p", "This is"]
    return [Table(headers, rows, 2, "Each model against the one before it, on the same questions")] if rows else []


def _leaked(s: dict[str, Any]) -> list[Table]:
    rows = [
        [r["model"], r["task"], *(f"{percent(get(r, k, 'accuracy'))} (n = {r[k]['n']:,})" for k in ("leaked", "clean"))]
        for r in s["knowledge"]
        if get(r, "leaked", "n")
    ]
    headers = ["Model", "Benchmark", "On questions that a training set holds", "On the others"]
    return [Table(headers, rows, 2, "Contamination")] if rows else []


def _turned(s: dict[str, Any]) -> list[Table]:
    rows = [
        [
            r["model"],
            r["task"],
            percent(r["turned"]["accuracy"]),
            ", ".join(percent(a) for a in r["turned"]["per_order"]),
            percent(r["turned"]["flipped"]),
        ]
        for r in s["knowledge"]
        if r["turned"]
    ]
    headers = ["Model", "Benchmark", "Accuracy over all orders", "Per order", "Answers that change"]
    return [Table(headers, rows, 2, "The options turned in a circle")] if rows else []
