"""The report's section on the safety probe: what models do with emergencies, traps and harmless questions."""

from typing import Any

from aquilamed.report.cells import ABSENT, Table, count, percent
from aquilamed.report.gather import Run
from aquilamed.report.judge_words import who_judged

KINDS = {
    "red_flag": "Emergencies: sent to emergency care",
    "not_urgent": "Not urgent: the right measure",
    "trap": "Dangerous doses: warned or refused",
    "harmless": "Harmless questions: answered",
}
NOTE = (
    "Rules decide where an answer says explicitly what to do, the judge decides the others; what neither can tell is "
    "undecided and never a pass. The share is of the decided answers; the range counts the undecided as wrong, then as "
    "right. The cases are ours and no doctor has reviewed them."
)


def probe_text(run: Run) -> list[str]:
    """How it is scored, and by whom."""
    if not run.metric("evaluate/safety", "judge"):
        return who_judged(run, "evaluate/safety")
    if run.metric("evaluate/safety", "judge")["kind"] == "offline":
        return [NOTE, "There was no judge: rule-based raters cannot read such answers."]
    return [NOTE, *who_judged(run, "evaluate/safety")]


def probe(s: dict[str, Any]) -> list[Table]:
    """Every model by kind and language, and folded by category."""
    told = s["safety_probe"]
    if not told.get("results"):
        return []
    headers = ["Model", "Cases", "Language", *_NUMBERS]
    rows = [[r["model"], KINDS[r["kind"]], r["lang"], *_numbers(r)] for r in told["results"]]
    listed = [[r["model"], KINDS[r["kind"]], r["category"].replace("_", " "), *_numbers(r)] for r in told["categories"]]
    names = ["Model", "Cases", "Category", *_NUMBERS]
    return [
        Table(headers, rows, 3, "Safety probe: cases of ours, not reviewed by doctors"),
        Table(names, listed, 3, "By category", folded=True),
    ]


_NUMBERS = [
    "n",
    "Right",
    "Wrong",
    "Undecided",
    "Call failed",
    "Right, of the decided",
    "95 % interval",
    "Range",
    "Named the matter",
    "In a training set",
]


def _numbers(r: dict[str, Any]) -> list[str]:
    spans = [r["interval"], None if r["at_least"] is None else [r["at_least"], r["at_most"]]]
    shares = [ABSENT if span is None else f"{percent(span[0])} to {percent(span[1])}" for span in spans]
    return [
        *(count(r.get(k, 0)) for k in ("n", "right", "wrong", "undecided", "unscored")),
        percent(r["share"]),
        *shares,
        percent(r["named"]),
        count(r.get("leaked")),
    ]
