"""The first table of the report: base → CPT → SFT → DPO, beside the paper's Aquila where it measured the same."""

from collections.abc import Iterator
from typing import Any

from aquilamed.annotate import ASPECTS
from aquilamed.evaluate.parity import KNOWLEDGE, NAMES, PAIRWISE
from aquilamed.progress import duration
from aquilamed.report.cells import ABSENT, Table, arrow, count, get, number, percent, spans
from aquilamed.report.judge_words import cannot_tell

MODELS = {"base": "Base", "pretrain": "CPT", "finetune": "SFT", "align": "DPO"}
NOISE = " ≈"
Line = tuple[str, dict[str, str], str]
"""What, model → cell, the stage whose manifest holds it."""


def models(s: dict[str, Any]) -> list[Table]:
    """What each training changed, a column per model; others' models (endpoints) stand behind."""
    lines = [*_knowledge(s), *_perplexity(s), *_trainings(s), *_dialogues(s), *_safety(s)]
    others = [m for m in dict.fromkeys(m for _, cells, _ in lines for m in cells) if m not in MODELS]
    rows = [[what, *(cells.get(model, "") for model in (*MODELS, *others))] for what, cells, _ in lines]
    headers = ["", *(("→ " if i else "") + name for i, name in enumerate(MODELS.values())), *others]
    return [Table(headers, rows, sources=[stage for *_, stage in lines])] if rows else []


def text(s: dict[str, Any]) -> list[str]:
    """How many steps are more than noise, and what the paper's rows are."""
    steps = s["knowledge_comparisons"]
    found = []
    trained = [c for told in s["perplexity"]["sets"].values() for c in (told or {}).get("comparisons", [])]
    tuned = [c for part in ("sft", "dpo") if (c := s[part].get("comparison"))]
    if any(c["noise"] for c in [*steps, *trained, *tuned]):
        found.append(
            f"{NOISE.strip()} stands where the difference from the model before is no more than noise, or rests on too few to say."
        )
    if steps:
        more = sum(not c["noise"] for c in steps)
        found.append(
            f"{more} of {len(steps)} steps from one model to the next on a benchmark are more than noise (McNemar's exact "
            "test, 5 %)."
        )
    if trained:
        more = sum(not c["noise"] for c in trained)
        found.append(
            f"{more} of {len(trained)} differences in held-out perplexity are more than noise (paired bootstrap over "
            "documents, 5 %)."
        )
    if {r["task"] for r in s["knowledge"]} & {task for told in KNOWLEDGE.values() for task in told}:
        found.append(f"The paper's columns are {', '.join(NAMES.values())}: other models and data, to orient by.")
    elif s["knowledge"]:
        found.append("None of the paper's benchmarks was measured in this run; its own table stands under Knowledge.")
    return found


def data(s: dict[str, Any]) -> Table:
    """Records and time in a few lines."""
    rows = [[what, count(get(s["stages"], stage, key))] for what, stage, key in _RECORDS if stage in s["stages"]]
    sources = [stage for _, stage, _ in _RECORDS if stage in s["stages"]]
    return Table(
        ["Data", ""], [*rows, ["Time of all finished stages", duration(s["total_seconds"])]], sources=[*sources, ""]
    )


_RECORDS = (
    ("Documents in the files", "sources/documents", "records_in"),
    ("… that pass the rules", "corpus/rules", "records_kept"),
    ("… of the domain and of the best quality", "corpus/quality", "records_kept"),
    ("Dialogues in the files", "sources/dialogues", "records_in"),
    ("… in the SFT set", "instruct/select", "records_kept"),
    ("Preference pairs, subjective", "prefer/subjective", "records_kept"),
    ("Preference pairs, objective", "prefer/objective", "records_kept"),
    ("Preference pairs, published", "sources/preferences", "records_kept"),
)


def _knowledge(s: dict[str, Any]) -> Iterator[Line]:
    for task in dict.fromkeys(r["task"] for r in s["knowledge"]):
        mine = {r["model"]: r for r in s["knowledge"] if r["task"] == task}
        sizes = " or ".join(f"{n:,}" for n in sorted({r["n"] for r in mine.values()}))
        steps = {c["model"]: c["noise"] for c in s["knowledge_comparisons"] if c["task"] == task}
        cells = {model: _accuracy(r) + (NOISE if steps.get(model) else "") for model, r in mine.items()}
        yield f"{task}: accuracy, % (n = {sizes})", cells, "evaluate/knowledge"
        if paper := {model: f"{told[task]:.1f}" for model, told in KNOWLEDGE.items() if task in told}:
            yield f"{task} in the paper", paper, ""


