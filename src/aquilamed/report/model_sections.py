"""The report's sections about models: tables and sentences from summary.json's values."""

from typing import Any

from aquilamed.annotate import ASPECTS
from aquilamed.evaluate.parity import PAIRWISE
from aquilamed.printable import printable
from aquilamed.report.cells import ABSENT, Table, arrow, count, get, number, percent, spans
from aquilamed.report.gather import Run

PERPLEXITY = (
    "Per token, on documents kept out of training, with 95 % bootstrap intervals over documents. Stage 1 is measured on the "
    "documents held out of mix 1, stage 2 on those of mix 2: only numbers of one row compare. The difference is tested on "
    "the same documents (paired bootstrap); where its interval holds 0 it is noise."
)


def trainings(s: dict[str, Any]) -> list[Table]:
    """Steps, tokens, speed, first and last loss of every training."""
    rows = [
        [
            name,
            t["method"] or ABSENT,
            count(t["steps"]),
            count(t["tokens"]),
            number(t["tokens_per_second"]),
            arrow(*(number(t["loss"][i][1]) if t["loss"] else ABSENT for i in (0, -1))),
        ]
        for name, t in s["trainings"].items()
    ]
    headers = ["Training", "Method", "Steps", "Tokens, padding included", "Tokens/s", "Loss, first → last logged"]
    return [Table(headers, rows or [["none is done", *[""] * 5]], 2)]


def perplexity(s: dict[str, Any]) -> list[Table]:
    """Before and after, per language and held-out set."""
    rows = []
    for pack, (mix, before, after) in spans(s["perplexity"]).items():
        told = s["perplexity"]["sets"][pack] or {}
        for lang in sorted({*(told.get("before") or {}), *(told.get("after") or {})}):
            pair = [get(told, k, lang) for k in ("before", "after")]
            change = ABSENT if None in pair else f"{100 * (pair[1] / pair[0] - 1):+.1f} %"
            cells = (
                between(get(told, k, lang), get(told, "intervals", k, lang), "{:.5g}") for k in ("before", "after")
            )
            rows.append([lang, mix, f"{before} → {after}", *cells, change])
    names = ["Language", "Held out of", "Models", "Before", "After", "Change"]
    return [Table(names, rows or [[ABSENT, *[""] * 5]], 3), *_perplexity_steps(s)]


def _perplexity_steps(s: dict[str, Any]) -> list[Table]:
    """What each training changed on the documents that both models saw."""
    rows = [
        [
            *(c["lang"], mix, f"{c['against']} → {after}"),
            *(number(c["first"]), number(c["second"]), between(c["difference"], c["interval"], "{:+.4f}")),
            *(count(c["documents"]), count(c["tokens"]), "noise" if c["noise"] else "a difference"),
        ]
        for pack, (mix, _, after) in spans(s["perplexity"]).items()
        for c in (s["perplexity"]["sets"][pack] or {}).get("comparisons", [])
    ]
    names = ["Language", "Held out of", "Models", "Before", "After", "Difference", "Documents", "Tokens", "This is"]
    caption = "The same documents under both models, nats per token"
    return [Table(names, rows, 3, caption)] if rows else []


def sft(s: dict[str, Any]) -> list[Table]:
    """Validation loss and what was left out."""
    r = s["sft"]
    rows = [
        ["Validation loss before training, nats per token", number(r["first"])],
        ["Best validation loss", number(r["best"])],
        ["at step", count(r["best_step"])],
        *([f"Dialogues: {k.replace('_', ' ')}", count(v)] for k, v in (r["rows"] or {}).items()),
    ]
    return [Table(["Supervised fine-tuning", ""], rows)]


def dpo(s: dict[str, Any]) -> list[Table]:
    """First loss, accuracy and margin."""
    d = s["dpo"]
    pairs = d["pairs"] if isinstance(d["pairs"], dict) else {"all": d["pairs"]}
    rows = [
        ["Loss before the first step (ln 2 = 0.6931 when the reference is right)", number(d["step0_loss"], 5)],
        ["Preference accuracy, before → after", arrow(*(percent(get(d, k, "accuracy")) for k in ("before", "after")))],
        ["Margin, before → after", arrow(*(number(get(d, k, "margin")) for k in ("before", "after")))],
        ["Measured on", d["measured_on"] or ABSENT],
        *([f"Pairs: {k.replace('_', ' ')}", str(v) if isinstance(v, dict) else count(v)] for k, v in pairs.items()),
    ]
    return [Table(["Direct preference optimisation", ""], rows)]


def judge_text(run: Run, stage: str) -> list[str]:
    """Who judged."""
    judge = run.metric(stage, "judge")
    if not judge:
        return [f"This evaluation is {ABSENT}."]
    panel = [printable(j["name"]) for j in run.metric(stage, "panel") or []]
    asked = ", ".join(f"{printable(name)} {mark}" for name, mark in judge.get("rubrics", {}).items()) or "unknown"
    who = "a rule-based rater, not an LLM" if judge.get("kind") == "offline" else printable(judge.get("name"))
    told = [f"The judge is {who} (rubric {asked})."]
    if panel:
        told.append(
            f"It is one of a panel, with {', '.join(panel)}: what most of them say counts, scores are their mean."
        )
    return told


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
    name = f", {printable(judge['judge'])}" if "judge" in judge else ""
    return [r["model"], r["against"], r["benchmark"] + name]


def between(value: Any, interval: Any, form: str = "{:.2f}") -> str:
    """A value with its interval: "3.10 (2.84 to 3.35)"."""
    if value is None:
        return ABSENT
    return form.format(value) + (f" ({form.format(interval[0])} to {form.format(interval[1])})" if interval else "")


def points(share: Any) -> str:
    """A share with its interval, in percent."""
    interval = get(share, "interval")
    return between(
        None if get(share, "share") is None else 100 * share["share"],
        interval and [100 * v for v in interval],
        "{:.1f}",
    )


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
            *(r["model"], r["against"], r["benchmark"], " and ".join(printable(name) for name in a["judges"])),
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
            *(printable(p["judge"]), f"{p['own']} ({r['model']} against {r['against']}, {r['benchmark']})"),
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
        parts += [(f"all, {printable(judge)}", average) for judge, average in (told.get("judges") or {}).items()]
        for name, r in parts:
            aspects = (between(r[a], get(r, "intervals", a)) for a in ASPECTS)
            rows.append([model, name, *aspects, *(count(r.get(k)) for k in ("n", "dialogues", "unscored"))])
    headers = ["Model", "Round", *(a.capitalize() for a in ASPECTS), "Scored", "Dialogues", "Unscored"]
    caption = "Means on a scale from 1 to 5, with 95 % bootstrap intervals over dialogues"
    agree = [
        [
            *(aspect, " and ".join(printable(name) for name in a["judges"]), percent(a["equal"])),
            *(between(a["weighted_kappa"], a["weighted_kappa_interval"]), count(a["answered"])),
        ]
        for aspect, found in (s["multiturn"].get("agreement") or {}).items()
        for a in found
    ]
    names = ["Aspect", "Judges", "Equal", "Quadratic κ (95 % interval)", "Rounds"]
    panel = [Table(names, agree, 2, "How far the judges agree on scores")] if agree else []
    return [Table(headers, rows, 2, caption), *panel] if rows else []
