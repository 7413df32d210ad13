"""The report's sections about trainings: tables and sentences from summary.json's values."""

from typing import Any

from aquilamed.evaluate.statistics import FEWEST
from aquilamed.report.cells import ABSENT, Table, arrow, between, count, difference, get, number, percent, spans

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
                between(get(told, k, lang), get(told, "intervals", k, lang), "{:#.5g}") for k in ("before", "after")
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
            *(count(c["documents"]), count(c["tokens"]), _verdict(c)),
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
        *_sft_step(r.get("comparison")),
        *([f"Dialogues: {k.replace('_', ' ')}", count(v)] for k, v in (r["rows"] or {}).items()),
    ]
    return [Table(["Supervised fine-tuning", ""], rows)]


def _verdict(c: dict[str, Any]) -> str:
    return difference(c["noise"], c["documents"] < FEWEST)


def _sft_step(c: dict[str, Any] | None) -> list[list[str]]:
    if not c:
        return []
    words = f"{between(c['difference'], c['interval'], '{:+.4f}')}, {_verdict(c)}"
    return [[f"Change over the same {c['documents']:,} dialogues (95 % interval)", words]]


def _dpo_step(c: dict[str, Any] | None) -> list[list[str]]:
    if not c:
        return []
    words = f"{c['gained']:,} / {c['lost']:,}, p = {number(c['p'], 2)}, {difference(c['noise'])}"
    return [["Pairs moved towards the chosen answer / away from it (sign test)", words]]


def dpo(s: dict[str, Any]) -> list[Table]:
    """First loss, accuracy and margin."""
    d = s["dpo"]
    pairs = d["pairs"] if isinstance(d["pairs"], dict) else {"all": d["pairs"]}
    rows = [
        ["Loss before the first step (ln 2 = 0.6931 when the reference is right)", number(d["step0_loss"], 5)],
        ["Preference accuracy, before → after", arrow(*(percent(get(d, k, "accuracy")) for k in ("before", "after")))],
        ["Margin, before → after", arrow(*(number(get(d, k, "margin")) for k in ("before", "after")))],
        *_dpo_step(d.get("comparison")),
        ["Measured on", d["measured_on"] or ABSENT],
        *([f"Pairs: {k.replace('_', ' ')}", str(v) if isinstance(v, dict) else count(v)] for k, v in pairs.items()),
    ]
    return [Table(["Direct preference optimisation", ""], rows)]
