"""The report's sections about judged answers: tables from summary.json's values; `judge_words.py` says what they are worth."""

from typing import Any

from aquilamed.annotate import ASPECTS
from aquilamed.evaluate.parity import PAIRWISE
from aquilamed.report.cells import Table, between, called, count, get, number, percent, points


def pairwise(s: dict[str, Any]) -> list[Table]:
    """Wins, ties and losses, beside the paper's percentages where it has that comparison."""
    rows = [
        [
            r["model"],
            r["against"],
            r["benchmark"],
            *(count(r[k]) for k in ("win", "tie", "loss", "unscored", "n")),
            _paper_pairs(r),
        ]
        for r in s["pairwise"]
    ]
    headers = ["Model", "Against", "Benchmark", "Win", "Tie", "Loss", "Unscored", "Pairs", "Paper, win / tie / loss %"]
    aspects = [
        [*_who(r, j), *(" / ".join(count(j["aspects"][a][o]) for o in ("win", "tie", "loss")) for a in ASPECTS)]
        for r in s["pairwise"]
        for j in r.get("judges", [r])
        if "aspects" in j
    ]
    names = ["Model", "Against", "Benchmark", *(a.capitalize() for a in ASPECTS)]
    single = [Table(names, aspects, 3, "The same verdicts by aspect, win / tie / loss")] if aspects else []
    return [Table(headers, rows, 3), *_rates(s), *single, *_position(s), *_agreement(s), *_own(s)] if rows else []


def _who(r: dict[str, Any], judge: dict[str, Any]) -> list[str]:
    """Model, against and benchmark, the latter with the judge's name where there are several."""
    name = f", {called(judge['judge'])}" if "judge" in judge else ""
    return [r["model"], r["against"], r["benchmark"] + name]


def _rates(s: dict[str, Any]) -> list[Table]:
    rows = []
    for comparison, r in ((c, j) for c in s["pairwise"] for j in (c, *c.get("judges", []))):
        if "shares" not in r:
            continue
        even = r["length_controlled"]
        fair = points({"share": even["win_rate"], "interval": even["interval"]})
        if even["win_rate"] is None:
            fair = f"none: {even['reason']}"
        elif even["extrapolated"]:
            fair += ", extrapolated: one side is always longer"
        rows.append(
            [
                *_who(comparison, r),
                *(points(r["shares"][o]) for o in ("win", "tie", "loss")),
                points({"share": r["win_rate"], "interval": r["win_rate_interval"]}),
                fair,
                " / ".join(number(r["characters"][k], 3) for k in ("answer", "other")),
            ]
        )
    headers = ["Model", "Against", "Benchmark", "Win, %", "Tie, %", "Loss, %", "Win rate, %", "At equal length, %"]
    caption = (
        "Shares of the scored pairs with 95 % bootstrap intervals. A tie is half a win. At equal length: a logistic "
        "regression of the outcome on the difference of lengths, read at 0"
    )
    return [Table([*headers, "Mean characters, model / other"], rows, 3, caption)] if rows else []


def _position(s: dict[str, Any]) -> list[Table]:
    rows = [
        [
            *_who(r, j),
            *(points(j["position"][k]) for k in ("first", "second", "agree")),
            count(j["position"]["n"]),
        ]
        for r in s["pairwise"]
        for j in r.get("judges", [r])
        if "position" in j
    ]
    headers = ["Model", "Against", "Benchmark", "First in both, %", "Second in both, %", "Orders agree, %", "Pairs"]
    caption = "The judge's bias: pairs where the answer shown first (second) wins in both orders, which is a tie above"
    return [Table(headers, rows, 3, caption)] if rows else []


def _agreement(s: dict[str, Any]) -> list[Table]:
    rows = [
        [
            *(r["model"], r["against"], r["benchmark"], " and ".join(called(name) for name in a["judges"])),
            *(percent(a["equal"]), between(a["kappa"], a["kappa_interval"]), count(a["answered"])),
        ]
        for r in s["pairwise"]
        for a in r.get("agreement", [])
    ]
    headers = ["Model", "Against", "Benchmark", "Judges", "Equal", "κ (95 % interval)", "Pairs"]
    return [Table(headers, rows, 4, "How far the judges agree on win, tie and loss")] if rows else []


def _own(s: dict[str, Any]) -> list[Table]:
    rows = [
        [
            *(called(p["judge"]), f"{p['own']} ({r['model']} against {r['against']}, {r['benchmark']})"),
            *(percent(p["given"]), percent(p["others"])),
            *(points({"share": p["difference"], "interval": p["interval"]}), count(p["n"])),
        ]
        for r in s["pairwise"]
        for p in r.get("self_preference", [])
    ]
    headers = ["Judge", "Its own answers", "Win rate it gives", "The others give", "Difference, points", "Pairs"]
    return [Table(headers, rows, 2, "Self-preference: judges that are a contestant too")] if rows else []


def _paper_pairs(r: dict[str, Any]) -> str:
    values = PAIRWISE.get((r["model"], r["against"]))
    return " / ".join(f"{v:g}" for v in values) if values and r["benchmark"] == "huatuo" else "none"


def multiturn(s: dict[str, Any]) -> list[Table]:
    """Four aspects per model and round, over all rounds, and per benchmark where there are several."""
    rows = []
    for model, told in (s["multiturn"].get("models") or {}).items():
        parts = [(str(r["round"]), r) for r in told["rounds"]] + [("all", told["average"])]
        tasks = told.get("benchmarks") or {}
        parts += [(f"all of {task}", part["average"]) for task, part in tasks.items() if len(tasks) > 1]
        parts += [(f"all, {called(judge)}", average) for judge, average in (told.get("judges") or {}).items()]
        for name, r in parts:
            aspects = (between(r[a], get(r, "intervals", a)) for a in ASPECTS)
            rows.append([model, name, *aspects, *(count(r.get(k)) for k in ("n", "dialogues", "unscored"))])
    headers = ["Model", "Round", *(a.capitalize() for a in ASPECTS), "Scored", "Dialogues", "Unscored"]
    caption = "Means on a scale from 1 to 5, with 95 % bootstrap intervals over dialogues"
    agree = [
        [
            *(aspect, " and ".join(called(name) for name in a["judges"]), percent(a["equal"])),
            *(between(a["weighted_kappa"], a["weighted_kappa_interval"]), count(a["answered"])),
        ]
        for aspect, found in (s["multiturn"].get("agreement") or {}).items()
        for a in found
    ]
    names = ["Aspect", "Judges", "Equal", "Quadratic κ (95 % interval)", "Rounds"]
    panel = [Table(names, agree, 2, "How far the judges agree on scores")] if agree else []
    return [Table(headers, rows, 2, caption), *panel] if rows else []
