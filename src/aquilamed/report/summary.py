"""summary.json: the numbers of a run under stable keys, for scripts and for the README; report/schema.py says what each is."""

from typing import Any

from aquilamed.evaluate.parity import beside
from aquilamed.report.gather import Run
from aquilamed.report.schema import VERSION
from aquilamed.report.truth import measure

STAGE_KEYS = ("fingerprint", "seconds", "attempts", "records_in", "records_kept", "records_dropped", "reasons")
TRAININGS = ("pretrain/stage1", "pretrain/stage2", "finetune", "align")
ANNOTATED = {
    "corpus/domain_labels": "annotator",
    "corpus/quality_labels": "annotator",
    "instruct/safety": "annotator",
    "instruct/topics": "annotator",
    "instruct/deita": "annotator",
    "prefer/subjective": "judge",
    "evaluate/pairwise": "judge",
    "evaluate/multiturn": "judge",
    "evaluate/safety": "judge",
    "evaluate/calibration": "judge",
}


def summarise(run: Run) -> dict[str, Any]:
    """The values of summary.json."""
    artifacts = run.artifacts()
    return {
        "schema": VERSION,
        "fingerprint": run.fingerprint(),
        "recipe": run.recipe,
        "seed": run.seed,
        "annotator": run.annotator,
        "stages": {
            s.name: {"state": s.state, "why": s.why, "manifest": s.manifest_file}
            | {k: s.manifest.get(k) for k in STAGE_KEYS}
            for s in run.stages
        },
        "filters": measure(artifacts.get("sample"), artifacts),
        "agreement": {k: run.metric(f"corpus/{k}_labels", "agreement") for k in ("domain", "quality")},
        "domain": run.metric("corpus/domain"),
        "domain_rounds": run.metric("corpus/domain_labels", "rounds"),
        "quality": run.metric("corpus/quality"),
        "mixes": {k: run.metric(f"corpus/{k}") for k in ("mix1", "mix2")},
        "packs": {k: run.metric(f"corpus/{k}") for k in ("pack1", "pack2")},
        "contamination": {k: run.metric(f"{k}/decontaminate", "benchmarks") for k in ("corpus", "instruct", "prefer")},
        "duplicates": {k: run.metric(f"instruct/{k}") for k in ("dedup", "questions")},
        "safety": run.metric("instruct/safety"),
        "perplexity": perplexity(run),
        "trainings": {s: training(run, s) for s in TRAININGS if s in artifacts},
        "sft": sft(run),
        "dpo": {
            k: run.metric("align", k) for k in ("step0_loss", "before", "after", "comparison", "pairs", "measured_on")
        },
        "deita": run.metric("instruct/deita"),
        "relevance": run.metric("instruct/relevance"),
        "topics": run.metric("instruct/select", "topics") or topics(run),
        "composition": {
            **{k: run.metric("instruct/select", k) for k in _SELECT},
            "counts": run.metric("instruct/select", "composition"),
            "shares": run.metric("instruct/select", "composition_share"),
            "paper": run.metric("instruct/select", "paper_share"),
        },
        "preferences": {k: run.metric(f"prefer/{k}") for k in ("subjective", "objective", "select")},
        "knowledge": beside(run.metric("evaluate/knowledge", "results") or []),
        "knowledge_comparisons": run.metric("evaluate/knowledge", "comparisons") or [],
        "pairwise": run.metric("evaluate/pairwise", "comparisons") or [],
        "multiturn": run.metric("evaluate/multiturn") or {},
        "safety_probe": run.metric("evaluate/safety") or {},
        "calibration": run.metric("evaluate/calibration"),
        "annotations": annotations(run),
        "total_seconds": sum(a.manifest.get("seconds") or 0 for a in artifacts.values()),
        "versions": versions(run),
    }


_SELECT = ("kinds", "target", "languages", "paper_languages", "thresholds", "histograms")


def topics(run: Run) -> dict[str, Any] | None:
    """The labels of all dialogues, where the selection is not done."""
    told = run.metric("instruct/topics")
    keys = ("departments", "no_department", "diseases", "no_disease")
    return {k: told[k] for k in keys} if told else None


def perplexity(run: Run) -> dict[str, Any]:
    """Held-out perplexity per language; which documents each pair of numbers was measured on is in `sets`."""
    one, two = (run.metric(f"pretrain/{s}", "perplexity") or {} for s in ("stage1", "stage2"))
    return {
        "base": one.get("before") if one else two.get("before"),
        "stage1": one.get("after"),
        "stage2": two.get("after"),
        "sets": {"pack1": one or None, "pack2": two or None},
    }


def training(run: Run, stage: str) -> dict[str, Any]:
    """A training's loss curve and cost."""
    return {k: run.metric(stage, k) for k in ("loss", "steps", "tokens", "tokens_per_second", "method")}


def sft(run: Run) -> dict[str, Any]:
    """Validation loss before the first step, at its best, and all of them."""
    losses = run.metric("finetune", "eval_loss") or []
    values = [loss for _, loss in losses if loss is not None]
    return {
        "eval_loss": losses or None,
        "first": values[0] if values else None,
        "best": min(values) if values else None,
        "best_step": run.metric("finetune", "best_step"),
        "comparison": run.metric("finetune", "comparison"),
        "rows": run.metric("finetune", "rows"),
    }


def annotations(run: Run) -> list[dict[str, Any]]:
    """What every annotating stage said about its annotator or judge."""
    keys = ("kind", "name", "calls", "cached", "errors", "tokens_in", "tokens_out", "cost", "rubrics")
    told = [(stage, t) for stage, key in ANNOTATED.items() for t in (run.metric(stage, key), *_panel(run, stage))]
    return [{"stage": stage, **{k: t.get(k) for k in keys}} for stage, t in told if isinstance(t, dict)]


def _panel(run: Run, stage: str) -> list[Any]:
    return run.metric(stage, "panel") or []


def versions(run: Run) -> dict[str, str]:
    """Library → version, over all finished stages."""
    found: dict[str, set[str]] = {}
    for artifact in run.artifacts().values():
        for name, version in artifact.manifest.get("versions", {}).items():
            found.setdefault(name, set()).add(version)
    return {name: " / ".join(sorted(values)) for name, values in found.items()}