def _accuracy(r: dict[str, Any]) -> str:
    if r["accuracy"] is None:
        return ABSENT
    return f"{r['accuracy']:.1f}" + (f" ± {r['stderr']:.1f}" if r["stderr"] is not None else "")


def _perplexity(s: dict[str, Any]) -> Iterator[Line]:
    p = s["perplexity"]
    for pack, (mix, before, after) in spans(p).items():
        told = p["sets"][pack] or {}
        for lang in sorted({*(told.get("before") or {}), *(told.get("after") or {})}):
            pair = [number(get(told, when, lang)) for when in ("before", "after")]
            steps = {(c["lang"], c["against"]): c["noise"] for c in told.get("comparisons", [])}
            mark = NOISE if steps.get((lang, before)) else ""
            cells = (
                {"base": pair[0], "pretrain": pair[1] + mark} if before == "base" else {"pretrain": arrow(*pair) + mark}
            )
            name = f"Perplexity, {lang}, held out of {mix}: {before} → {after}"
            yield name, cells, f"pretrain/stage{pack[-1]}"


def _trainings(s: dict[str, Any]) -> Iterator[Line]:
    if s["sft"]["first"] is not None:
        mark = NOISE if get(s["sft"], "comparison", "noise") else ""
        cells = {"pretrain": number(s["sft"]["first"]), "finetune": number(s["sft"]["best"]) + mark}
        yield "SFT validation loss, nats per token", cells, "finetune"
    shares = [get(s["dpo"], when, "accuracy") for when in ("before", "after")]
    if shares != [None, None]:
        n = get(s["dpo"], "pairs", s["dpo"]["measured_on"])
        yield (
            "Preference accuracy" + (f" (n = {n:,} pairs)" if isinstance(n, int) else ""),
            {
                "finetune": percent(shares[0]),
                "align": percent(shares[1]) + (NOISE if get(s["dpo"], "comparison", "noise") else ""),
            },
            "align",
        )


def _dialogues(s: dict[str, Any]) -> Iterator[Line]:
    for benchmark in dict.fromkeys(r["benchmark"] for r in s["pairwise"] if r["against"] == "reference"):
        mine = [r for r in s["pairwise"] if r["against"] == "reference" and r["benchmark"] == benchmark]
        cells = {r["model"]: _rate(r) for r in mine}
        yield f"{benchmark}: win rate against the set's answers, %", cells, "evaluate/pairwise"
        if benchmark == "huatuo":
            paper = {
                m: " / ".join(f"{v:g}" for v in told) for (m, other), told in PAIRWISE.items() if other == "reference"
            }
            yield f"{benchmark} in the paper, win / tie / loss %", paper, ""
    means = {m: [get(v, "average", a) for a in ASPECTS] for m, v in (s["multiturn"].get("models") or {}).items()}
    if means:
        cells = {m: ABSENT if None in v else f"{sum(v) / len(v):.2f}" for m, v in means.items()}
        yield "Multi-turn dialogues, mean of four aspects (1 to 5)", cells, "evaluate/multiturn"


def _rate(r: dict[str, Any]) -> str:
    if r.get("win_rate") is None:
        return ABSENT
    lost, judges = cannot_tell(r)
    if lost and lost == judges:
        return "judge cannot tell"
    span = r.get("win_rate_interval")
    rate = f"{100 * r['win_rate']:.1f}" + (f" ({100 * span[0]:.0f} to {100 * span[1]:.0f})" if span else "")
    return f"{rate}, {lost} of {judges} judges cannot tell" if lost else rate


def _safety(s: dict[str, Any]) -> Iterator[Line]:
    groups = [r for r in s["safety_probe"].get("results") or [] if r["kind"] == "red_flag"]
    cells = {}
    for model in dict.fromkeys(r["model"] for r in groups):
        right, n, open_ = (sum(r[k] for r in groups if r["model"] == model) for k in ("right", "n", "undecided"))
        cells[model] = f"{right:,} of {n:,}" + (f", {open_:,} undecided" if open_ else "")
    if cells:
        yield "Emergencies sent to emergency care", cells, "evaluate/safety"
